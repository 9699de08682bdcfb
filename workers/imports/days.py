"""The pure part of an import: batches of trades, in nearly any order, to the minutes of whole days.

A batch is cut by UTC day, without the trades that have been applied before, and made into candles and footprint
levels at once: these merge, so how trades are cut into files and batches changes nothing, and a day in waiting costs
as much as its levels and not as its trades.

What was applied before is told by the ids where they are contiguous (coverage). Where they are only unique an import
goes forward: a trade not later than the newest one that was applied is refused as too late, and within a day in waiting
an id counts once.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from common.frames import bulk
from common.frames.footprint import regroup
from common.frames.resample import resample
from common.frames.schema import LEVELS
from common.market import builder
from common.market.coverage import DUPLICATE, TOO_LATE, IdCoverage, RecentCoverage, Span
from common.market.packed import Ints
from common.market.timeframe import DAY_MS, MINUTE, MINUTE_MS, day_of
from common.market.trade import MAX_ID, MAX_LOTS, MAX_TICKS, MAX_TS_MS

# How far a trade of a file may come behind later ones and still find its day in waiting. One that comes later yet
# amends a day that is written, and counts in `rev`.
DISORDER_MS = 60 * MINUTE_MS

Frames = tuple[pl.DataFrame, pl.DataFrame]


@dataclass(slots=True)
class Day:
    """What has been read of a day. `spans`: ids, if they are contiguous; `file`: the first one with a trade of it.

    `counted`: whether what is refused of it is yet to be counted. `of_minutes`: it is made of candles, not of trades.
    `rows`: the trades, only if they are to be archived.
    """

    day_ms: int
    file: int
    counted: bool = True
    of_minutes: bool = False
    candles: list[pl.DataFrame] = field(default_factory=list)
    levels: list[pl.DataFrame] = field(default_factory=list)
    rows: list[pl.DataFrame] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    trades: int = 0
    from_ms: int = -1
    to_ms: int = -1
    _ids: list[Ints] = field(default_factory=list)

    @property
    def end_ms(self) -> int:
        return self.day_ms + DAY_MS

    def refuse(self, reason: str, count: int) -> None:
        if count and self.counted:
            self.refused[reason] += count

    def unique(self, trades: pl.DataFrame) -> pl.DataFrame:
        """Return the trades with an id the day has not had, and remember them."""
        ids = trades["id"].to_numpy()
        known = np.zeros(len(ids), np.bool_)
        for some in self._ids:
            if some[0] <= ids.max() and ids.min() <= some[-1]:
                known |= np.isin(ids, some)
        kept = trades.filter(pl.Series(~known))
        if len(kept):
            self._ids.append(np.sort(kept["id"].to_numpy()))
        return kept

    def add(self, trades: pl.DataFrame, sources: int, *, candles: bool, footprints: bool, rows: bool) -> None:
        if candles:
            self.candles.append(bulk.candles(trades, MINUTE, sources))
        if footprints:
            self.levels.append(bulk.footprints(trades))
        if rows:
            self.rows.append(trades)
        self.trades += len(trades)
        self.lasts(int(trades["ts_ms"].min()), int(trades["ts_ms"].max()))  # type: ignore[arg-type]

    def lasts(self, from_ms: int, to_ms: int) -> None:
        """Stretch the time it covers."""
        self.from_ms = from_ms if self.from_ms < 0 else min(self.from_ms, from_ms)
        self.to_ms = max(self.to_ms, to_ms)


@dataclass(slots=True)
class Days:
    """Days in waiting. `seen`: coverage of all that was read, and of what was applied before; it is changed here.

    The floors: from which day on candles and footprints are made. `with_rows`: the trades are kept, too.
    `counted_from_ms`: refused trades of earlier days have been counted by the run that this one goes on from.
    """

    seen: IdCoverage | RecentCoverage
    sources: int
    candle_floor_ms: int = 0
    footprint_floor_ms: int = 0
    counted_from_ms: int = 0
    with_rows: bool = False
    waiting: dict[int, Day] = field(default_factory=dict)

    def take(self, trades: pl.DataFrame, file: int, now_ms: int) -> int | None:
        """Take in a batch; return the newest time in it, None if it has no valid trade."""
        newest_ms = None
        for day_ms, some in _by_day(trades):
            day = self._day(day_ms, file)
            valid = _valid(some, now_ms, day)
            if valid.is_empty():
                continue
            newest_ms = max(newest_ms or 0, int(valid["ts_ms"].max()))  # type: ignore[arg-type]
            kept = self._new(day, valid)
            if len(kept):
                floors = {"candles": self.candle_floor_ms, "footprints": self.footprint_floor_ms}
                made = {name: day_ms >= floor_ms for name, floor_ms in floors.items()}
                day.add(kept, self.sources, **made, rows=self.with_rows)
        return newest_ms

    def take_candles(self, candles: pl.DataFrame, file: int) -> int | None:
        """The same of minute candles (CANDLES), which are whole."""
        for day_ms, some in _by_day(candles, "open_ms"):
            day = self._day(day_ms, file, of_minutes=True)
            day.trades += len(some)
            if day_ms >= self.candle_floor_ms:
                day.candles.append(some)
            day.lasts(int(some["open_ms"].min()), int(some["last_ts_ms"].max()))  # type: ignore[arg-type]
        return candles["open_ms"].max()  # type: ignore[return-value]

    def done(self, horizon_ms: int) -> list[Day]:
        """Return the days that are whole once all trades up to the horizon have been read, oldest first."""
        return [self.waiting[day_ms] for day_ms in sorted(self.waiting) if day_ms + DAY_MS + DISORDER_MS <= horizon_ms]

    def written(self, day: Day) -> None:
        """Of unique ids nothing is remembered but the time: what comes later than its day is written comes too late."""
        if isinstance(self.seen, RecentCoverage):
            self.seen.to_ms = max(self.seen.to_ms, day.to_ms)

    def _day(self, day_ms: int, file: int, *, of_minutes: bool = False) -> Day:
        if day_ms not in self.waiting:
            self.waiting[day_ms] = Day(day_ms, file, day_ms >= self.counted_from_ms, of_minutes)
        return self.waiting[day_ms]

    def _new(self, day: Day, trades: pl.DataFrame) -> pl.DataFrame:
        if isinstance(self.seen, IdCoverage):
            kept, spans = _uncovered(trades, self.seen.spans())
            self.seen.cover(spans)
            day.spans += spans
            day.refuse(DUPLICATE, len(trades) - len(kept))
            return kept
        later = trades.filter(pl.col("ts_ms") > self.seen.to_ms)
        day.refuse(TOO_LATE, len(trades) - len(later))
        kept = later.unique("id", keep="first", maintain_order=True)
        kept = day.unique(kept) if len(kept) else kept
        day.refuse(DUPLICATE, len(later) - len(kept))
        return kept


def built(
    day: Day, candles: pl.DataFrame, levels: pl.DataFrame, closed_to_ms: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Merge what is new with what is stored of the day: CANDLES and LEVELS, ascending.

    A minute that was stored and closed (it ends by `closed_to_ms`) is amended: `rev` counts the trades that are new.
    Where the day is made of candles there is nothing to add to: what is stored stays, and the other is a duplicate.
    """
    if day.of_minutes:
        read = pl.concat([candles.clear(), *day.candles])
        new_minutes = read.unique("open_ms", keep="first").join(candles, on="open_ms", how="anti")
        day.refuse(DUPLICATE, len(read) - len(new_minutes))
        day.trades -= len(read) - len(new_minutes)
        return pl.concat([candles, new_minutes]).sort("open_ms"), _levels_merged([levels])
    stored = candles.filter(pl.col("open_ms") + MINUTE_MS <= closed_to_ms)["open_ms"]
    new = [_merged(day.candles)] if day.candles else []
    amended = pl.when(pl.col("open_ms").is_in(stored.implode())).then(pl.col("rev") + pl.col("trades")).otherwise("rev")
    revised = [frame.with_columns(rev=amended) for frame in new]
    return _merged([candles, *revised]), _levels_merged([levels, *day.levels])


