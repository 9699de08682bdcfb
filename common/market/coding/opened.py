"""Sealed blocks of candles, opened but not decoded: all that a bar shows, in a quarter of the room of its columns.

A column stays what a block holds of it (common.market.coding.candle_blocks): what its neighbours do not already say,
as narrow as it is. The order keys are left out.

What is opened is within bounds in which the plain arithmetic of 64 bits holds: what puts the columns together
(common.frames.sealed) need not look. Blocks beyond them, as hardly a market has them, and those of another scale are
not opened: they are to be decoded, in 128 bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from common.market.coding import candle_blocks
from common.market.coding.candle_blocks import CandleContent
from common.market.coding.limbs import LimbColumn, Scratch, chain, lines_of
from common.market.coding.packed import Ints
from common.market.scale import Scales
from common.market.timeframes.timeframe import MINUTE_MS

_MAX_INT64 = (1 << 63) - 1
# Of trades and revs: no sum of them leaves 64 bits.
MAX_COUNT = (1 << 32) - 1


class ShownColumns(NamedTuple):
    """What a block says of each minute; `z`: zigzagged."""

    # z, ms by which it opens later than a minute after the one before.
    later: LimbColumn
    # z, the open less the close before it.
    gap: LimbColumn
    # z, the close less the open.
    body: LimbColumn
    # z, the high above both, and the low below.
    up: LimbColumn
    down: LimbColumn
    buy: LimbColumn
    sell: LimbColumn
    # z
    unknown: LimbColumn
    # z, the turnover less volume x price.
    left: LimbColumn
    trades: LimbColumn
    rev: LimbColumn
    sources: LimbColumn


# Their places among the columns of a block, and that of what is left of a turnover beyond 64 bits.
_SHOWN = (*range(9), 10, 15, 16)
_LEFT_HIGH = 9


class Greatest(NamedTuple):
    """What no minute is beyond, either way, in the steps that the days share."""

    price: int
    volume: int
    turnover: int


@dataclass(frozen=True, slots=True, eq=False)
class OpenedCandles:
    """Minutes of some days, at least one, ascending. Arrays have a number a day."""

    counts: Ints
    # When the first and the last minute of each open.
    first_ms: Ints
    last_ms: Ints
    # What the columns of each go on from: the open of the minute before, ms, and the close before.
    before_ms: Ints
    before_close: Ints
    # The steps that a day counts in, as so many of the steps that all share.
    price_factor: Ints
    lot_factor: Ints
    price_step: int
    lot_step: int
    greatest: Greatest
    columns: ShownColumns

    def __len__(self) -> int:
        return int(self.counts.sum())

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in self.columns)

    def some(self, days: slice) -> "OpenedCandles":
        """Some of the days, at least one: nothing is copied."""
        ends = np.cumsum(self.counts)
        rows = slice(int(ends[days.start] - self.counts[days.start]), int(ends[days.stop - 1]))
        names = ("counts", "first_ms", "last_ms", "before_ms", "before_close", "price_factor", "lot_factor")
        cut: dict[str, Any] = {name: getattr(self, name)[days] for name in names}
        return replace(self, columns=ShownColumns(*(column.some(rows) for column in self.columns)), **cut)

    def opens(self, scratch: Scratch) -> Ints:
        """When each minute opens."""
        return opens_of(self.columns.later, self.counts, self.before_ms, scratch)


def opens_of(later: LimbColumn, counts: Ints, before_ms: Ints, scratch: Scratch) -> Ints:
    rows = int(counts.sum())
    opens: Ints = scratch.take("opens", np.int64, rows)
    if later.limbs:
        np.add(later.signed("later", rows, scratch), np.int64(MINUTE_MS), out=opens)
    else:
        opens.fill(MINUTE_MS + (later.constant >> 1 ^ -(later.constant & 1)))
    chain(opens, counts, before_ms)
    return opens


def opened(sealed: Sequence[bytes], scales: Scales | None, scratch: Scratch) -> OpenedCandles | None:
    """Open blocks of candles, at least one. None where they are to be decoded (candle_blocks.columns)."""
    contents = candle_blocks.contents(sealed, scales)
    if contents is None:
        return None
    lines = lines_of([content.planes for content in contents], [content.widths for content in contents])
    if len(lines[_LEFT_HIGH]):
        return None
    columns = ShownColumns(*(LimbColumn.of(lines[place]) for place in _SHOWN))
    made = _days(contents, columns, scratch)
    return made if made and _hold(made) else None


def _days(contents: Sequence[CandleContent], columns: ShownColumns, scratch: Scratch) -> OpenedCandles | None:
    """None where times or prices may leave 64 bits on the way."""
    counts = np.array([content.rows for content in contents], np.int64)
    heads = [np.array(column, np.int64) for column in zip(*(content.head for content in contents), strict=True)]
    before_ms, before_close, _, price_steps, lot_steps = heads
    rows, (later,), (gap,), (body,) = int(counts.sum()), *(each.furthest() for each in columns[:3])
    furthest = _furthest(before_ms) + rows * (MINUTE_MS + later), _furthest(before_close) + rows * (gap + body)
    if max(furthest) > _MAX_INT64:
        return None
    opens = opens_of(columns.later, counts, before_ms, scratch)
    ends = np.cumsum(counts)
    price_step, lot_step = np.gcd.reduce(price_steps), np.gcd.reduce(lot_steps)
    price_factor, lot_factor = price_steps // price_step, lot_steps // lot_step
    return OpenedCandles(
        counts=counts,
        first_ms=opens[ends - counts],
        last_ms=opens[ends - 1],
        before_ms=before_ms,
        before_close=before_close,
        price_factor=price_factor,
        lot_factor=lot_factor,
        price_step=int(price_step),
        lot_step=int(lot_step),
        greatest=_greatest(columns, counts, before_close, price_factor, lot_factor, scratch),
        columns=columns,
    )


def _greatest(
    columns: ShownColumns, counts: Ints, before_close: Ints, price_factor: Ints, lot_factor: Ints, scratch: Scratch
) -> Greatest:
    """Of all days at once if they count in the same steps, else of each in its own. Closes are looked at one by one."""
    rows = int(counts.sum())
    is_same = bool((price_factor == 1).all() and (lot_factor == 1).all())
    starts = np.zeros(1, np.int64) if is_same else np.cumsum(counts) - counts
    gap, body = columns.gap.signed("gap", rows, scratch), columns.body.signed("body", rows, scratch)
    close = np.add(gap, body, out=scratch.take("close", np.int64, rows), dtype=np.int64)
    chain(close, counts, before_close)
    closes = np.maximum(np.maximum.reduceat(close, starts), -np.minimum.reduceat(close, starts)).tolist()
    furthest = (getattr(columns, name).furthest(starts) for name in ("body", "up", "down", "unknown", "left"))
    bought, sold = columns.buy.greatest(starts), columns.sell.greatest(starts)
    found = [
        _of_group(*group)
        for group in zip(closes, *furthest, bought, sold, price_factor.tolist(), lot_factor.tolist(), strict=False)
    ]
    return Greatest(*map(max, zip(*found, strict=True)))


def _of_group(
    close: int, body: int, up: int, down: int, unknown: int, left: int, bought: int, sold: int, price: int, lot: int
) -> Greatest:
    """`price`, `lot`: the factors of a group of days; all else is the furthest of its columns."""
    price_ticks, volume = close + body + max(up, down), bought + sold + unknown
    return Greatest(price_ticks * price, volume * lot, (volume * price_ticks + left) * price * lot)


def _hold(days: OpenedCandles) -> bool:
    """Whether the minutes ascend, and neither they nor the sum of two prices, or of so many counts, leave 64 bits."""
    greatest, columns = days.greatest, days.columns
    furthest = max(2 * greatest.price * days.price_step, greatest.volume * days.lot_step, greatest.turnover)
    counted = max(*columns.trades.greatest(), *columns.rev.greatest())
    ascend = bool((days.first_ms[1:] > days.last_ms[:-1]).all())
    return furthest <= _MAX_INT64 and counted <= MAX_COUNT and ascend


def _furthest(values: Ints) -> int:
    return max(int(values.max()), -int(values.min()))
