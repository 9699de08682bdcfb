"""A term without a network: a store that notes what it is told, a source with a script, a clock moved by waiting."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from common.clock import JudgedClock
from common.market.builder.gaps import Ledger
from common.market.builder.id_coverage import IdCoverage
from common.market.candle import LIVE
from common.market.instrument import Instrument
from common.market.trade import BUY, MAX_TS_MS, Trade, Trades
from common.store.commit import Commit, StreamBounds
from common.store.lease import NOTHING_SEEN
from common.store.symbol import Claim
from tests.kit.clocks import FakeClock
from tests.kit.store.model import DirectStore, StoreModel
from workers.sources.base import NEVER, Applied, Batch
from workers.symbol.commit import Retention
from workers.symbol.term import Term, TermSettings

INSTRUMENT = Instrument("TEST:A", 2, 3, "contiguous")
TOKEN = "a" * 32
MINUTE_MS = 60_000
# The fake clock's first minute.
START_MS = 1_699_999_980_000
SETTINGS = TermSettings(
    lease_ttl_ms=6_000, commit_interval_ms=10, batch_trades=4, close_grace_ms=2_000, retention=Retention(400, 40)
)


def trades(*rows: tuple[int, int]) -> Trades:
    """Trades as (id, ms after START_MS), of 5 lots at a price of the id."""
    return Trades.of(Trade(START_MS + after_ms, number, 100 + number, 5, BUY) for number, after_ms in rows)


@dataclass(slots=True)
class NotingStore(DirectStore):
    """`notes`: what was written, and when. `fails`: errors to raise instead, by command."""

    model: StoreModel
    clock: FakeClock
    notes: list[tuple[str, int]] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    fails: dict[str, Exception] = field(default_factory=dict)
    listeners: int = 0
    taken_ms: int = MAX_TS_MS
    on_note: Callable[[], None] = lambda: None

    async def taken_from_ms(self) -> int:
        return self.taken_ms

    async def commit(self, commit: Commit) -> int:
        self._note("commit")
        self.model.commit(commit)
        self.commits.append(commit)
        return self.listeners

    async def beat(self, token: str, seq: int, health: dict[str, str]) -> None:
        self._note("beat")
        self.model.beat(token, seq, health)

    async def release(self, token: str, health: Mapping[str, str] = MappingProxyType({})) -> None:
        self._note("release")
        self.model.release(token, health)

    def times(self, *commands: str) -> list[int]:
        return [at_ms for command, at_ms in self.notes if command in commands]

    def _note(self, command: str) -> None:
        self.notes.append((command, self.clock.monotonic_ms()))
        self.on_note()
        if command in self.fails:
            raise self.fails[command]


NOTHING_APPLIED = Applied(
    IdCoverage(), Ledger(), TOKEN, lambda: -1, DirectStore(StoreModel(StreamBounds(100_000, 1_000))).minutes
)


@dataclass(slots=True)
class ScriptedSource:
    """Gives the batches of its script one by one: a value, an error, or what a function of the clock makes."""

    clock: FakeClock
    script: "deque[Batch | Exception | Callable[[], Batch]]" = field(default_factory=deque)
    name: str = "scripted"
    sources: int = LIVE
    opened: list[str] = field(default_factory=list)
    waits_ms: list[int] = field(default_factory=list)
    committed_positions: list[str] = field(default_factory=list)
    is_closed: bool = False
    close_error: Exception | None = None

    async def open(self, position: str, applied: Applied) -> None:
        self.opened.append(position)

    async def read(self, limit: int, wait_ms: int) -> Batch:
        self.waits_ms.append(wait_ms)
        step = self.script.popleft()
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, Batch) else step()

    async def committed(self, position: str) -> None:
        self.committed_positions.append(position)

    async def close(self) -> None:
        self.is_closed = True
        if self.close_error:
            raise self.close_error


@dataclass(slots=True)
class Bench:
    """One term over its fakes. It stops when the script is over."""

    clock: FakeClock = field(default_factory=FakeClock)
    model: StoreModel = field(default_factory=lambda: StoreModel(StreamBounds(100_000, 1_000)))
    instrument: Instrument = INSTRUMENT
    settings: TermSettings = SETTINGS
    store: NotingStore = field(init=False)
    source: ScriptedSource = field(init=False)
    term: Term = field(init=False)

    def __post_init__(self) -> None:
        self.store = NotingStore(self.model, self.clock)
        self.source = ScriptedSource(self.clock)

    async def serve(self, *script: Batch | Exception | Callable[[], Batch], token: str = TOKEN) -> bool:
        """Claim the symbol, serve it until the script is over."""
        self.source.script.extend(script)
        self.term = Term(
            instrument=self.instrument,
            store=self.store,
            source=self.source,
            clock=JudgedClock(self.clock),
            settings=self.settings,
            token=token,
            stopping=lambda: not self.source.script,
        )
        claim = self.model.claim(token, NOTHING_SEEN, "tests")
        assert isinstance(claim, Claim)
        return await self.term.serve(claim)

    def idle(self, position: str = "", *, tells_time: bool = False) -> Callable[[], Batch]:
        """A read that waits in vain, as long as it may."""

        def read() -> Batch:
            self.clock.advance(self.source.waits_ms[-1])
            return Batch(Trades(), position, self.clock.now_ms() if tells_time else NEVER)

        return read
