"""The pure part of an import: batches of trades, in nearly any order, to the minutes of whole days.

A batch is cut by UTC day, without the trades that have been applied before, and made into candles and footprint
levels at once: these merge, so how trades are cut into files and batches changes nothing, and a day in waiting costs
as much as its levels and not as its trades.

What was applied before is told by the ids where they are contiguous (coverage). Where they are only unique an import
goes forward: a trade not later than the newest one that was applied is refused as too late, and within a day in waiting
an id counts once. What comes again is compared with what was applied, if that is at hand (workers.imports.again).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import polars as pl

from common.frames import bulk
from common.frames.footprint import regroup
from common.frames.resample import resample
from common.frames.schema import CANDLES, DELTA_RANGE, LEVELS
from common.market.builder.coverage import DUPLICATE, TOO_LATE
from common.market.builder.id_coverage import IdCoverage
from common.market.builder.recent_coverage import RecentCoverage
from common.market.timeframes.timeframe import DAY_MS, MINUTE, MINUTE_MS, day_of
from common.store.imports import MAX_STEP_DAYS, MAX_STEP_MINUTES
from workers.imports.again import AtHand
from workers.imports.day import Day
from workers.imports.validity import are_valid, left_out, uncovered, valid, without

# How far a trade of a file may come behind later ones and still find its day in waiting. One that comes later yet
# amends a day that is written, and counts in `rev`.
DISORDER_MS = 60 * MINUTE_MS

# Levels that one step writes, unless they are of one day: some 5 bytes each, once they are packed.
MAX_STEP_LEVELS = 200_000

Frames = tuple[pl.DataFrame, pl.DataFrame]


def steps(days: Sequence[Day], alone: Callable[[int], bool] | None = None) -> Iterator[list[Day]]:
    """Put days together that are written at once: those next to each other, up to the bounds of a step.

    `alone`: whether a day must have a step of its own.
    """
    step: list[Day] = []
    for day in days:
        is_apart = alone is not None and (alone(day.day_ms) or bool(step and alone(step[-1].day_ms)))
        if step and (is_apart or not _goes_with(step, day)):
            yield step
            step = []
        step.append(day)
    if step:
        yield step


def _goes_with(step: Sequence[Day], day: Day) -> bool:
    days = [*step, day]
    return (
        len(days) <= MAX_STEP_DAYS
        and sum(len(part) for each in days for part in each.candles) <= MAX_STEP_MINUTES
        and sum(len(part) for each in days for part in each.levels) <= MAX_STEP_LEVELS
        and step[-1].of_minutes == day.of_minutes
    )


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
    # Whether the store may have the range of their running delta (common.store.format).
    has_delta_range: bool = True
    at_hand: AtHand = field(default_factory=AtHand)
    waiting: dict[int, Day] = field(default_factory=dict)

    def take(self, trades: pl.DataFrame, file: int, now_ms: int) -> int | None:
        """Take in a batch; return the newest time in it, None if it has no valid trade."""
        newest_ms, new, twice = None, list[tuple[Day, pl.DataFrame]](), list[pl.DataFrame]()
        all_valid = are_valid(trades, now_ms)
        for day_ms, some in by_day(trades):
            day = self._day(day_ms, file)
            good = some if all_valid else valid(some, now_ms, day)
            if good.is_empty():
                continue
            newest_ms = max(newest_ms or 0, int(good["ts_ms"].to_numpy().max()))
            kept, again = self._new(day, good)
            if len(kept):
                new.append((day, kept))
            if len(again):
                twice.append(again)
        self._add(new)
        if twice:
            self._compare(pl.concat(twice))
        return newest_ms

    def _add(self, new: Sequence[tuple[Day, pl.DataFrame]]) -> None:
        """Make the minutes of a batch at once, for each call of Polars costs as much as thousands of trades."""
        candles = _made(new, self.candle_floor_ms, self._candles)
        levels = _made(new, self.footprint_floor_ms, bulk.footprints)
        for day, trades in new:
            day.add(trades, candles.get(day.day_ms), levels.get(day.day_ms), rows=self.with_rows)
        if new:
            self.at_hand.add(pl.concat([trades for _, trades in new]))

    def _candles(self, trades: pl.DataFrame) -> pl.DataFrame:
        made = bulk.candles(trades, MINUTE, self.sources)
        if self.has_delta_range:
            return made
        return made.with_columns(pl.lit(None, CANDLES[name]).alias(name) for name in DELTA_RANGE)

    def _compare(self, again: pl.DataFrame) -> None:
        others, unknown = self.at_hand.compare(again)
        for day_ms, some in by_day(others):
            self.waiting[day_ms].conflict(some)
        if self.with_rows:
            for day_ms, some in by_day(unknown):
                self.waiting[day_ms].unknown.append(some)

    def take_candles(self, candles: pl.DataFrame, file: int) -> int | None:
        """The same of minute candles (CANDLES), which are whole."""
        for day_ms, some in by_day(candles, "open_ms"):
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

    def _new(self, day: Day, trades: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the trades to be applied, and those whose ids were before."""
        if isinstance(self.seen, IdCoverage):
            kept, again, spans = uncovered(trades, self.seen)
            refused = set(self.seen.admit(spans))
            if refused:
                spans = [span for span in spans if span not in refused]
                kept, again = (without(some, refused, day) for some in (kept, again.sort("id")))
            day.spans += spans
            day.refuse(DUPLICATE, len(again))
            return kept, again
        later = trades.filter(pl.col("ts_ms") > self.seen.to_ms)
        day.refuse(TOO_LATE, len(trades) - len(later))
        kept = later.unique("id", keep="first", maintain_order=True)
        kept = day.unique(kept) if len(kept) else kept
        again = left_out(later, kept)
        day.refuse(DUPLICATE, len(again))
        return kept, again


