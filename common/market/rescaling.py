"""From one scale of numbers to another: exactly, or not at all."""

from array import array
from dataclasses import replace
from typing import NamedTuple

from common.errors import BadInput
from common.market import units
from common.market.builder.builder import MAX_VOLUME_LOTS
from common.market.candle import Candle
from common.market.coding import codec
from common.market.footprint import TRADES_AT, Footprint
from common.market.scale import Scale
from common.market.trade import MAX_LOTS, MAX_TICKS

# What the archive holds of turnovers (DECIMAL(38)).
MAX_TURNOVER = 10**38 - 1
# What any number fits that is not a sum of trades: of a book, say.
MAX_INT_64 = (1 << 63) - 1

PRICE, SIZE, TURNOVER = "price", "size", "turnover"


class Unfit(BadInput):
    """A number has no exact place in another scale."""


class Rescaling(NamedTuple):
    """From one scale to another. Every method returns the same number in the new scale, or raises Unfit."""

    old: Scale
    new: Scale

    @property
    def is_none(self) -> bool:
        return self.old == self.new

    @property
    def price_shift(self) -> int:
        """Decimals more than before; below 0: fewer."""
        return self.new.price_decimals - self.old.price_decimals

    @property
    def size_shift(self) -> int:
        return self.new.size_decimals - self.old.size_decimals

    def price(self, ticks: int, most: int = MAX_TICKS - 1) -> int:
        return shifted(ticks, PRICE, self.old.price_decimals, self.price_shift, most)

    def size(self, lots: int, most: int = MAX_VOLUME_LOTS) -> int:
        return shifted(lots, SIZE, self.old.size_decimals, self.size_shift, most)

    def turnover(self, turnover: int) -> int:
        return shifted(turnover, TURNOVER, sum(self.old), self.price_shift + self.size_shift, MAX_TURNOVER)

    def inside(self, low_ticks: int, high_ticks: int) -> tuple[int, int]:
        """The least and the greatest price of the new scale between two that no trade needs to have."""
        if self.price_shift >= 0:
            return self.price(low_ticks, MAX_INT_64), self.price(high_ticks, MAX_INT_64)
        factor = power(-self.price_shift)
        return -(-low_ticks // factor), high_ticks // factor

    def candle(self, packed: bytes) -> bytes:
        """Of a packed candle; an empty one stays empty."""
        return codec.pack_candle(self.candle_of(codec.unpack_candle(packed))) if packed else packed

    def candle_of(self, c: Candle) -> Candle:
        return replace(
            c,
            open_ticks=self.price(c.open_ticks),
            high_ticks=self.price(c.high_ticks),
            low_ticks=self.price(c.low_ticks),
            close_ticks=self.price(c.close_ticks),
            volume_lots=self.size(c.volume_lots),
            buy_lots=self.size(c.buy_lots),
            sell_lots=self.size(c.sell_lots),
            turnover=self.turnover(c.turnover),
            delta_min_lots=None if c.delta_min_lots is None else self.size(c.delta_min_lots),
            delta_max_lots=None if c.delta_max_lots is None else self.size(c.delta_max_lots),
        )

    def footprint(self, packed: bytes) -> bytes:
        """Of the packed footprint of a candle that fits, so that this does as well; an empty one stays empty."""
        if not packed:
            return packed
        if self.price_shift < 0 or self.size_shift < 0:
            open_ms, footprint = codec.unpack_footprint(packed)
            return codec.pack_footprint(open_ms, self.footprint_of(footprint))
        # Prices and lots are kept in steps, so all there is to change is in the head.
        shape, levels, open_ms, lowest, price_step, lot_step = codec.FOOTPRINT_HEAD.unpack_from(packed)
        price, size = power(self.price_shift), power(self.size_shift)
        step = price_step * price if levels > 1 else price_step
        # Trades of size 0 alone have no step: else the same footprint would be other bytes than packed once more.
        lots = lot_step * size if lot_step > 1 or _has_lots(packed) else lot_step
        head = codec.FOOTPRINT_HEAD.pack(shape, levels, open_ms, lowest * price, step, lots)
        return head + packed[len(head) :]

    def footprint_of(self, footprint: Footprint) -> Footprint:
        return Footprint(
            {
                self.price(price): [*map(self.size, sums[:TRADES_AT]), *sums[TRADES_AT:]]
                for price, sums in footprint.levels.items()
            }
        )

    def trades(self, packed: bytes) -> bytes:
        """Of a packed batch of trades."""
        (count,) = codec.TRADES_HEAD.unpack_from(packed)
        if not count:
            return packed
        start = codec.TRADES_HEAD.size
        prices_at, sizes_at, sides_at = (start + 8 * count * columns for columns in (2, 3, 4))
        prices = _column(packed[prices_at:sizes_at], PRICE, self.old.price_decimals, self.price_shift, MAX_TICKS)
        sizes = _column(packed[sizes_at:sides_at], SIZE, self.old.size_decimals, self.size_shift, MAX_LOTS)
        return b"".join([packed[:prices_at], prices, sizes, packed[sides_at:]])


def _has_lots(packed: bytes) -> bool:
    _, footprint = codec.unpack_footprint(packed)
    return any(any(sums[:TRADES_AT]) for sums in footprint.levels.values())


def shifted(value: int, what: str, decimals: int, shift: int, most: int) -> int:
    """Return a number of so many decimals with `shift` more of them; Unfit if it is not exact, or more than `most`."""
    found, rest = (value * power(shift), 0) if shift >= 0 else divmod(value, power(-shift))
    if rest:
        raise Unfit(f"{what} {units.render(value, decimals)} has more than {decimals + shift} decimals")
    if abs(found) > most:
        raise Unfit(f"{what} {units.render(value, decimals)} is too great for {decimals + shift} decimals")
    return found


def power(shift: int) -> int:
    """10**shift; `shift` is 0 or more."""
    return int(10**shift)


def _column(packed: bytes, what: str, decimals: int, shift: int, end: int) -> bytes:
    if not shift:
        return packed
    values = array("q")
    values.frombytes(packed)
    if shift > 0:
        factor = power(shift)
        shifted(max(values), what, decimals, shift, end - 1)
        return array("q", [value * factor for value in values]).tobytes()
    return array("q", [shifted(value, what, decimals, shift, end - 1) for value in values]).tobytes()
