"""One seed, one run: competing workers, a hostile network and machine, then peace; and what is left at the end."""

import random as global_random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random

from common.clock import JudgedClock
from common.errors import StoreUnavailable
from common.market.builder.builder import Checkpoint
from common.market.candle import LIVE
from common.market.coding import codec
from common.market.instrument import Ids, Instrument
from common.market.timeframes.timeframe import DAY_MS, minute_of
from common.store.commit import StreamBounds
from common.store.format import FORMAT
from common.store.registry import Market
from tests.kit.oracle import Outcome, Step, differences, single_pass
from tests.kit.store.model import StoreModel
from tests.simulation.market import Recording, RecordingSource
from tests.simulation.network import MAX_OVERDUE_MS, Network, RemoteOwners, RemoteRegistry, RemoteStore, Server
from tests.simulation.scheduler import Process, VirtualClock, World
from workers.symbol.claims import Claimer, WorkerContext
from workers.symbol.commit import Retention
from workers.symbol.term import TermSettings

KIND = "recording"
LEASE_MS = 600
# How often a worker looks at a symbol that is taken: less often than a real one, for speed.
LOOK_MS = 90
# The wall clocks show a day after the last trade, more or less.
WALL_MS = 1_690_200_000_000
# By how much a wall clock is set. The store's clock is right.
CLOCK_STEPS_MS = (0, -3_000, -7_200_000, 3_600_000, DAY_MS, -500 * DAY_MS, 500 * DAY_MS)
# After the last fault a run may take this long: the longest backoff of a failing source, and some leases.
PEACE_MS = 60_000

NOT_DONE = "not done"
# The checks of a run, by the names of tests.kit.oracle, and the sentence of each that failed.
Failures = dict[str, str]


@dataclass(frozen=True, slots=True)
class Guards:
    """What the store checks, and whether a worker judges its clock; switched off only by the negative controls."""

    fence: bool = True
    seq_check: bool = True
    clock: bool = True


class Credulous(JudgedClock):
    """Believes its wall clock, whatever that shows."""

    def now_ms(self) -> int:
        return self.raw.now_ms()

    def is_refused(self) -> bool:
        return False

    def undecided_ms(self) -> int | None:
        return None


@dataclass(slots=True)
class Worker:
    """A process that claims and serves: the real Claimer and Term."""

    process: Process
    clock: VirtualClock
    claimer: Claimer


