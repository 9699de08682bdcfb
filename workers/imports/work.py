"""What an import is to do, and what it has done."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from redis.asyncio import Redis

from common.archive.archive import Archive
from common.clock import JudgedClock, SystemClock
from common.market.builder.recent import CONFLICT, Conflict
from common.store.commit import StreamBounds
from common.store.registry import Market, Registry
from workers.imports.files import Readable
from workers.imports.reach import Reach, keep_longer
from workers.symbol.commit import Retention
from workers.symbol.term import TermSettings


@dataclass(slots=True)
class Done:
    """What an import has done so far. `trades`: applied by this run; `refused`: in all since the symbol began.

    `too_old`, `bare`: days of which nothing is kept, and of which no footprints are. `outside`: trades of
    the days that were written that are in no session: no bar shows them.
    """

    trades: int = 0
    days: int = 0
    too_old: int = 0
    bare: int = 0
    outside: int = 0
    fraction: float = 0.0
    refused: Counter[str] = field(default_factory=Counter)
    # How many trades were refused because others had been applied under their ids; and the first ones, each once.
    conflict_count: int = 0
    conflicts: dict[Conflict, None] = field(default_factory=dict)


@dataclass(slots=True)
class ImportWork:
    """`ended`: all files have been read and written.

    `archive`: gets the trades; None if trades are not archived. `older`: the archive that gets days which the store has
    dropped; None: they are left alone. `within_retention`: days older than what is kept are left out; else more is kept
    of the symbol from now on, unless the archive has it. `on_reach` is told of either, before the first day.
    """

    url: str
    market: Market
    files: Sequence[Readable]
    sources: int
    settings: TermSettings
    bounds: StreamBounds
    holder: str
    archive: Archive | None = None
    older: Archive | None = None
    within_retention: bool = False
    on_reach: Callable[[Reach], None] = lambda reach: None
    on_progress: Callable[[Done], None] = lambda done: None
    # The position from which the symbol's own source goes on, once all files have been read; empty: as it was.
    ends_at: Callable[[], str] = lambda: ""
    clock: JudgedClock = field(default_factory=lambda: JudgedClock(SystemClock()))
    done: Done = field(default_factory=Done)
    ended: bool = False
    # How far writers may go in the form of the store, as it was when this began.
    format: int = 1
    # Days that were left out.
    left_out: set[int] = field(default_factory=set)
    # What the symbol had refused for conflicts when this began.
    _conflicts_before: int | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    @property
    def retention(self) -> Retention:
        """Of the symbol, as far as is known."""
        return self.settings.retention

    def use(self, market: Market) -> None:
        self.market = market
        self.settings = replace(self.settings, retention=self.settings.retention.of(market))

    async def keep_longer(self, client: Redis, reach: Reach) -> None:
        """Keep more of the symbol from now on, where what reaches further back has no other place."""
        if reach.raised:
            self.use(await keep_longer(Registry(client), self.market, reach.raised))

    def stop(self) -> None:
        """Finish the step under way, release, return from `run`."""
        self._stopping.set()

    def begin_count(self, refused: Counter[str]) -> None:
        """`refused`: by the symbol so far."""
        if self._conflicts_before is None:
            self._conflicts_before = refused[CONFLICT]

    def note_refused(self, refused: Counter[str], conflicts: Sequence[Conflict]) -> None:
        """`conflicts`: those that this term has told of."""
        self.done.refused = refused
        self.done.conflict_count = refused[CONFLICT] - (self._conflicts_before or 0)
        self.done.conflicts |= dict.fromkeys(conflicts)
