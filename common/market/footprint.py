"""A footprint: how much was bought and sold at each price of one candle. Merging is a sum."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from common.market.orderflow.rows import row_at

# Positions in a level: lots bought, sold and of unknown side, then the number of trades of each.
# The side codes of common.market.trade are the first three positions.
TRADES_AT = 3
Level = list[int]


class Row(NamedTuple):
    """One price level, or one row of several levels, named by its price."""

    price_ticks: int
    buy_lots: int
    sell_lots: int
    unknown_lots: int
    buy_trades: int
    sell_trades: int
    unknown_trades: int


@dataclass(slots=True)
class Footprint:
    """`levels` maps a price in ticks to its six sums. Mutable: the builder grows it in place."""

    levels: dict[int, Level] = field(default_factory=dict)
    # Whether trades of arrays are in it: then numpy is at hand to pack it, too.
    is_of_arrays: bool = field(default=False, compare=False)

    @classmethod
    def of(cls, rows: Iterable[Iterable[int]]) -> "Footprint":
        return cls({price: sums for price, *sums in rows})

    def add(self, price_ticks: list[int], size_lots: list[int], sides: bytes) -> None:
        """Add trades, given as columns. The hot loop of the project: about 120 ns a trade."""
        levels = self.levels
        get = levels.get
        for price, lots, side in zip(price_ticks, size_lots, sides, strict=True):
            level = get(price)
            if level is None:
                levels[price] = level = [0, 0, 0, 0, 0, 0]
            level[side] += lots
            level[side + TRADES_AT] += 1

    def add_rows(self, rows: Iterable[Iterable[int]]) -> None:
        """Add levels, each as a Row."""
        for price, *sums in rows:
            level = self.levels.get(price)
            self.levels[price] = sums if level is None else [a + b for a, b in zip(level, sums, strict=True)]

    def merge(self, other: "Footprint") -> "Footprint":
        merged = Footprint({price: level.copy() for price, level in self.levels.items()})
        merged.add_rows(other.rows())
        return merged

    def rebin(self, row_ticks: int) -> "Footprint":
        """Return the footprint on rows of `row_ticks`: a price belongs to the nearest multiple, of two to the lower."""
        rows = Footprint()
        rows.add_rows(row._replace(price_ticks=row_at(row.price_ticks, row_ticks, "nearest")) for row in self.rows())
        return rows

    def rows(self) -> Iterator[Row]:
        """Levels from the lowest price to the highest."""
        return (Row(price, *self.levels[price]) for price in sorted(self.levels))