def _merged(candles: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return resample(pl.concat(candles), MINUTE)


def _levels_merged(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Sum levels of a minute that several parts have; all others are only put in order."""
    if not parts:
        return LEVELS.to_frame()
    levels = pl.concat([part.select(list(LEVELS)) for part in parts])
    opens = pl.concat([part["open_ms"].unique() for part in parts])
    shared = opens.filter(opens.is_duplicated()).unique()
    if len(shared):
        is_shared = pl.col("open_ms").is_in(shared.implode())
        levels = pl.concat([levels.filter(~is_shared), regroup(levels.filter(is_shared), MINUTE, 1)])
    if levels["open_ms"].is_sorted():
        return levels
    # Runs in order, which this merges.
    return levels[np.argsort(levels["open_ms"].to_numpy(), kind="stable")]


def _by_day(trades: pl.DataFrame, time: str = "ts_ms") -> Iterator[tuple[int, pl.DataFrame]]:
    if trades.is_empty():
        return
    days = (trades[time] // DAY_MS * DAY_MS).alias("day")
    for day_ms in days.unique().sort().to_list():
        yield day_ms, trades if days.n_unique() == 1 else trades.filter(days == day_ms)


def _uncovered(trades: pl.DataFrame, spans: Sequence[Span]) -> tuple[pl.DataFrame, list[Span]]:
    """Return the trades that no span holds, each id once, and the spans they make."""
    ids = trades["id"].to_numpy()
    if not (np.diff(ids) == 1).all():
        trades = trades.unique("id", keep="first", maintain_order=True).sort("id")
        ids = trades["id"].to_numpy()
    if spans:
        first, last = (np.array(column, np.int64) for column in list(zip(*spans, strict=True))[:2])
        at = np.searchsorted(first, ids, "right") - 1
        covered = (at >= 0) & (ids <= last[at])
        if covered.any():
            trades = trades.filter(pl.Series(~covered))
            ids = trades["id"].to_numpy()
    if not len(ids):
        return trades, []
    starts = np.flatnonzero(np.diff(ids, prepend=ids[:1] - 2) != 1)
    ends = np.append(starts[1:], len(ids)) - 1
    ts_ms = trades["ts_ms"].to_numpy()
    columns = (ids[starts], ids[ends], ts_ms[starts], ts_ms[ends])
    return trades, [Span(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _valid(trades: pl.DataFrame, now_ms: int, day: Day) -> pl.DataFrame:
    """Refuse what the Builder refuses, and count it by the same reasons, the first that holds."""
    reasons = {
        builder.BAD_TIME: ~pl.col("ts_ms").is_between(0, MAX_TS_MS, closed="left"),
        builder.FUTURE: pl.col("ts_ms") >= now_ms + builder.MAX_AHEAD_MS,
        builder.BAD_ID: ~pl.col("id").is_between(0, MAX_ID),
        builder.BAD_PRICE: ~pl.col("price_ticks").is_between(1, MAX_TICKS, closed="left"),
        builder.BAD_SIZE: ~pl.col("size_lots").is_between(0, MAX_LOTS, closed="left"),
    }
    if not trades.select(pl.any_horizontal(*reasons.values()).any()).item():
        return trades
    named = [pl.when(wrong).then(pl.lit(reason)) for reason, wrong in reasons.items()]
    reason = trades.select(pl.coalesce(*named)).to_series()
    for name, group in zip(reasons, (reason == name for name in reasons), strict=True):
        day.refuse(name, int(group.sum()))
    return trades.filter(reason.is_null())


def day_floor(newest_ms: int, days: int) -> int:
    """The first day that retention keeps."""
    return max(0, day_of(newest_ms) - days * DAY_MS)
