"""Where trades come from: one protocol for a venue, a recording, a simulation and the inbox."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from common.market.trade import Trades

# `complete_ms` of a source that cannot say: the clock closes nothing.
NEVER = 0


@dataclass(slots=True)
class Batch:
    """What one read returned.

    `position` says, in the source's own words, where to go on after these trades; it is committed with them.
    `complete_ms`: the source has no trades left from before that time, so quiet minutes may be closed up to it.
    `backlog`: more trades are waiting. `ended`: there will never be more. `refused`: what could not be read as a
    trade, by reason.
    """

    trades: Trades
    position: str
    complete_ms: int = NEVER
    backlog: bool = False
    ended: bool = False
    refused: Counter[str] = field(default_factory=Counter)


class Source(Protocol):
    """Read by one term of one worker. What was read but not committed is read again by the next term."""

    # Shown in health: ws, rest, replay, simulator, inbox.
    name: str
    # Bits of common.market.candle for the candles made of it.
    sources: int

    async def open(self, position: str) -> None:
        """Go to a committed position; `''` is the beginning."""

    async def read(self, limit: int, wait_ms: int) -> Batch:
        """Return what is there, at most `limit` trades; wait for the first one for at most `wait_ms`."""

    async def committed(self, position: str) -> None:
        """Everything up to `position` is in the store."""

    async def close(self) -> None: ...
