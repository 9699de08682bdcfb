"""The value area: rows around the point of control that hold a share of the volume.

It grows to the side whose next rows have more; of equals to the one nearer to the point of control, then upwards. That
is a merge of two sequences by their heads, and all of its steps are known at once: an element is taken no later than
the least one before it on its side (its record), so all are sorted by their records, and the area is the beginning of
that order. Empty rows between printed ones are records of 0, and need not be there. A law under test grows row by row.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from common.frames.orderflow.rows import RowColumns
from common.frames.runs import Values
from common.market.coding.packed import Ints
from common.market.orderflow.ratios import WHOLE_BP

# standard     a row at a time, until the share is reached
# two          two rows at a time
# tradingview  a row at a time, and none that would pass the share
AreaRule = Literal["standard", "tradingview", "two"]

SHARE_BP = 7_000
# TradingView has no area of a bar with more.
MAX_TRADINGVIEW_ROWS = 2_000
_MAX_KEY = 1 << 62

Flags = npt.NDArray[np.bool_]


def value_areas(
    rows: RowColumns, poc: Ints, share_bp: int = SHARE_BP, rule: AreaRule = "standard"
) -> tuple[Ints, Ints, Flags]:
    """Return the lowest and the highest row of each bar's area, and whether it has one. `poc`: as of `poc_at`."""
    has = poc >= 0
    if not len(rows):
        return poc, poc, has
    center = np.where(has, poc, rows.starts)
    low, high = rows.price[center], rows.price[center]
    # Bars without volume have no elements, and so no area but this row.
    steps = Growth.of(rows, center, has, 2 if rule == "two" else 1)
    wanted = share_bp * rows.sums(rows.total)
    if rule != "tradingview":
        inside = (WHOLE_BP * (steps.held - steps.total) < wanted[steps.bars]).astype(np.bool_)
        _widen(rows, low, high, steps.rows_in(inside & (steps.total > 0).astype(np.bool_)))
        return low, high, has
    span = (rows.price[rows.lasts] - rows.price[rows.starts]) // rows.row_ticks + 1
    alone = (WHOLE_BP * rows.total[center] > wanted).astype(np.bool_)
    inside = (WHOLE_BP * steps.held <= wanted[steps.bars]).astype(np.bool_) & ~alone[steps.bars]
    _widen(rows, low, high, steps.rows_in(inside))
    _with_empty_rows(rows, center, steps, inside, alone, (low, high))
    return low, high, has & (span <= MAX_TRADINGVIEW_ROWS)


@dataclass(frozen=True, slots=True, eq=False)
class Growth:
    """Elements (one row, or two) beside each bar's center, in the order in which its area takes them."""

    bars: Ints
    is_down: Flags
    # How many elements lie between it and the center, and the same of its record.
    place: Ints
    record: Ints
    # Whether its record is an empty row.
    is_empty: Flags
    total: Values
    # What the area holds with it.
    held: Values
    # Rows by element: those of element e are order[first[e]:last[e] + 1].
    order: Ints
    first: Ints
    last: Ints

    @classmethod
    def of(cls, rows: RowColumns, center: Ints, has: Flags, step: int) -> "Growth":
        distance = (rows.price - rows.price[center][rows.bars]) // rows.row_ticks
        distance[~has[rows.bars]] = 0
        # Outwards: up as they ascend, down the other way round.
        order = np.concatenate([np.flatnonzero(distance > 0), np.flatnonzero(distance < 0)[::-1]])
        bars, down = rows.bars[order], distance[order] < 0
        places = (np.abs(distance[order]) - 1) // step
        begins = _changes(bars, down)
        firsts = np.flatnonzero(begins | _changes(places))
        total = np.add.reduceat(rows.total[order], firsts) if len(order) else rows.total[order]
        lasts = np.append(firsts[1:], len(order)) - 1
        bars, down, place = bars[firsts], down[firsts], places[firsts]
        least, record = _records(total, place, begins[firsts])
        taken = _by_record(bars, least, 2 * record + down)
        held = _held(total[taken], bars[taken], rows.total[center])
        return cls(
            bars[taken],
            down[taken],
            place[taken],
            record[taken],
            (least == 0)[taken],
            total[taken],
            held,
            order,
            firsts[taken],
            lasts[taken],
        )

    def rows_in(self, inside: Flags) -> Ints:
        """The outermost printed rows of such elements, both ends of each."""
        found: Ints = self.order[np.concatenate([self.first[inside], self.last[inside]])]
        return found