@dataclass(slots=True)
class Simulation:
    """`happened` counts faults and commits, for the report."""

    seed: int
    guards: Guards
    trace: Callable[[str], None] | None = None
    happened: Counter[str] = field(default_factory=Counter)
    random: Random = field(init=False)
    world: World = field(init=False)
    network: Network = field(init=False)
    server: Server = field(init=False)
    recording: Recording = field(init=False)
    market: Market = field(init=False)
    settings: TermSettings = field(init=False)
    tells_complete: bool = field(init=False)
    # No fault happens later.
    war_ms: int = field(init=False)
    workers: list[Worker] = field(default_factory=list)
    source_fault_ratio: float = 0.004

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.world = World(self.random)
        if self.trace:
            write = self.trace
            self.world.trace = lambda line: write(f"{self.world.now_ms:6} {line}")
        self.network = Network(self.world, self.random.choice((0.01, 0.03, 0.1)), self.happened)
        bounds = StreamBounds(trades=1_000_000, events=1_000_000)
        model = StoreModel(bounds, self.guards.fence, self.guards.seq_check)
        self.server = Server(model, format=self.random.choice((1, FORMAT)))
        self.recording = Recording.generate(self.random, self.random.randint(40, 120), self.random.choice((20, 40)))
        self.war_ms = self.recording.due_ms[-1] + 200
        ids: Ids = self.random.choice(("contiguous", "unique"))
        self.market = Market(Instrument("SIM:A", 2, 3, ids), {"kind": KIND})
        self.settings = TermSettings(LEASE_MS, 10, self.random.choice((1, 3, 8)), 2_000, Retention(400, 400))
        self.tells_complete = self.random.random() < 0.5

    def run(self) -> Failures:
        with _seeded(self.seed):
            for number in range(self.random.choice((2, 2, 3))):
                self._start(f"w{number}")
            self._schedule_fault()
            self.world.at(self.war_ms + 1, self._make_peace)
            done = self.world.run(self._is_done, self.war_ms + PEACE_MS)
            # What is still on its way must not change anything any more.
            self.world.run(lambda: False, self.world.now_ms + MAX_OVERDUE_MS)
            self.world.close()
        self.happened["commits"] = self.server.model.tables.seq
        late = {} if done else {NOT_DONE: f"stands at {self.server.model.tables.position!r}"}
        return late | differences(self._outcome(), self._expected())

    def _start(self, name: str) -> None:
        process = Process(name)
        clock = VirtualClock(self.world, WALL_MS)
        judged = JudgedClock(clock) if self.guards.clock else Credulous(clock)
        place = WorkerContext(
            holder=name,
            clock=judged,
            settings=self.settings,
            owners=RemoteOwners(self.network, self.server).look,
            stores=lambda symbol: RemoteStore(name, self.network, self.server, judged, WALL_MS),
            sources=lambda market: RecordingSource(self.recording, clock, self._source_fails, self.tells_complete),
            spawn=lambda term: self.world.spawn(process, term),
        )
        claimer = Claimer(
            RemoteRegistry(self.network, self.market, self.server), place, frozenset([KIND]), max_symbols=1
        )
        self.workers.append(Worker(process, clock, claimer))
        self.world.spawn(process, self._look(claimer, clock, process))

    async def _look(self, claimer: Claimer, clock: VirtualClock, process: Process) -> None:
        """What Claimer.run does, but for its patience, which is asyncio's and tenacity's."""
        while not claimer.stopping:
            with suppress(StoreUnavailable):
                await claimer.walk()
            await clock.sleep_ms(LOOK_MS)

    def _schedule_fault(self) -> None:
        at_ms = self.world.now_ms + self.random.randint(20, 600)
        if at_ms < self.war_ms:
            self.world.at(at_ms, self._fault)

    def _fault(self) -> None:
        fault = self.random.choice(
            (
                self._crash,
                self._pause,
                self._split,
                self._split,
                self._rewind,
                self._stop,
                self._set_clock,
                self._upgrade,
            )
        )
        worker = self.random.choice(self.workers)
        self.happened[fault.__name__.strip("_")] += 1
        self.world.trace(f"{worker.process.name} {fault.__name__}")
        fault(worker)
        self._schedule_fault()

    def _crash(self, worker: Worker) -> None:
        worker.process.alive = False
        self._replace(worker)

    def _stop(self, worker: Worker) -> None:
        worker.claimer.stop()
        self._replace(worker)

    def _replace(self, worker: Worker) -> None:
        self.workers.remove(worker)
        self._start(f"w{len(self.server.past)}")

    def _pause(self, worker: Worker) -> None:
        worker.process.paused_until_ms = self.world.now_ms + self.random.randint(LEASE_MS // 2, 3 * LEASE_MS)

    def _split(self, worker: Worker) -> None:
        """Pause the holder; when another one has taken over, the store loses its last writes."""
        holders = [other for other in self.workers if other.process.name == self.server.model.tables.holder]
        self._pause(holders[0] if holders else worker)
        later_ms = self.world.now_ms + self.random.randint(LEASE_MS, 2 * LEASE_MS)
        self.world.at(min(later_ms, self.war_ms), lambda: self._rewind(worker))

    def _rewind(self, worker: Worker) -> None:
        everything = len(self.server.past) + 1
        most = self.random.choice((3, 10, 20, everything))
        self.world.trace("the store goes back in time")
        self.server.rewind(self.random.randint(1, most))

    def _set_clock(self, worker: Worker) -> None:
        worker.clock.skew_ms = WALL_MS + self.random.choice(CLOCK_STEPS_MS)

    def _upgrade(self, worker: Worker) -> None:
        self.server.format = FORMAT

    def _make_peace(self) -> None:
        self.world.trace("no more faults")
        self.network.fault_ratio = self.source_fault_ratio = 0
        for worker in self.workers:
            worker.clock.skew_ms = WALL_MS

    def _source_fails(self) -> bool:
        return self.random.random() < self.source_fault_ratio

    def _is_done(self) -> bool:
        at_peace, t = not self.source_fault_ratio, self.server.model.tables
        return at_peace and t.position == str(len(self.recording.trades)) and self._is_closed(t.checkpoint)

    def _is_closed(self, found: Checkpoint | None) -> bool:
        """Whether the clock has closed what it is to close; it may have waited until it was right again."""
        if not self.tells_complete:
            return True
        end_ms = minute_of(self.recording.complete_ms[-1] - self.settings.close_grace_ms)
        return found is not None and found.watermark_ms >= end_ms

    def _outcome(self) -> Outcome:
        t = self.server.model.tables
        steps = [Step(entry.seq, entry.token, codec.unpack_trades(entry.trades)) for entry in t.entries]
        return Outcome(t.candles, t.footprints, t.checkpoint, steps)

    def _expected(self) -> Outcome:
        complete_ms = self.recording.complete_ms[-1] if self.tells_complete else 0
        return single_pass(
            self.market.instrument, LIVE, self.settings.close_grace_ms, self.recording.trades, WALL_MS, complete_ms
        )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The worker's own randomness (order of symbols, jitter) is the module's."""
    before = global_random.getstate()
    global_random.seed(seed)
    try:
        yield
    finally:
        global_random.setstate(before)
