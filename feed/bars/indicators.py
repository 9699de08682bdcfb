"""Indicators of bars: of those asked for, out of as many bars before them as their values take to be exact.

All as of one commit, and all indicators of one frame. What is not asked for is not computed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from common.errors import BadInput, Overtaken
from common.frames.orderflow.running import NO_ANCHOR
from common.frames.spans import ends_of
from common.indicators.anchors import ALL, anchors_of
from common.indicators.bars import IndicatorBars
from common.indicators.engine import Floats
from common.indicators.ids import MAX_PATH_BARS, Indicator
from common.indicators.values import anchors, is_settled, values_of
from common.market.coding.packed import Ints
from common.market.timeframes.timeframe import Timeframe
from common.retry import retry_when_overtaken
from common.store.reads import View
from feed.bars.frames import filled, flagged
from feed.bars.page import More, covered_span, next_page
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarRows, BarSource, BarsTogether
from feed.reading.bounds import Bounds, Window, grid_at
from feed.reading.coverage import KnownCoverage

ATTEMPTS = 8
# Bars before the first one: as many as there are; and of those filled in, most.
MAX_LEAD, MAX_FILLED_LEAD = 1 << 40, 200_000
# Of a row without a bar whose value it has.
NO_BAR = -1


@dataclass(frozen=True, slots=True)
class IndicatorQuery:
    """`align`: the bars that values are of, if these are longer than the rows: each row has the newest that was over.

    `is_final`: without the growing bar.
    """

    timeframe: Timeframe
    window: Window
    indicators: tuple[Indicator, ...]
    is_final: bool = False
    is_flat: bool = False
    align: Timeframe | None = None


@dataclass(frozen=True, slots=True, eq=False)
class IndicatorColumns:
    """One indicator in all rows. Of none of what may be left out: None, or where it is as it should be, True.

    `partial`: rows whose value may lack trades; `warm_from`: the first row, as an index, that is exact, or how many
    rows there are if none is. `since_ms`: of the newest row, since when its sum runs, and `reliable_since_ms`: since
    when nothing is missing in it.
    """

    indicator: Indicator
    outputs: Mapping[str, Floats]
    partial: npt.NDArray[np.bool_]
    warm_from: int = 0
    settled: bool = True
    since_ms: int | None = None
    reliable_since_ms: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class IndicatorRead:
    """Rows, and what they are true of. `as_of_ms`: of each row the open of the bar whose values it has, or NO_BAR."""

    opens_ms: Ints
    is_final: npt.NDArray[np.bool_]
    columns: Sequence[IndicatorColumns]
    view: View
    cover: KnownCoverage
    from_ms: int
    to_ms: int
    more: More | None
    as_of_ms: Ints | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WarmBars:
    """Bars, ascending, of which those from `shown` on are asked for. `has_all`: there is none before the first.

    `settled`: the paths that come to the same in those from an earlier beginning.
    """

    frame: pl.DataFrame
    shown: int
    has_all: bool
    settled: frozenset[Indicator] = frozenset()

    @property
    def opens_ms(self) -> Ints:
        return self.frame["open_ms"].to_numpy()


async def read(source: BarSource, query: IndicatorQuery, longer: BarSource | None = None) -> IndicatorRead:
    """`source`: of the query's timeframe; `longer`: of that which values are of, if it is another."""
    return await retry_when_overtaken(
        partial(_read, source, query, longer), source.data.instrument.symbol, attempts=ATTEMPTS
    )