def _widen(rows: RowColumns, low: Ints, high: Ints, at: Ints) -> None:
    at = at[(rows.total[at] > 0).astype(np.bool_)]
    np.minimum.at(low, rows.bars[at], rows.price[at])
    np.maximum.at(high, rows.bars[at], rows.price[at])


def _with_empty_rows(
    rows: RowColumns, center: Ints, steps: Growth, inside: Flags, alone: Flags, area: tuple[Ints, Ints]
) -> None:
    """Widen areas by the empty rows that were taken before the first row that did not fit; of those `alone` by none."""
    low, high = area
    lowest, highest = rows.price[rows.starts], rows.price[rows.lasts]
    out = np.flatnonzero(~inside)
    bars, firsts = np.unique(steps.bars[out], return_index=True)
    # Where all fitted, all rows were taken.
    whole = ~alone
    whole[bars] = False
    low[whole], high[whole] = lowest[whole], highest[whole]
    stops = out[firsts]
    stops = stops[steps.is_empty[stops] & ~alone[steps.bars[stops]]]
    bars, is_down, height = steps.bars[stops], steps.is_down[stops], rows.row_ticks
    middle = rows.price[center[bars]]
    own, other = steps.place[stops] * height, (steps.record[stops] + is_down) * height
    up, down = np.where(is_down, other, own), np.where(is_down, own, other)
    high[bars] = np.maximum(high[bars], np.minimum(middle + up, highest[bars]))
    low[bars] = np.minimum(low[bars], np.maximum(middle - down, lowest[bars]))


def _changes(*columns: Values) -> Flags:
    """Where one of them is another than before; at the first."""
    found = np.ones(len(columns[0]), np.bool_)
    found[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return found


def _records(total: Values, place: Ints, begins: Flags) -> tuple[Values, Ints]:
    """Return the least total up to each element of its side, and the place where that is: the last of such places.

    A place that is left out between two elements is an empty one.
    """
    if not len(total):
        return total, place
    side = np.cumsum(begins) - 1
    before = np.append(0, place[:-1] + 1)
    before[begins] = 0
    after_gap = place > before
    ranked = _small(total, len(begins))
    least = _least_so_far(np.where(after_gap, 0, ranked), side)
    earlier = np.append(0, least[:-1])
    is_record = begins | (ranked <= earlier)
    is_record[after_gap] = ranked[after_gap] == 0
    # An element that is no record inherits the newest one, which only goes outwards.
    known = np.where(is_record, place, np.where(after_gap, place - 1, -1))
    width = int(place.max()) + 2
    record = np.maximum.accumulate(known + side * width) - side * width
    return least, record


def _small(total: Values, sides: int) -> Ints:
    """Totals, or where these are large, numbers in the same order; 0 stays what it is."""
    if total.dtype != object and (int(total.max()) + 1) * (sides + 1) < _MAX_KEY:
        return total
    _, ranks = np.unique(np.append(total, 0), return_inverse=True)
    found: Ints = ranks[:-1].astype(np.int64)
    return found


def _least_so_far(values: Ints, side: Ints) -> Ints:
    """Of each side alone: a later side is lower by more than there is in all."""
    beyond = int(values.max()) + 1
    return np.minimum.accumulate(values - side * beyond) + side * beyond


def _by_record(bars: Ints, least: Ints, nearness: Ints) -> Ints:
    """By bar, the greatest records first, and of equals the nearest. Elements of one side stay in order."""
    if not len(bars):
        return bars
    beyond = int(least.max()) + 1
    if beyond * (int(bars.max()) + 2) < _MAX_KEY:
        return np.lexsort((nearness, bars * beyond - least))
    return np.lexsort((nearness, -least, bars))


def _held(total: Values, bars: Ints, of_center: Values) -> Values:
    """What the area of each bar holds with each element, its center included."""
    if not len(total):
        return total
    sums = np.cumsum(total)
    firsts = np.flatnonzero(np.diff(bars, prepend=-1))
    counts = np.diff(firsts, append=len(bars))
    held: Values = sums - np.repeat(sums[firsts] - total[firsts], counts) + of_center[bars]
    return held
