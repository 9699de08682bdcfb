"""Closed bars out of the stored minutes, as read from Redis, with no cache in between.

For timeframes made of whole minutes. What is here is the truth; feed.bars.tail caches what was read here.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import polars as pl

from common.errors import BadInput
from common.frames import decode
from common.frames.minutes import MinuteRows, place_of
from common.frames.resample import resample
from common.market.candle import Candle
from common.market.coding import codec
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe
from common.retry import always_changing
from common.store.parts import Range
from common.store.reads import View
from feed.bars.recipe import BarRecipe
from feed.reading.bounds import ATTEMPTS, FOREVER_MS, Bounds, grid_at
from feed.reading.budget import QueryBudget
from feed.reading.history import History

# Of the JSON of a row; of a bar it is more.
MIN_ROW_BYTES = 38
# Minutes, or levels, that are kept while other bars are made of them: half of what a query may read.
MAX_KEPT_ROWS = 1 << 20
# Of these, that are read at once.
MAX_PART_ROWS = 1 << 19
MAX_DAYS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Closed:
    """Bars merged of closed minutes, ascending. `view` is what they are true of.

    `to_end`: nothing closed follows them, so the open minute may belong to the last one. `from_start`: nothing that
    is kept precedes them within the bounds. `more_ms`: where to go on, an end or, oldest first, a start: before the
    limit was reached, the budget was spent. `pieces`: the minutes, to make other bars of, if that was asked for and
    they are not too many.
    """

    view: View
    bars: pl.DataFrame
    to_end: bool
    from_start: bool
    more_ms: int | None = None
    pieces: Sequence[MinuteRows] = ()


async def read_closed(history: History, recipe: BarRecipe, bounds: Bounds, *, keeps_pieces: bool = False) -> Closed:
    """Read at most `bounds.limit` bars, as many as the history's budget allows, and one at the least.

    As many minutes are read as so many bars can have, so it is enough however few of them there are.
    """
    wanted = at_once = bounds.limit * (recipe.timeframe.longest_ms // MINUTE_MS)
    if recipe.timeframe.sessions:
        # How many minutes are in no session is not known: read by at least a day until the bars are enough.
        wanted, at_once = FOREVER_MS, max(at_once, DAY_MS // MINUTE_MS)
    share = Share(wanted, min(at_once, recipe.part), min(at_once, recipe.chunk), keeps_pieces)
    for _ in range(ATTEMPTS):
        closed = await _read(history, recipe, bounds, share)
        if closed:
            return closed
    part = min(wanted, recipe.part)
    closed = await _read(history, recipe, bounds, Share(wanted, part, part, keeps_pieces, is_last=True))
    if closed is None:
        raise always_changing(history.symbol)
    return closed


async def made_again(history: History, closed: Closed, recipe: BarRecipe, bounds: Bounds) -> Closed:
    """Make other bars of the minutes of closed ones, read within the same bounds."""
    parts = await bars_of(history, recipe, closed.pieces)
    rows = sum(map(len, parts))
    bars, _ = await history.budget.run(rows, _put_together, recipe, parts, bounds, closed.more_ms)
    return replace(closed, bars=bars)


async def with_lender(
    history: History, recipe: BarRecipe, bounds: Bounds, read: Callable[[], Awaitable[Closed]]
) -> tuple[Closed, pl.DataFrame]:
    """Return the closed bars that are read, and the minute before them that lends its close; none if none is left."""
    for _ in range(ATTEMPTS):
        closed = await read()
        start_ms = bounds.reached(closed.more_ms).start_ms
        if start_ms == 0:
            break
        part = await history.read(recipe.minutes, Range(0, start_ms, newest=1), 1)
        if fit([closed.view, part.view], recipe):
            return closed, recipe.merge(part.last())
    return closed, recipe.minutes.decode([])


def with_open(closed: Closed, recipe: BarRecipe, bounds: Bounds) -> pl.DataFrame:
    """Return the bars with the open minute merged in, cut to the bounds."""
    bars, packed = closed.bars, recipe.open(closed.view.state)
    columns = recipe.columns or recipe.minutes.columns
    if tuple(bars.columns) != columns:
        # Days have order keys as well.
        bars = bars.select(columns)
    if packed and closed.to_end:
        minute = recipe.minutes.decode([packed])
        if bounds.start_ms <= minute["open_ms"][0] < bounds.end_ms:
            bars = joined(recipe, [bars, recipe.merge(minute)])
    return cut(bars, bounds)


def cut(bars: pl.DataFrame, bounds: Bounds) -> pl.DataFrame:
    """Return the rows of the first or last `bounds.limit` bars. A footprint has many rows with one open."""
    if len(bars) <= bounds.limit:
        return bars
    opens = bars["open_ms"].unique(maintain_order=True)
    if len(opens) <= bounds.limit:
        return bars
    if bounds.oldest_first:
        return _before(bars, opens[bounds.limit])
    return _since(bars, opens[-bounds.limit])


def _before(bars: pl.DataFrame, ms: int) -> pl.DataFrame:
    """Rows that open before then, of an ascending frame: nothing is copied."""
    return bars.head(place_of(bars, ms))


def _since(bars: pl.DataFrame, ms: int) -> pl.DataFrame:
    return bars.slice(place_of(bars, ms))


def merged(members: list[bytes], timeframe: Timeframe) -> list[Candle]:
    """Merge packed minutes, ascending, into bars: in Python while that is faster than starting up Polars."""
    if len(members) > 256:
        return candles_of(resample(decode.candles(members), timeframe))
    bars: list[Candle] = []
    for minute in map(codec.unpack_candle, members):
        grow(bars, minute, timeframe)
    return bars


def grow(bars: list[Candle], minute: Candle, timeframe: Timeframe) -> None:
    """Merge a minute into the last bar, or begin the next. One that is in no session is left out."""
    if not timeframe.holds(minute.open_ms):
        return
    open_ms = timeframe.open_of(minute.open_ms)
    if bars and bars[-1].open_ms == open_ms:
        bars[-1] = bars[-1].merge(minute)
    else:
        bars.append(minute.rename(open_ms))


def candles_of(frame: pl.DataFrame) -> list[Candle]:
    return [Candle(*row) for row in frame.iter_rows()]


@dataclass(frozen=True, slots=True)
class Share:
    """How many minutes are wanted, how many are read at once, and of those that are not sealed (`chunk`).

    `keeps_pieces`: as of read_closed. `is_last`: a first part is enough, if a bar is whole with it: what is read later
    may not fit together with it.
    """

    wanted: int
    at_once: int
    chunk: int
    keeps_pieces: bool = False
    is_last: bool = False

    def next_at_once(self, minutes: int, rows: int) -> int:
        """How many minutes to read at once after so many had so many rows: of thin ones several days.

        Where pieces are kept: then it is known that a part of them is no more than is held anyway.
        """
        if not self.keeps_pieces or not minutes:
            return self.at_once
        return max(self.at_once, min(MAX_PART_ROWS * minutes // max(rows, 1), MAX_DAYS_AT_ONCE * self.at_once))


async def _read(history: History, recipe: BarRecipe, bounds: Bounds, share: Share) -> Closed | None:
    """Read part by part. None if they don't fit together: minutes of an earlier one have been changed since."""
    views: list[View] = []
    parts: list[pl.DataFrame] = []
    kept: list[MinuteRows] = []
    start_ms, end_ms, count = bounds.start_ms, bounds.end_ms, 0
    more_ms: int | None = None
    is_done, at_once = False, share.at_once
    while not is_done and more_ms is None:
        limit = min(share.wanted - count, at_once)
        wanted = Range.some(start_ms, end_ms, limit, oldest_first=bounds.oldest_first)
        rows = history.budget.rows
        part = await history.read(recipe.minutes, wanted, share.chunk, recipe.uneven_days)
        views.append(part.view)
        minutes = sum(map(recipe.minute_count, part.pieces))
        count += minutes
        at_once = share.next_at_once(minutes, history.budget.rows - rows)
        made = await bars_of(history, recipe, part.pieces)
        parts = parts + made if bounds.oldest_first else made + parts
        if share.keeps_pieces:
            kept = [*kept, *part.pieces] if bounds.oldest_first else [*part.pieces, *kept]
        start_ms = part.to_ms if bounds.oldest_first else start_ms
        end_ms = end_ms if bounds.oldest_first else part.from_ms
        is_at_end = part.ended or start_ms >= end_ms
        is_done = is_at_end or count >= share.wanted or _bars(recipe, parts) > bounds.limit
        if not is_done and (share.is_last or _is_spent(history.budget, history.budget.rows - rows, parts)):
            more_ms = _whole_to(recipe.timeframe, parts, start_ms if bounds.oldest_first else end_ms, bounds)
            if more_ms is None and not history.budget.has_room_for_a_bar:
                text = recipe.timeframe.text
                raise BadInput(f"one bar of {text} is made of too many levels, expected a shorter timeframe")
    if not fit(views, recipe):
        return None
    bars, is_all = await history.budget.run(sum(map(len, parts)), _put_together, recipe, parts, bounds, more_ms)
    ended = is_at_end and is_all
    pieces = kept if sum(map(len, kept)) <= MAX_KEPT_ROWS else ()
    if bounds.oldest_first:
        return Closed(views[-1], bars, to_end=ended, from_start=True, more_ms=more_ms, pieces=pieces)
    return Closed(views[0], bars, to_end=True, from_start=ended, more_ms=more_ms, pieces=pieces)


