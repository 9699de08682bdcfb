"""What every reader of recorded trades shares."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.errors import BadInput
from common.market import units
from common.market.trade import SIDE_NAMES, Trades

COLUMNS = ("ts_ms", "price", "size", "side", "id")
# What has decimals of its own.
Scaled = Literal["price", "size"]
SIDES = f"{', '.join(SIDE_NAMES[:-1])} or {SIDE_NAMES[-1]}"


class TooFineLine(BadInput):
    """A line has a number with more decimals than its symbol. `of`: whose decimals; `decimals`: as many as it has."""

    def __init__(self, sentence: str, of: Scaled, decimals: int) -> None:
        super().__init__(sentence)
        self.of, self.decimals = of, decimals


# Makes the error of a sentence.
Refusal = Callable[[str], BadInput]


def refusal_of(text: str, of: Scaled, decimals: int) -> Refusal:
    """That of a number which could not be read with so many decimals."""
    try:
        units.parse(text, decimals)
    except units.TooFine as error:
        found = error.decimals
        return lambda sentence: TooFineLine(sentence, of, found)
    except BadInput:
        pass
    return BadInput


@dataclass(slots=True)
class TradeChunk:
    """The trades of some lines of a file, in file order. `fraction`: how much of the file is behind its end."""

    trades: Trades
    bad: int = 0
    fraction: float = 1.0


@dataclass(slots=True)
class BadLines:
    """What to do with a line that is no trade: raise, or count it."""

    path: Path
    skip: bool
    count: int = 0

    def line(self, place: str, problem: str, refusal: Refusal = BadInput) -> None:
        """`place` is `line 17` or `row 17`, `problem` names the value and what was expected."""
        if not self.skip:
            raise refusal(f"{self.path} {place}: {problem}")
        self.count += 1