async def _read(source: BarSource, query: IndicatorQuery, longer: BarSource | None) -> IndicatorRead:
    timeframe, together = source.grid.timeframe, source.together()
    bounds = Bounds.of(query.window, timeframe)
    rows, lead = await _rows(source, together, query, bounds)
    warm = None if longer else await _warm(source, together, query, rows, bounds, lead=lead)
    frame = warm.frame[warm.shown :] if warm else rows.frame
    more_ms = rows.more_ms if len(frame) < bounds.limit else None
    from_ms, to_ms = covered_span(frame["open_ms"], timeframe, bounds, more_ms)
    shown = flagged(frame, timeframe, rows.cover, rows.view.state)
    if query.is_final:
        shown = shown.filter("is_final")
    opens_ms, as_of_ms = shown["open_ms"].to_numpy(), None
    if longer:
        warm, at = await _aligned(longer, query, opens_ms, ends_of(opens_ms, timeframe), rows)
        as_of_ms = np.where(at == NO_BAR, NO_BAR, warm.opens_ms[at]) if len(warm.frame) else at
    else:
        assert warm, "it was read above"
        at = warm.shown + np.arange(len(shown))
    size = len(warm.frame) * len(query.indicators)
    columns = await source.data.budget.run(size, _all_columns, longer or source, warm, rows.cover, at, query)
    is_final = shown["is_final"].to_numpy()
    more = next_page(bounds, more_ms)
    return IndicatorRead(opens_ms, is_final, columns, rows.view, rows.cover, from_ms, to_ms, more, as_of_ms)


async def _rows(
    source: BarSource, together: BarsTogether, query: IndicatorQuery, bounds: Bounds
) -> tuple[BarRows, BarRows | None]:
    """The rows; of the newest ones, in the same read, also the bars before them that their values remember."""
    recipe, count = BarRecipe.candles(source.grid.timeframe), _lead_count(query)
    if count and not (bounds.start_ms or bounds.oldest_first or query.is_flat or query.align):
        found = await together.read(recipe, replace(bounds, limit=bounds.limit + count))
        if found.more_ms is None:
            cut = max(len(found.frame) - bounds.limit, 0)
            return replace(found, frame=found.frame[cut:]), replace(found, frame=found.frame[:cut])
    return await together.read(recipe, bounds), None


def _lead_count(query: IndicatorQuery) -> int:
    return max((each.lead for each in query.indicators), default=0)


async def _aligned(
    longer: BarSource, query: IndicatorQuery, opens_ms: Ints, ends_ms: Ints, rows: BarRows
) -> tuple[WarmBars, Ints]:
    """Longer bars, and which of them each row has: the newest one that is final and ends no later than the row.

    Rows are named by their open, and what is known at a row is known at its end.
    """
    timeframe, together, count = longer.grid.timeframe, longer.together(), len(opens_ms)
    start_ms, end_ms = (timeframe.open_of(int(ends_ms[at])) for at in (0, -1)) if count else (0, 0)
    bounds = Bounds(start_ms, max(end_ms, start_ms), MAX_LEAD, oldest_first=False)
    found = await together.read(BarRecipe.candles(timeframe), bounds)
    if _cursor(found.view) != _cursor(rows.view):
        raise Overtaken("rows and longer bars were read at several commits")
    if found.more_ms is not None:
        raise BadInput("that is more than one request may read, expected a smaller limit")
    warm = await _warm(longer, together, query, found, bounds, before=1)
    is_final = flagged(warm.frame, timeframe, found.cover, found.view.state)["is_final"].to_numpy()
    over_ms = ends_of(warm.opens_ms[is_final], timeframe)
    return warm, np.searchsorted(over_ms, ends_ms, "right") - 1


def _cursor(view: View) -> str | None:
    return view.state.cursor if view.state else None


async def _warm(
    source: BarSource,
    together: BarsTogether,
    query: IndicatorQuery,
    rows: BarRows,
    bounds: Bounds,
    before: int = 0,
    lead: BarRows | None = None,
) -> WarmBars:
    """The rows with what their values remember, and so many bars more. A path is followed back until it is settled.

    `lead`: what was read before them already.
    """
    first_ms = bounds.start_ms if query.is_flat and bounds.start_ms else _first_ms(rows.frame, bounds)
    count, paths = _lead_count(query) + before, _paths(query)
    while True:
        lead = await _lead(source, together, query, first_ms, count, lead)
        has_all = len(lead.frame) < count and lead.more_ms is None and is_beginning(rows.cover)
        warm = await source.data.budget.run(
            len(lead.frame) + len(rows.frame), _joined, source, query, lead, rows, bounds, count
        )
        settled = paths if has_all else await source.data.budget.run(len(warm.frame), _settled, source, warm, paths)
        warm = replace(warm, has_all=has_all, settled=settled)
        if settled == paths or len(lead.frame) < count or count >= MAX_PATH_BARS:
            return warm
        count, lead = min(2 * count, MAX_PATH_BARS), None


