"""How minutes that lie open and those of sealed days are put together."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from common.frames.minutes import MinuteFrames, MinuteRows, frame_of, last_open_ms, within
from common.market.timeframes.timeframe import DAY_MS
from common.series import MinuteSeries
from common.store.parts import Range, Seal
from common.store.reads import View
from feed.reading.bounds import FOREVER_MS


@dataclass(frozen=True, slots=True)
class MinutesPart:
    """All minutes that open in `[from_ms, to_ms)`, ascending, as of `view`. `ended`: no others lie in the range.

    In several pieces: to put a year's together costs as much as to make something of it.
    """

    view: View
    pieces: list[MinuteRows]
    from_ms: int
    to_ms: int
    ended: bool

    @property
    def frames(self) -> list[pl.DataFrame]:
        return list(map(frame_of, self.pieces))

    def last(self) -> pl.DataFrame:
        """The last minute alone; none if there is none."""
        piece = next((piece for piece in reversed(self.pieces) if len(piece)), self.pieces[-1])
        return frame_of(within(piece, last_open_ms(piece), FOREVER_MS) if len(piece) else piece)


@dataclass(frozen=True, slots=True)
class DayStretch:
    """Minutes of sealed days, all that open in `[from_ms, to_ms)`. `is_cut`: the days have more that were asked for."""

    minutes: MinuteRows
    from_ms: int
    to_ms: int
    is_cut: bool = False


def may_be_sealed(series: MinuteSeries, view: View, wanted: Range, found: list[bytes]) -> bool:
    """Whether minutes of the range may lie in a sealed day."""
    if view.state is None or wanted.start_ms >= view.state.sealed_to_ms:
        return False
    full = wanted.newest is not None and len(found) == wanted.newest
    return not (full and series.codec.open_of(found[0]) >= view.state.sealed_to_ms)


def open_part(
    frames: MinuteFrames, view: View, wanted: Range, found: list[bytes], limit: int | None = None
) -> MinutesPart:
    """The open minutes alone. `limit`: how many were asked for at most."""
    limit = limit or wanted.oldest or wanted.newest
    minutes, open_of = frames.decode(found), frames.series.codec.open_of
    if limit is None or len(found) < limit:
        return MinutesPart(view, [minutes], wanted.start_ms, wanted.end_ms, ended=True)
    if wanted.oldest is not None:
        return MinutesPart(view, [minutes], wanted.start_ms, open_of(found[-1]) + 1, ended=False)
    return MinutesPart(view, [minutes], open_of(found[0]), wanted.end_ms, ended=False)


def stretches_of(series: MinuteSeries, view: View, wanted: Range) -> list[list[Seal]]:
    """The sealed days of the range, by the stretches they are kept in: the outer ones may reach beyond it."""
    # A seal stays until all series have dropped the day.
    floor_ms = view.state.floor_ms(series) if view.state else -1
    sealed = (
        [day for day in days if day.digest(series) and day.day_ms >= floor_ms] for days in _by_period(series, view)
    )
    return [
        days
        for days in sealed
        if days and days[0].day_ms < wanted.end_ms and days[-1].day_ms + DAY_MS > wanted.start_ms
    ]


def _by_period(series: MinuteSeries, view: View) -> list[list[Seal]]:
    stretches, end_ms = list[list[Seal]](), 0
    for seal in view.seals:
        if seal.day_ms >= end_ms:
            stretches.append([])
            end_ms = series.archive_period.next_open(series.archive_period.open_of(seal.day_ms))
        stretches[-1].append(seal)
    return stretches


def chosen_of(series: MinuteSeries, stretches: list[list[Seal]], wanted: Range) -> list[list[Seal]]:
    """Stretches that surely have as many minutes as asked for; those at the edges may lie outside with most of them."""
    limit = wanted.oldest if wanted.oldest is not None else wanted.newest
    if limit is None:
        return stretches
    order = stretches if wanted.oldest is not None else stretches[::-1]
    chosen, count = [], 0
    for days in order:
        if count >= limit:
            break
        chosen.append(days)
        inside = (day for day in days if wanted.start_ms <= day.day_ms and day.day_ms + DAY_MS <= wanted.end_ms)
        count += sum(day.count(series) for day in inside)
    return chosen if wanted.oldest is not None else chosen[::-1]


def joined_with(sealed: Sequence[MinuteRows], opened: pl.DataFrame, from_ms: int, to_ms: int) -> list[MinuteRows]:
    """Return minutes of `[from_ms, to_ms)`, ascending and disjoint: of one that is in both the open one counts."""
    opened, joined = within(opened, from_ms, to_ms), list[MinuteRows]()
    for piece in (within(each, from_ms, to_ms) for each in sealed):
        if covered(piece, opened):
            end_ms = last_open_ms(piece) + 1
            joined += _overlaid(piece, within(opened, 0, end_ms))
            opened = within(opened, end_ms, FOREVER_MS)
        elif len(piece):
            joined.append(piece)
    return joined if joined and opened.is_empty() else [*joined, opened]


def covered(sealed: MinuteRows, opened: pl.DataFrame) -> bool:
    """Whether one of the open minutes opens before the sealed ones end."""
    return len(sealed) > 0 and len(opened) > 0 and int(opened["open_ms"][0]) <= last_open_ms(sealed)


def _overlaid(sealed: MinuteRows, opened: pl.DataFrame) -> list[MinuteRows]:
    """Put open minutes in their places. What is sealed is decoded only from the first of these to the last."""
    first_ms, end_ms = int(opened["open_ms"][0]), int(opened["open_ms"][-1]) + 1
    spans = (0, first_ms), (first_ms, end_ms), (end_ms, FOREVER_MS)
    before, between, after = (within(sealed, *span) for span in spans)
    kept = frame_of(between).join(opened.select("open_ms").unique(), on="open_ms", how="anti")
    both = pl.concat([kept, opened]).sort("open_ms", maintain_order=True)
    return [piece for piece in (before, both, after) if len(piece)]


def cut_to(minutes: pl.DataFrame, wanted: Range) -> pl.DataFrame:
    if wanted.oldest is not None:
        return minutes.head(wanted.oldest)
    return minutes if wanted.newest is None else minutes.tail(wanted.newest)
