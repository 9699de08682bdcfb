"""DuckDB, in this process."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from infra.bench.peers.absent import peer
from infra.bench.peers.work import YEAR_BARS, seconds_of

# What DuckDB's docs advise for the first and the last of a group.
_YEAR = """
SELECT open_ms // 900000 * 900000 AS open_ms,
    arg_min(open_ticks, open_ms) AS open_ticks, max(high_ticks) AS high_ticks,
    min(low_ticks) AS low_ticks, arg_max(close_ticks, open_ms) AS close_ticks,
    sum(volume_lots) AS volume_lots, sum(buy_lots) AS buy_lots, sum(turnover) AS turnover, sum(trades) AS trades
FROM minutes GROUP BY ALL ORDER BY 1
"""
_CANDLES = """
CREATE TABLE candles AS SELECT ts_ms // 60000 * 60000 AS open_ms,
    arg_min(price, id) AS open, max(price) AS high, min(price) AS low, arg_max(price, id) AS close,
    sum(size) AS volume, sum(size) FILTER (side = 'buy') AS buy, sum(price * size) AS turnover, count(*) AS trades
FROM trades GROUP BY ALL ORDER BY 1
"""
_FOOTPRINTS = """
CREATE TABLE footprints AS SELECT ts_ms // 60000 * 60000 AS open_ms, price,
    sum(size) FILTER (side = 'buy') AS buy, sum(size) FILTER (side = 'sell') AS sell,
    count(*) FILTER (side = 'buy') AS buys, count(*) FILTER (side = 'sell') AS sells
FROM trades GROUP BY ALL ORDER BY 1, 2
"""


def year(given: pl.DataFrame) -> list[float]:
    with minutes(given) as database:
        return seconds_of(lambda: bars_of(database), YEAR_BARS)


@contextmanager
def minutes(given: pl.DataFrame) -> Iterator[Any]:
    """A database in memory that has those minutes as a table."""
    with peer("duckdb").connect() as database:
        database.register("given", given.to_arrow())
        database.execute("CREATE TABLE minutes AS FROM given")
        yield database


def bars_of(database: Any) -> Any:
    """Bars of 15 minutes as an Arrow table."""
    return database.sql(_YEAR).to_arrow_table()


def intake(path: Path, count: int) -> float:
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        started_s = time.perf_counter()
        with taken_in(path, str(Path(folder) / "minutes.duckdb")):
            pass
        return count / (time.perf_counter() - started_s)


@contextmanager
def taken_in(path: Path, place: str) -> Iterator[Any]:
    """The database at that place with candles and footprints of a file of trades."""
    with peer("duckdb").connect(place) as database:
        database.execute(f"CREATE VIEW trades AS FROM read_parquet('{path}')")
        database.execute(_CANDLES)
        database.execute(_FOOTPRINTS)
        database.execute("CHECKPOINT")
        yield database
