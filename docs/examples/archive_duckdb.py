"""The archive is Parquet: hours of a symbol by DuckDB, and nothing of ours is needed. Takes duckdb.

python archive_duckdb.py ARCHIVE SYMBOL
"""

import sys
from urllib.parse import quote

import duckdb

ARCHIVE, SYMBOL = sys.argv[1:3]
CANDLES = f"{ARCHIVE}/candles/symbol={quote(SYMBOL, safe='')}/*.parquet"

print(
    duckdb.sql(f"""
        SELECT time_bucket(INTERVAL 1 HOUR, open_time) AS hour,
            first(open ORDER BY open_time) AS open, max(high) AS high, min(low) AS low,
            last(close ORDER BY open_time) AS close, sum(volume) AS volume, sum(trades) AS trades
        FROM '{CANDLES}' GROUP BY hour ORDER BY hour DESC LIMIT 5
    """)
)
