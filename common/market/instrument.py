"""What is traded: the symbol, its decimals, and what its trade ids promise."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from common.errors import BadInput
from common.market import units

SYMBOL_PATTERN = re.compile(r"[A-Z0-9:_.-]{1,32}", re.ASCII)

# contiguous: the venue numbers trades 1, 2, 3, ... per symbol, so a hole in the ids is a lost trade.
# unique: an id names one trade, and nothing follows from its neighbours.
Ids = Literal["contiguous", "unique"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """A price is an integer of 10**-price_decimals (ticks), a size one of 10**-size_decimals (lots)."""

    symbol: str
    price_decimals: int
    size_decimals: int
    ids: Ids = "unique"

    def __post_init__(self) -> None:
        check_symbol(self.symbol)
        for name in ("price_decimals", "size_decimals"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 0 <= value <= units.MAX_DECIMALS:
                raise BadInput(f"{name} is {value!r}, expected a whole number from 0 to {units.MAX_DECIMALS}")
        if self.ids not in get_args(Ids):
            raise BadInput(f"ids is {self.ids!r}, expected one of {', '.join(get_args(Ids))}")

    def price_ticks(self, text: str) -> int:
        return units.parse(text, self.price_decimals)

    def size_lots(self, text: str) -> int:
        return units.parse(text, self.size_decimals)

    def price_text(self, ticks: int) -> str:
        return units.render(ticks, self.price_decimals)

    def size_text(self, lots: int) -> str:
        return units.render(lots, self.size_decimals)

    def turnover_text(self, turnover: int) -> str:
        """`turnover` is a sum of ticks x lots, so it carries the decimals of both."""
        return units.render(turnover, self.price_decimals + self.size_decimals)


def check_symbol(symbol: str) -> str:
    """Return `symbol`, or raise BadInput. A symbol becomes part of keys, URLs and file names."""
    if not SYMBOL_PATTERN.fullmatch(symbol) or symbol in (".", ".."):
        raise BadInput(f"symbol {symbol[:40]!r} is not 1 to 32 characters of A-Z, 0-9 and :_.-")
    return symbol
