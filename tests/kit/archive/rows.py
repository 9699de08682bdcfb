"""Frames of one period of a series: what hypothesis draws, and a market that looks like one."""

import random
from collections.abc import Callable

import polars as pl
from hypothesis import strategies as st

from common.archive.archive import Archive
from common.archive.parquet import Receipt
from common.archive.series import CANDLE_ROWS, ArchiveSeries
from common.frames import bulk
from common.frames.schema import TRADES
from common.market.candle import BACKFILL
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, MINUTE
from common.market.trade import SIDE_NAMES

# 2024-02-01, UTC: a leap year's February.
FEBRUARY_MS = 1_706_745_600_000
MARCH_MS = FEBRUARY_MS + 29 * DAY_MS
BTC = Instrument("BINANCE:BTCUSDT", 2, 8)

_INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
# What 64-bit lots times 64-bit ticks may sum to.
_TURNOVER = st.integers(1 - 10**38, 10**38 - 1)


def frames(series: ArchiveSeries, max_size: int = 12) -> st.SearchStrategy[pl.DataFrame]:
    """Draw frames of the period that opens at FEBRUARY_MS: any values of the columns' widths."""
    end_ms = series.period.next_open(FEBRUARY_MS) - 1
    # Times meet, and lie on the period's edges.
    time = st.one_of(st.sampled_from([FEBRUARY_MS, end_ms]), st.integers(FEBRUARY_MS, end_ms))
    row = st.tuples(time, *(_values(name) for name in list(series.schema)[1:]))
    return st.lists(row, max_size=max_size).map(
        lambda rows: pl.DataFrame(sorted(rows), schema=series.schema, orient="row")
    )


def _values(name: str) -> st.SearchStrategy[int]:
    special = {"turnover": _TURNOVER, "sources": st.integers(0, 255), "side": st.integers(0, len(SIDE_NAMES) - 1)}
    return special.get(name, _INT64)


def market(seed: int, start_ms: int, end_ms: int, count: int) -> pl.DataFrame:
    """Return a TRADES frame of a random walk."""
    rng = random.Random(seed)
    price = 6_000_000
    rows = []
    for number, ts_ms in enumerate(sorted(rng.randrange(start_ms, end_ms) for _ in range(count))):
        price += rng.randint(-30, 30)
        rows.append((ts_ms, number, price, int(rng.lognormvariate(14, 1.5)), rng.randrange(3)))
    return pl.DataFrame(rows, schema=TRADES, orient="row")


_MADE: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "candles": lambda trades: bulk.candles(trades, MINUTE, BACKFILL),
    "footprints": bulk.footprints,
    "trades": lambda trades: trades,
}


def period(series: ArchiveSeries, seed: int = 0, count: int = 500, open_ms: int = FEBRUARY_MS) -> pl.DataFrame:
    """Return a period of a random walk as a frame of the series."""
    return _MADE[series.name](market(seed, open_ms, series.period.next_open(open_ms), count))


def february(seed: int = 0) -> pl.DataFrame:
    return period(CANDLE_ROWS, seed)


def write(
    archive: Archive, series: ArchiveSeries, instrument: Instrument, period_ms: int, frame: pl.DataFrame
) -> Receipt:
    """Make `frame` the whole of a period, whatever is there."""
    return archive.replace(archive.version(series, instrument, period_ms), frame)
