"""Trades of an import whose ids were applied before: compared with those, as far as these are at hand.

At hand are the last trades of the stream when the import began, and the last ones that it has taken in itself; where
trades are archived also the objects of a trade's own day, and of the days beside it: the same id comes again at the
border of two files.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import polars as pl

from common.archive.archive import Archive
from common.archive.series import TRADE_ROWS
from common.errors import ArchiveDamaged
from common.frames.schema import TRADES
from common.market.builder.recent import TIME_PRECISION_MS, Conflict
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS
from common.market.trade import Trade

# Of the import's own trades so many at the least, if there are: mostly its last batch, of some 33 bytes each.
MIN_ROWS_AT_HAND = 1 << 18

_APPLIED = "_applied"
# As common.market.builder.recent.differ.
_DIFFER = pl.any_horizontal(
    (pl.col("ts_ms") - pl.col(f"ts_ms{_APPLIED}")).abs() >= TIME_PRECISION_MS,
    *(pl.col(name) != pl.col(name + _APPLIED) for name in ("price_ticks", "size_lots", "side")),
)


class Compared(NamedTuple):
    """`others`: trades that are not those applied under their ids, which are beside them. `unknown`: not at hand."""

    others: pl.DataFrame
    unknown: pl.DataFrame


class AtHand:
    """`per_day`: an id counts once in a UTC day, and not once in all."""

    def __init__(self, before: pl.DataFrame | None = None, *, per_day: bool = False) -> None:
        self._frames = deque([before]) if before is not None and len(before) else deque()
        self._rows = sum(map(len, self._frames))
        self._per_day = per_day

    def add(self, trades: pl.DataFrame) -> None:
        """Trades that are to be applied."""
        if trades.is_empty():
            return
        self._frames.append(trades)
        self._rows += len(trades)
        while self._rows - len(self._frames[0]) >= MIN_ROWS_AT_HAND:
            self._rows -= len(self._frames.popleft())

    def compare(self, again: pl.DataFrame) -> Compared:
        """Trades with ids that were applied before, with those that were."""
        return compared(again, reversed(self._frames), per_day=self._per_day)


def compared(again: pl.DataFrame, applied: Iterator[pl.DataFrame], *, per_day: bool = False) -> Compared:
    """`applied`: in frames of TRADES, of which the first one that has an id counts."""
    key = ["id", "#day"] if per_day else ["id"]
    left, others = _with_day(again, key), [_beside(again.clear(), again.clear(), ["id"])]
    for frame in applied:
        if left.is_empty():
            break
        known = _with_day(frame.filter(pl.col("id").is_in(left["id"].implode())), key)
        both = _beside(left, known.unique(key, keep="last"), key)
        others.append(both.filter(_DIFFER).select(others[0].columns))
        left = left.join(known, on=key, how="anti", maintain_order="left")
    return Compared(pl.concat(others), left.select(again.columns))


def compared_with_archive(again: pl.DataFrame, archive: Archive, instrument: Instrument, day_ms: int) -> Compared:
    """The same of trades of one UTC day, with what the archive has of it and of the days beside it. Blocks."""
    per_day = instrument.ids != "contiguous"
    days = (day_ms,) if per_day else (day_ms, day_ms - DAY_MS, day_ms + DAY_MS)
    found = (_archived(archive, instrument, each_ms) for each_ms in days)
    return compared(again, (frame for frame in found if frame is not None), per_day=per_day)


def _archived(archive: Archive, instrument: Instrument, day_ms: int) -> pl.DataFrame | None:
    try:
        return archive.read_period(TRADE_ROWS, instrument, day_ms, list(TRADES))
    except ArchiveDamaged:
        # Then it is not at hand. What adds to the day, or reads it, tells of the damage.
        return None


def conflicts_of(others: pl.DataFrame, limit: int) -> Sequence[Conflict]:
    """The first of them."""
    names = [name for name in TRADES if name != "id"]
    rows = others.head(limit).select("id", *names, *(name + _APPLIED for name in names)).rows()
    return [Conflict(_trade(row[0], row[5:]), _trade(row[0], row[1:5])) for row in rows]


def _trade(trade_id: int, rest: Sequence[int]) -> Trade:
    return Trade(rest[0], trade_id, *rest[1:])


def _beside(again: pl.DataFrame, known: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    return again.join(known, on=key, how="inner", suffix=_APPLIED, maintain_order="left")


def _with_day(trades: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    return trades.with_columns((pl.col("ts_ms") // DAY_MS).alias("#day")) if len(key) > 1 else trades