def built(
    days: Sequence[Day], candles: pl.DataFrame, levels: pl.DataFrame, closed_to_ms: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Merge what is new of some days, all of trades or all of candles, with what is stored: CANDLES, LEVELS, ascending.

    A minute that was stored and closed (it ends by `closed_to_ms`) is amended: `rev` counts the trades that are new.
    Where days are made of candles there is nothing to add to: what is stored stays, and the other is a duplicate.
    """
    if days[0].of_minutes:
        return _with_new_minutes(days, candles), _levels_merged([levels])
    new = _merged([part for day in days for part in day.candles])
    levels = _levels_merged([levels, *(part for day in days for part in day.levels)])
    if candles.is_empty():
        return new, levels
    stored = candles.filter(pl.col("open_ms") + MINUTE_MS <= closed_to_ms)["open_ms"]
    amended = pl.when(pl.col("open_ms").is_in(stored.implode())).then(pl.col("rev") + pl.col("trades")).otherwise("rev")
    return _merged([candles, new.with_columns(rev=amended)]), levels


def _with_new_minutes(days: Sequence[Day], candles: pl.DataFrame) -> pl.DataFrame:
    read = pl.concat([candles.clear(), *(part for day in days for part in day.candles)])
    new = read.unique("open_ms", keep="first").join(candles, on="open_ms", how="anti").sort("open_ms")
    counts = dict(new.group_by(pl.col("open_ms") // DAY_MS * DAY_MS).len().rows())
    for day in days:
        twice = sum(map(len, day.candles)) - counts.get(day.day_ms, 0)
        day.refuse(DUPLICATE, twice)
        day.trades -= twice
    return pl.concat([candles, new]).sort("open_ms")


def _merged(candles: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return resample(pl.concat(candles), MINUTE) if candles else CANDLES.to_frame()


def _levels_merged(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Sum levels of a minute that several parts have, each of which ascends; all others are only put in order."""
    found = sorted((part for part in parts if len(part)), key=lambda part: int(part["open_ms"][0]))
    if not found:
        return LEVELS.to_frame()
    levels = pl.concat([part.select(list(LEVELS)) for part in found])
    if all(before["open_ms"][-1] < part["open_ms"][0] for before, part in pairwise(found)):
        return levels
    opens = pl.concat([part["open_ms"].unique() for part in found])
    shared = opens.filter(opens.is_duplicated()).unique()
    if len(shared):
        is_shared = pl.col("open_ms").is_in(shared.implode())
        levels = pl.concat([levels.filter(~is_shared), regroup(levels.filter(is_shared), MINUTE, 1)])
    if levels["open_ms"].is_sorted():
        return levels
    # Runs in order, which this merges.
    return levels[np.argsort(levels["open_ms"].to_numpy(), kind="stable")]


def by_day(rows: pl.DataFrame, time: str = "ts_ms") -> Iterator[tuple[int, pl.DataFrame]]:
    """Cut rows by UTC day, ascending; those of a day stay in their order."""
    if rows.is_empty():
        return
    days = rows[time].to_numpy() // DAY_MS
    if (days[1:] < days[:-1]).any():
        order = np.argsort(days, kind="stable")
        rows, days = rows[order], days[order]
    starts = np.flatnonzero(np.diff(days, prepend=days[0] - 1))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(days)], strict=True):
        yield int(days[start]) * DAY_MS, rows[start:end]


def _made(
    new: Sequence[tuple[Day, pl.DataFrame]], floor_ms: int, make: Callable[[pl.DataFrame], pl.DataFrame]
) -> dict[int, pl.DataFrame]:
    """What is made of the trades of days from the floor on, by day."""
    wanted = [trades for day, trades in new if day.day_ms >= floor_ms]
    return dict(by_day(make(pl.concat(wanted)), "open_ms")) if wanted else {}


def day_floor(newest_ms: int, days: int) -> int:
    """The first day that retention keeps."""
    return max(0, day_of(newest_ms) - days * DAY_MS)