def _is_spent(budget: QueryBudget, next_rows: int, parts: list[pl.DataFrame]) -> bool:
    """Whether no further part, of so many rows, is to be read: for the budget, or for the size of the answer."""
    return not budget.has_room(next_rows) or sum(map(len, parts)) * MIN_ROW_BYTES > budget.max_bytes


def _put_together(
    recipe: BarRecipe, parts: list[pl.DataFrame], bounds: Bounds, more_ms: int | None
) -> tuple[pl.DataFrame, bool]:
    """Return the bars of parts, as many as wanted, and whether these are all."""
    bars = joined(recipe, parts)
    if more_ms is not None:
        bars = _before(bars, more_ms) if bounds.oldest_first else _since(bars, more_ms)
    wanted = cut(bars, bounds)
    return wanted, len(wanted) == len(bars)


async def bars_of(history: History, recipe: BarRecipe, pieces: Sequence[MinuteRows]) -> list[pl.DataFrame]:
    """Return the bars of each piece: cached ones, and all others made in one go."""
    cached = [history.frame_cache.merged(piece, recipe.how) for piece in pieces]
    lacking = [piece for piece, bars in zip(pieces, cached, strict=True) if bars is None]
    made = await history.budget.run(sum(map(len, lacking)), recipe.bars, lacking)
    for piece, bars in zip(lacking, made, strict=True):
        history.frame_cache.keep_merged(piece, recipe.how, bars)
    following = iter(made)
    return [next(following) if bars is None else bars for bars in cached]


