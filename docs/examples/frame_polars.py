"""The newest bars as a Polars frame, their times as real timestamps.

python frame_polars.py [SYMBOL]
"""

import os
import sys
import urllib.request

import polars as pl

FEED = os.environ.get("FEED", "http://127.0.0.1:8700")
SYMBOL = sys.argv[1] if len(sys.argv) > 1 else "SIMULATED:BTCUSD"

with urllib.request.urlopen(f"{FEED}/v1/candles/{SYMBOL}?timeframe=1m&limit=500&format=arrow") as answer:
    bars = pl.read_ipc_stream(answer.read())
# `t` is when a bar opens: ms since 1970, UTC. Prices and sizes are exact decimals.
bars = bars.with_columns(pl.from_epoch("t", "ms").dt.replace_time_zone("UTC"))
with pl.Config(tbl_width_chars=120):
    print(bars.select("t", "o", "h", "l", "c", "v").tail(5))
