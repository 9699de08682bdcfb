"""What every reader of recorded trades shares."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import BadInput
from common.market.trade import SIDE_NAMES, Trades

COLUMNS = ("ts_ms", "price", "size", "side", "id")
SIDES = f"{', '.join(SIDE_NAMES[:-1])} or {SIDE_NAMES[-1]}"


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

    def line(self, place: str, problem: str) -> None:
        """`place` is `line 17` or `row 17`, `problem` names the value and what was expected."""
        if not self.skip:
            raise BadInput(f"{self.path} {place}: {problem}")
        self.count += 1