def _whole_to(timeframe: Timeframe, parts: list[pl.DataFrame], reached_ms: int, bounds: Bounds) -> int | None:
    """Where the bars that are whole end, or begin, after minutes were read up to, or down to, there. None: none is."""
    opens = [part["open_ms"] for part in parts if not part.is_empty()]
    if not opens:
        return None
    if bounds.oldest_first:
        end_ms = timeframe.open_of(reached_ms)
        return end_ms if opens[0][0] < end_ms else None
    start_ms = grid_at(timeframe, reached_ms)
    return start_ms if opens[-1][-1] >= start_ms else None


def joined(recipe: BarRecipe, parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Put bars of ascending parts, at least one, together. Where two of them share a span, it is merged."""
    parts = list(parts)
    found = [part for part in parts if not part.is_empty()]
    alone = [slice(0, len(part)) for part in found]
    for number, (before, after) in enumerate(pairwise(found)):
        first_ms, last_ms = after["open_ms"][0], before["open_ms"][-1]
        if first_ms <= last_ms:
            alone[number] = slice(alone[number].start, place_of(before, first_ms))
            alone[number + 1] = slice(place_of(after, last_ms + 1), len(after))
    return pl.concat(_woven(recipe, found, alone) or parts[:1])


def _woven(recipe: BarRecipe, parts: list[pl.DataFrame], alone: list[slice]) -> list[pl.DataFrame]:
    """Rows that are `alone` in their spans stay as they are; all others, of a year a few, are merged at once."""
    shared = [rest for part, some in zip(parts, alone, strict=True) for rest in _without(part, some) if len(rest)]
    if not shared:
        return parts
    merged, woven = recipe.merge(pl.concat(shared)), list[pl.DataFrame]()
    for part, some in zip(parts, alone, strict=True):
        if some.start < some.stop:
            at = place_of(merged, part["open_ms"][some.start])
            woven += [merged[:at], part[some]]
            merged = merged[at:]
    return [piece for piece in (*woven, merged) if len(piece)]


def _without(part: pl.DataFrame, some: slice) -> tuple[pl.DataFrame, ...]:
    return (part[: some.start], part[some.stop :]) if some.start < some.stop else (part,)


def _bars(recipe: BarRecipe, parts: list[pl.DataFrame]) -> int:
    """At least so many bars: neighbouring parts share one at most."""
    return sum(map(recipe.count, parts)) - max(0, len(parts) - 1)


def fit(views: list[View], recipe: BarRecipe) -> bool:
    """Whether what each view saw is still true at the others."""
    first, last = views[0].state, views[-1].state
    if first is last:
        return True
    if first is None or last is None:
        return False
    return (
        first.token == last.token
        and first.seq <= last.seq
        and not any(amendment.seq > first.seq for amendment in last.amended)
        and first.floor_ms(recipe.minutes.series) == last.floor_ms(recipe.minutes.series)
    )
