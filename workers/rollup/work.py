"""One piece of work for the queue, and the job id that it always has."""

import re
from dataclasses import dataclass

from common.market.timeframes.timeframe import Timeframe
from common.store.keys import archived_series

# Roll up the days of a UTC month that are due; write a period of a series into the archive, or all trades that wait.
ROLL, ARCHIVE = "roll", "archive"
# Write archived objects again that are of another scale than their symbol.
RESCALE = "rescale"
# Make tiles of a book's history: of all hours and days that lack them.
DEPTH = "depth"
# Make tiles of the trades that are kept.
TILES = "tiles"
# What one roll-up job takes: few enough days for a second, and for any change to find its job.
ROLLED_BY = Timeframe(1, "M")

# RQ takes letters, digits, `_` and `-`. A symbol has no small letters, so these can't be mistaken.
_ESCAPES = str.maketrans({":": "c", ".": "d"})


@dataclass(frozen=True, slots=True)
class Work:
    """A call of the queue's function `function`: with the symbol, what else it takes, and the period's open (ms)."""

    function: str
    symbol: str
    period_ms: int
    rest: tuple[str, ...] = ()

    @property
    def job(self) -> str:
        """The same for the same work, another for any other: whatever enqueues it, it is there once."""
        return "_".join([self.function, self.symbol.translate(_ESCAPES), *self.rest, str(self.period_ms)])

    @property
    def arguments(self) -> tuple[str | int, ...]:
        return (self.symbol, *self.rest, self.period_ms)


def is_of(job: str, symbol: str) -> bool:
    """Whether a job id is one of this symbol's."""
    name = re.escape(symbol.translate(_ESCAPES))
    return bool(re.fullmatch(rf"[a-z]+_{name}(_({'|'.join(archived_series())}))?_\d+", job))
