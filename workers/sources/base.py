"""Where trades come from: one protocol for a venue, a recording, a simulation and the inbox."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from common.market.builder.builder import Minute
from common.market.builder.coverage import Coverage
from common.market.builder.gaps import UNKNOWN, Ledger
from common.market.builder.spans import Hole, IdSpan
from common.market.builder.validation import Differences
from common.market.candle import Candle
from common.market.scale import Scales
from common.market.trade import Trades

# `complete_ms` of a source that cannot say: the clock closes nothing.
NEVER = 0


class Mismatch(NamedTuple):
    """A closed minute that its venue has otherwise."""

    open_ms: int
    fields: Differences


@dataclass(slots=True)
class Batch:
    """What one read returned."""

    trades: Trades
    # Where to go on after these trades, in the source's own words; it is committed with them.
    position: str
    # The source has no trades left from before that time, so quiet minutes may be closed up to it.
    complete_ms: int = NEVER
    # More trades are waiting; there will never be more.
    backlog: bool = False
    ended: bool = False
    # What could not be read as a trade, by reason.
    refused: Counter[str] = field(default_factory=Counter)

    # Of sources that can ask again for what is missing.
    # Bits of common.market.candle for these trades, if not the source's own.
    sources: int = 0
    # Why holes that these trades open are there.
    cause: str = UNKNOWN
    # Ids of which no trade will come.
    covered: Sequence[IdSpan] = ()
    # The venue's own, for closed minutes whose trades can't be had.
    candles: Sequence[Candle] = ()
    # Holes that can't be filled at all.
    given_up: Sequence[Hole] = ()
    # Of minutes that were stored, ascending.
    mismatches: Sequence[Mismatch] = ()
    # What the source says of itself (common.store.health).
    health: Mapping[str, str] = field(default_factory=dict)

    # Of the inbox, committed with the position: ids that are no numbers, by which a trade is known again; and what else
    # the next holder is to know.
    text_ids: Sequence[str] = ()
    note: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it brings nothing at all: the source waited, in vain."""
        brings = self.trades or self.refused or self.covered or self.candles or self.given_up or self.mismatches
        return not (brings or self.backlog or self.ended or self.text_ids)


class Applied(NamedTuple):
    """What has been applied, and what is known to be missing. The term's own: it grows with each commit."""

    coverage: Coverage
    gaps: Ledger
    # For what a source writes by itself, under the same fence.
    token: str
    # Minutes that end by then are closed, and stored with the commit under way at the latest.
    watermark_ms: Callable[[], int]
    # The stored ones among the closed minutes named by their opens.
    minutes: Callable[[list[int]], Awaitable[dict[int, Minute]]]
    # Trades before that are refused: retention does not keep their minutes.
    floor_ms: Callable[[], int] = lambda: -1
    # Of what is stored, and of what a source writes; None: there is only the instrument's.
    scales: Scales | None = None


class Source(Protocol):
    """Read by one term of one worker. What was read but not committed is read again by the next term."""

    @property
    def name(self) -> str:
        """Shown in health: ws, rest, replay, simulator, inbox."""

    @property
    def sources(self) -> int:
        """Bits of common.market.candle for the candles made of it."""

    async def open(self, position: str, applied: Applied) -> None:
        """Go to a committed position; `''` is the beginning. `applied` stays true for the whole term."""

    async def read(self, limit: int, wait_ms: int) -> Batch:
        """Return what is there, at most `limit` trades; wait for the first one for at most `wait_ms`."""

    async def committed(self, position: str) -> None:
        """Everything up to `position` is in the store."""

    async def close(self) -> None: ...
