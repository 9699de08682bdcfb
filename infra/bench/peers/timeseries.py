"""RedisTimeSeries, which Redis 8 brings: a series a field, a rule that makes minutes of each."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import redis

from infra.bench.peers.absent import Absent
from infra.bench.peers.work import YEAR_BARS, seconds_of

# A server that is there for this: its data go.
ADDRESS = "TIMESERIES_URL"
_QUARTER_MS, _MINUTE_MS = 900_000, 60_000
# Of which field, and how it is merged.
_FIELDS = {
    "open": ("open_ticks", "first"),
    "high": ("high_ticks", "max"),
    "low": ("low_ticks", "min"),
    "close": ("close_ticks", "last"),
    "volume": ("volume_lots", "sum"),
}
# Of which series of trades, and how a minute is made of it.
_RULES = {
    "open": ("price", "first"),
    "high": ("price", "max"),
    "low": ("price", "min"),
    "close": ("price", "last"),
    "volume": ("size", "sum"),
}
_PAGE = 5_000


@contextmanager
def _server() -> Iterator[redis.Redis]:
    url = os.environ.get(ADDRESS)
    if not url:
        raise Absent(f"{ADDRESS} names no server, expected a Redis 8, or one with the module, that may be emptied")
    with redis.Redis.from_url(url, protocol=2) as client:
        try:
            client.flushall()
            client.ts().create("probe")
        except redis.RedisError as error:
            raise Absent(f"no time series at {ADDRESS}: {error}") from None
        yield client
        client.flushall()


def year(minutes: pl.DataFrame) -> list[float]:
    with _server() as client:
        fill(client, minutes)
        return seconds_of(lambda: bars_of(client), YEAR_BARS)


def fill(client: redis.Redis, minutes: pl.DataFrame) -> None:
    """Write the minutes, a series a field."""
    series = client.ts()
    for name, (column, _) in _FIELDS.items():
        series.create(name)
        rows = list(zip(minutes["open_ms"].to_list(), minutes[column].to_list(), strict=True))
        for at in range(0, len(rows), _PAGE):
            series.madd([(name, *row) for row in rows[at : at + _PAGE]])


def bars_of(client: redis.Redis) -> list[Any]:
    """Bars of 15 minutes: what each series has, a pair of time and value a bar."""
    pipe = client.pipeline(transaction=False)
    series = pipe.ts()
    for name, (_, how) in _FIELDS.items():
        series.range(name, "-", "+", aggregation_type=how, bucket_size_msec=_QUARTER_MS)
    return list(zip(*pipe.execute(), strict=True))


def intake(path: Path, count: int) -> float:
    trades = pl.read_parquet(path, columns=["ts_ms", "price", "size"])
    with _server() as client:
        started_s = time.perf_counter()
        take_in(client, trades)
        return count / (time.perf_counter() - started_s)


def take_in(client: redis.Redis, trades: pl.DataFrame) -> None:
    """Write two series of trades, with the rules that make minutes of them.

    A series has one value a time, and trades share milliseconds: so times are microseconds, the trades of one in turn.
    """
    series = client.ts()
    for source in ("price", "size"):
        series.create(source)
    for name, (source, how) in _RULES.items():
        series.create(name)
        series.createrule(source, name, how, 1_000 * _MINUTE_MS)
    ts_us = (trades["ts_ms"] * 1_000 + trades.select(pl.int_range(pl.len()).over("ts_ms")).to_series()).to_list()
    columns = {name: trades[name].to_list() for name in ("price", "size")}
    for at in range(0, len(ts_us), _PAGE):
        span = slice(at, at + _PAGE)
        pairs = [list(zip(ts_us[span], values[span], strict=True)) for values in columns.values()]
        series.madd([(name, *pair) for name, each in zip(columns, pairs, strict=True) for pair in each])