def _paths(query: IndicatorQuery) -> frozenset[Indicator]:
    return frozenset(each for each in query.indicators if each.kind.memory == "path")


def _first_ms(frame: pl.DataFrame, bounds: Bounds) -> int:
    return int(frame["open_ms"][0]) if len(frame) else bounds.end_ms


def _settled(source: BarSource, warm: WarmBars, paths: frozenset[Indicator]) -> frozenset[Indicator]:
    if not paths:
        return paths
    bars = indicator_bars(source, warm.frame)
    return frozenset(each for each in paths if is_settled(bars, each, warm.shown))


def indicator_bars(source: BarSource, frame: pl.DataFrame) -> IndicatorBars:
    return IndicatorBars.of(frame, source.data.instrument.scale, source.grid.timeframe.sessions)


def is_beginning(cover: KnownCoverage) -> bool:
    """Whether the first bar there is, is the first there ever was: none has been dropped."""
    return cover.start_ms <= cover.from_ms and not cover.lost


async def _lead(
    source: BarSource,
    together: BarsTogether,
    query: IndicatorQuery,
    first_ms: int,
    count: int,
    lead: BarRows | None,
) -> BarRows:
    """So many bars before the first one, and all since its anchors. `lead`: so many, if they are read."""
    timeframe = source.grid.timeframe
    recipe = BarRecipe.candles(timeframe)
    lead = lead or await together.read(recipe, Bounds(0, first_ms, max(count, 1), oldest_first=False))
    since_ms = _since_ms(source, query, first_ms)
    if since_ms >= _first_ms(lead.frame, Bounds(0, first_ms, 1, oldest_first=False)):
        return lead
    all_of_it = await together.read(recipe, Bounds(since_ms, first_ms, MAX_LEAD, oldest_first=False))
    if all_of_it.more_ms is not None:
        raise BadInput(
            f"the anchor at {since_ms} lies further back than one request may read, expected a later anchor or a "
            "longer timeframe"
        )
    return all_of_it if len(all_of_it.frame) > len(lead.frame) else lead


def _since_ms(source: BarSource, query: IndicatorQuery, first_ms: int) -> int:
    """Since when the sums of the first bar run."""
    timeframe, found = source.grid.timeframe, [first_ms]
    for each in query.indicators:
        if each.anchor == ALL:
            return 0
        if each.anchor:
            since_ms = int(anchors_of(np.array([first_ms]), each.anchor, timeframe.sessions)[0])
            found.append(first_ms if since_ms == NO_ANCHOR else grid_at(timeframe, since_ms))
    return min(found)


def _joined(
    source: BarSource, query: IndicatorQuery, lead: BarRows, rows: BarRows, bounds: Bounds, count: int
) -> WarmBars:
    if not query.is_flat:
        return WarmBars(pl.concat([lead.frame, rows.frame]), len(lead.frame), has_all=False)
    timeframe, state = source.grid.timeframe, rows.view.state
    whole = pl.concat([lead.frame, rows.frame])
    shown = filled(whole, timeframe, bounds.reached(rows.more_ms), state)
    if shown.is_empty():
        return WarmBars(shown, 0, has_all=False)
    first_ms = int(shown["open_ms"][0])
    older = whole.filter(pl.col("open_ms") < first_ms)
    if any(each.anchor for each in query.indicators) and len(older):
        count = max(count, (first_ms - int(older["open_ms"][0])) // timeframe.longest_ms + 1)
    if count > MAX_FILLED_LEAD:
        raise BadInput("an anchor lies too far back for bars without trades, expected fill=none or a later anchor")
    before = filled(older, timeframe, Bounds(0, first_ms, max(count, 1), oldest_first=False), state)
    return WarmBars(pl.concat([before, shown]), len(before), has_all=False)


@dataclass(frozen=True, slots=True, eq=False)
class IndicatorRows:
    """Bars and what is known of them, and the rows asked for. `at`: the bar of each row, or NO_BAR.

    `lacking`: how many bars before each one may lack trades, and in all.
    """

    timeframe: Timeframe
    warm: WarmBars
    bars: IndicatorBars
    cover: KnownCoverage
    lacking: Ints
    at: Ints

    @classmethod
    def of(cls, source: BarSource, warm: WarmBars, cover: KnownCoverage, at: Ints) -> "IndicatorRows":
        bars, timeframe = indicator_bars(source, warm.frame), source.grid.timeframe
        lacking = np.cumsum(np.append(0, cover.partial_flags(bars.opens_ms, timeframe)))
        return cls(timeframe, warm, bars, cover, lacking, at)

    def columns(self, indicator: Indicator) -> IndicatorColumns:
        since_ms = anchors(self.bars, indicator)
        begin = self._begin(indicator, since_ms)
        values = values_of(self.bars.since(begin) if begin else self.bars, indicator)
        outputs = {name: self._taken(found, np.nan, begin) for name, found in values.items()}
        exact = IndicatorColumns(indicator, outputs, self._taken(self._partial(indicator, since_ms), False))
        if indicator.anchor:
            return self._anchored(exact, since_ms)
        if self.warm.has_all:
            return exact
        settled = indicator.kind.memory != "path" or indicator in self.warm.settled
        return replace(exact, warm_from=int(np.searchsorted(self.at, indicator.warmup)), settled=settled)

    def _begin(self, indicator: Indicator, since_ms: Ints) -> int:
        """The first bar that its values remember: others ask for more. A path is as long as it had to be."""
        first = int(self.at[0]) if len(self.at) else NO_BAR
        if first == NO_BAR or indicator.kind.memory == "path":
            return 0
        if indicator.anchor:
            return int(np.searchsorted(since_ms, since_ms[first]))
        return max(first - indicator.lead, 0)

    def _taken(self, values: npt.NDArray[Any], none: float | bool, begin: int = 0) -> npt.NDArray[Any]:
        """Of each row; `none` where it has no bar. `begin`: the bar of the first value."""
        if not len(values):
            return np.full(len(self.at), none)
        return np.where(self.at == NO_BAR, none, values[np.maximum(self.at - begin, 0)])

    def _anchored(self, found: IndicatorColumns, since_ms: Ints) -> IndicatorColumns:
        last = int(self.at[-1]) if len(self.at) else NO_BAR
        if last == NO_BAR or since_ms[last] == NO_ANCHOR:
            return found
        since, end_ms = int(since_ms[last]), self.timeframe.next_open(int(self.bars.opens_ms[last]))
        return replace(found, since_ms=since, reliable_since_ms=self.cover.whole_since(since, end_ms))

    def _partial(self, indicator: Indicator, since_ms: Ints) -> npt.NDArray[np.bool_]:
        """Whether trades may be missing of the last n bars, n its longest length; of an anchor of any since then."""
        opens_ms = self.bars.opens_ms
        if indicator.anchor:
            from_ms = np.where(since_ms == NO_ANCHOR, opens_ms, since_ms)
            return self.cover.partial_spans(from_ms, ends_of(opens_ms, self.timeframe))
        starts = np.maximum(np.arange(len(opens_ms)) + 1 - indicator.longest, 0)
        return np.asarray(self.lacking[1:] != self.lacking[starts])


def _all_columns(
    source: BarSource, warm: WarmBars, cover: KnownCoverage, at: Ints, query: IndicatorQuery
) -> list[IndicatorColumns]:
    rows = IndicatorRows.of(source, warm, cover, at)
    return [rows.columns(each) for each in query.indicators]
