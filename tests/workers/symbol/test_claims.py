"""Which symbols a process has: claims by observation, at most so many, let go in order; and it stays up."""

import asyncio
from collections.abc import Collection, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from common.clock import JudgedClock, SystemClock
from common.errors import BadInput, RetryableError, Stale, StoreUnavailable
from common.market.instrument import Instrument
from common.market.trade import Trades
from common.store.commit import StreamBounds
from common.store.lease import LeaseObservation
from common.store.registry import Market
from tests.kit.clocks import FakeClock
from tests.kit.fakes import SETTINGS, NotingStore, ScriptedSource, trades
from tests.kit.store.model import DirectStore, StoreModel
from tests.kit.waiting import wait_until_async
from workers.sources.base import Batch, Source
from workers.symbol.claims import FIRST_LOST_MS, MAX_BACKOFF_MS, Claimer, Failures, WorkerContext

TTL_MS = SETTINGS.lease_ttl_ms
KIND = "scripted"


def market(symbol: str, **source: Any) -> Market:
    return Market(Instrument(symbol, 2, 3, "contiguous"), {"kind": KIND} | source)


@dataclass(slots=True)
class Fleet:
    """The wanted symbols and their stores, shared by all workers; and whether the registry answers."""

    clock: FakeClock
    wanted: dict[str, Market] = field(default_factory=dict)
    models: dict[str, StoreModel] = field(default_factory=dict)
    outages: int = 0
    outage: Exception = field(default_factory=lambda: StoreUnavailable("registry"))
    # Symbols whose owner can't be read; and those that were looked at, look by look.
    unreadable: set[str] = field(default_factory=set)
    looked_at: list[list[str]] = field(default_factory=list)
    # How far writers may go in the form of the store.
    format: int = 1

    def want(self, *markets: Market) -> None:
        self.wanted = {market.symbol: market for market in markets}

    async def symbols(self, only: Collection[str] | None = None) -> dict[str, Market]:
        if self.outages:
            self.outages -= 1
            raise self.outage
        return self.wanted

    def model(self, symbol: str) -> StoreModel:
        return self.models.setdefault(symbol, StoreModel(StreamBounds(1_000, 1_000)))

    async def owners(self, symbols: Sequence[str]) -> dict[str, LeaseObservation | None]:
        self.looked_at.append(list(symbols))
        return {symbol: self.model(symbol).holder() for symbol in symbols if symbol not in self.unreadable}

    def holder(self, symbol: str) -> str:
        tables = self.model(symbol).tables
        return tables.holder if tables.token else ""


@dataclass(slots=True)
class Worker:
    """A Claimer whose terms run only when a test lets them: `terms` are those begun."""

    fleet: Fleet
    name: str
    most: int = 1
    broken: set[str] = field(default_factory=set)
    # What each commit ends in.
    outage: RetryableError | None = None
    terms: list[Coroutine[Any, Any, None]] = field(default_factory=list)
    ends: list[tuple[str, str]] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)
    claimer: Claimer = field(init=False)

    def __post_init__(self) -> None:
        place = WorkerContext(
            holder=self.name,
            clock=JudgedClock(self.fleet.clock),
            settings=SETTINGS,
            owners=self.fleet.owners,
            stores=self.store,
            sources=self.source,
            on_end=lambda symbol, error: self.ends.append((symbol, str(error))),
            spawn=self.spawn,
        )
        self.claimer = Claimer(self.fleet, place, frozenset([KIND]), self.most)

    def store(self, symbol: str) -> DirectStore:
        """Made again for each claim."""
        self.claims.append(symbol)
        store = NotingStore(self.fleet.model(symbol), self.fleet.clock)
        if self.outage:
            store.fails["commit"] = self.outage
        return store

    def source(self, market: Market) -> Source:
        if "error" in market.source:
            raise BadInput(market.source["error"])
        source = ScriptedSource(self.fleet.clock)
        is_broken = market.symbol in self.broken
        if self.outage:
            source.script.append(Batch(trades((1, 0)), "1"))
        source.script.append(ConnectionError("venue") if is_broken else Batch(Trades(), "", ended=True))
        return source

    def spawn(self, term: Coroutine[Any, Any, None]) -> "asyncio.Future[None]":
        self.terms.append(term)
        return asyncio.get_running_loop().create_future()

    async def run_terms(self) -> None:
        while self.terms:
            await self.terms.pop(0)


@pytest.fixture
def fleet(clock: FakeClock) -> Fleet:
    return Fleet(clock)


@contextmanager
def workers(*found: Worker) -> Iterator[None]:
    try:
        yield
    finally:
        for worker in found:
            for term in worker.terms:
                term.close()


async def test_a_free_symbol_is_claimed_at_the_first_look(fleet: Fleet) -> None:
    fleet.want(market("A"))
    with workers(first := Worker(fleet, "first")):
        await first.claimer.walk()
        assert fleet.holder("A") == "first"


async def test_only_kinds_this_process_can_serve_are_claimed(fleet: Fleet) -> None:
    fleet.want(market("A", kind="replay"))
    with workers(first := Worker(fleet, "first")):
        await first.claimer.walk()
        assert fleet.holder("A") == ""


async def test_a_spare_takes_over_only_after_a_whole_lease_of_standstill(fleet: Fleet) -> None:
    fleet.want(market("A"))
    with workers(first := Worker(fleet, "first"), spare := Worker(fleet, "spare")):
        await first.claimer.walk()
        await spare.claimer.walk()
        for _ in range(TTL_MS // 250 - 1):
            fleet.clock.advance(250)
            await spare.claimer.walk()
            assert fleet.holder("A") == "first"
        fleet.clock.advance(250)
        await spare.claimer.walk()
        assert fleet.holder("A") == "spare"


async def test_a_holder_that_beats_keeps_its_symbol(fleet: Fleet) -> None:
    fleet.want(market("A"))
    with workers(first := Worker(fleet, "first"), spare := Worker(fleet, "spare")):
        await first.claimer.walk()
        model = fleet.model("A")
        for _ in range(100):
            await spare.claimer.walk()
            fleet.clock.advance(TTL_MS - 1)
            model.beat(model.tables.token or "", 0, {})
        assert fleet.holder("A") == "first"


async def test_an_observer_that_was_paused_itself_steals_nothing(fleet: Fleet) -> None:
    """Its last look is long ago, but the holder has moved since."""
    fleet.want(market("A"))
    with workers(first := Worker(fleet, "first"), spare := Worker(fleet, "spare")):
        await first.claimer.walk()
        await spare.claimer.walk()
        fleet.clock.advance(100 * TTL_MS)
        model = fleet.model("A")
        model.beat(model.tables.token or "", 0, {})
        await spare.claimer.walk()
        assert fleet.holder("A") == "first"
        fleet.clock.advance(TTL_MS - 1)
        await spare.claimer.walk()
        assert fleet.holder("A") == "first"


async def test_a_clock_that_is_set_moves_no_lease(fleet: Fleet) -> None:
    fleet.want(market("A"))
    with workers(first := Worker(fleet, "first"), spare := Worker(fleet, "spare")):
        await first.claimer.walk()
        await spare.claimer.walk()
        fleet.clock.jump(3_600_000)
        await spare.claimer.walk()
        assert fleet.holder("A") == "first"


async def test_a_process_holds_as_many_symbols_as_it_may(fleet: Fleet) -> None:
    fleet.want(*map(market, "ABC"))
    with workers(first := Worker(fleet, "first", most=2), spare := Worker(fleet, "spare", most=2)):
        for worker in (first, spare, first, spare):
            await worker.claimer.walk()
        held = sorted(fleet.holder(symbol) for symbol in "ABC")
        assert held == ["first", "first", "spare"]


async def test_a_worker_that_is_full_looks_at_nobodys_symbols(fleet: Fleet) -> None:
    fleet.want(*map(market, "ABC"))
    with workers(first := Worker(fleet, "first", most=2)):
        await first.claimer.walk()
        fleet.looked_at.clear()
        for _ in range(10):
            await first.claimer.walk()
        assert fleet.looked_at == []
        await first.run_terms()
        await first.claimer.walk()
        assert [sorted(symbols) for symbols in fleet.looked_at] == [["A", "B", "C"]]


async def test_a_spare_claims_nothing_that_lives(fleet: Fleet) -> None:
    """A script for each taken symbol at each look would make the look longer than a second from 1,000 symbols on."""
    fleet.want(*map(market, "ABC"))
    with workers(first := Worker(fleet, "first", most=3), spare := Worker(fleet, "spare", most=3)):
        await first.claimer.walk()
        for _ in range(TTL_MS // 250 - 1):
            await spare.claimer.walk()
            fleet.clock.advance(250)
        assert spare.claims == []
        model = fleet.model("B")
        model.beat(model.tables.token or "", 0, {})
        for _ in range(2):
            await spare.claimer.walk()
            fleet.clock.advance(250)
        assert sorted(spare.claims) == ["A", "C"]


async def test_a_symbol_whose_owner_cannot_be_read_stops_no_other(fleet: Fleet) -> None:
    fleet.want(*map(market, "AB"))
    fleet.unreadable = {"A"}
    with workers(first := Worker(fleet, "first", most=2)):
        await first.claimer.walk()
        assert (fleet.holder("A"), fleet.holder("B")) == ("", "first")


async def test_a_symbol_that_is_no_longer_wanted_is_let_go(fleet: Fleet) -> None:
    fleet.want(market("A"), market("B"))
    with workers(first := Worker(fleet, "first", most=2)):
        await first.claimer.walk()
        fleet.want(market("B"))
        await first.claimer.walk()
        await first.run_terms()
        # A stops before its first read; B reads until its source ends.
        assert fleet.holder("A") == ""
        assert first.ends == [("B", "None")]


async def test_a_market_that_has_changed_is_let_go_and_claimed_as_it_is_now(fleet: Fleet) -> None:
    fleet.want(market("A"))
    with workers(first := Worker(fleet, "first")):
        await first.claimer.walk()
        fleet.want(market("A", seed=2))
        await first.claimer.walk()
        await first.run_terms()
        assert fleet.holder("A") == ""
        await first.claimer.walk()
        assert (fleet.holder("A"), fleet.model("A").tables.epoch) == ("first", 2)


async def test_a_broken_source_frees_its_symbol_and_waits_longer_each_time(fleet: Fleet) -> None:
    fleet.want(market("A"))
    with workers(first := Worker(fleet, "first", broken={"A"})):
        failures = 0
        while fleet.clock.monotonic_ms() < 100_000:
            await first.claimer.walk()
            failures += len(first.terms)
            await first.run_terms()
            assert fleet.holder("A") == ""
            fleet.clock.advance(100)
    # After 1, 2, 4, 8, 16, 30, 30 s, or half of it: full jitter.
    assert 6 <= failures <= 12
    assert first.ends[0] == ("A", "venue")


@pytest.mark.parametrize(
    ("outage", "reason"), [(StoreUnavailable("no answer to a commit"), "store"), (Stale("not at seq 0"), "rewound")]
)
async def test_a_symbol_that_is_lost_at_each_commit_waits_longer_each_time_and_says_so(
    fleet: Fleet, outage: RetryableError, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.want(market("A"))
    with workers(first := Worker(fleet, "first", outage=outage)):
        losses = 0
        while fleet.clock.monotonic_ms() < 100_000:
            await first.claimer.walk()
            losses += len(first.terms)
            await first.run_terms()
            told = fleet.model("A").tables.health
            assert (fleet.holder("A"), told["mode"], told["reason"]) == ("", "FAILED", reason)
            fleet.clock.advance(100)
        # After 0.25, 0.5, 1, 2, 4, 8, 16, 30, 30 s, or half of it; told at the 1st, 2nd, 4th and 8th.
        assert 8 <= losses <= 15
        assert [record.message for record in caplog.records].count("lost") in (4, 5)
        first.outage = None
        fleet.clock.advance(MAX_BACKOFF_MS)
        await first.claimer.walk()
        await first.run_terms()
        assert fleet.model("A").tables.health["mode"] == "CLOSED"


async def test_who_did_its_work_before_it_was_lost_is_back_at_once(fleet: Fleet) -> None:
    failures = Failures()
    for _ in range(10):
        failures.add("A", 0, was_sound=False, first_ms=FIRST_LOST_MS)
    failures.add("A", 0, was_sound=True, first_ms=FIRST_LOST_MS)
    assert not failures.waiting("A", FIRST_LOST_MS)


async def test_a_symbol_whose_source_is_broken_does_not_keep_others_waiting(fleet: Fleet) -> None:
    fleet.want(market("A"), market("B"))
    with workers(first := Worker(fleet, "first", broken={"A"})):
        for _ in range(20):
            await first.claimer.walk()
            if fleet.holder("A"):
                await first.run_terms()
        assert fleet.holder("B") == "first"


async def test_a_market_that_describes_no_source_costs_nobody_a_lease_or_a_process(fleet: Fleet) -> None:
    fleet.want(market("A", error="price is 'x'"), market("B"))
    with workers(first := Worker(fleet, "first", most=2)):
        await first.claimer.walk()
        await first.run_terms()
        assert set(first.ends) == {("A", "price is 'x'"), ("B", "None")}
        assert fleet.holder("A") == ""
        assert fleet.model("A").tables.health == {"mode": "FAILED", "reason": "config"}
        await first.claimer.walk()
        assert (fleet.model("A").tables.epoch, fleet.model("B").tables.epoch) == (1, 2)


def test_a_symbol_that_was_served_for_long_is_sound_again() -> None:
    failures = Failures()
    for _ in range(10):
        failures.add("A", 0, was_sound=False)
    assert failures.waiting("A", MAX_BACKOFF_MS // 2 - 1)
    assert not failures.waiting("A", MAX_BACKOFF_MS)
    assert failures.add("A", 0, was_sound=True) == 1
    assert not failures.waiting("A", 1_000)
    assert not failures.waiting("B", 0)


# the real loop


def real(fleet: Fleet, script: list[Batch | Exception]) -> Claimer:
    clock = JudgedClock(SystemClock())

    def source(market: Market) -> Source:
        made = Endless(FakeClock())
        made.script.extend(script)
        return made

    place = WorkerContext(
        holder="real",
        clock=clock,
        settings=replace(SETTINGS, lease_ttl_ms=240),
        owners=fleet.owners,
        stores=lambda symbol: DirectStore(fleet.model(symbol)),
        sources=source,
    )
    return Claimer(fleet, place, frozenset([KIND]), max_symbols=3)


class Endless(ScriptedSource):
    """After its script nothing comes any more."""

    async def read(self, limit: int, wait_ms: int) -> Batch:
        if self.script:
            return await ScriptedSource.read(self, limit, wait_ms)
        await asyncio.sleep(wait_ms / 1_000)
        return Batch(Trades(), "1")


@pytest.mark.parametrize("outage", [StoreUnavailable("registry"), ValueError("an entry of the registry")])
async def test_a_process_rides_out_a_store_that_is_away_or_that_it_does_not_understand(
    fleet: Fleet, outage: Exception
) -> None:
    fleet.want(market("A"))
    fleet.outage = outage
    fleet.outages = 4
    claimer = real(fleet, [Batch(trades((1, 0)), "1")])
    running = asyncio.create_task(claimer.run())
    await wait_until_async(lambda: fleet.model("A").tables.seq == 1)
    claimer.stop()
    await running
    assert fleet.outages == 0


async def test_a_stop_is_heard_while_the_store_is_away(fleet: Fleet) -> None:
    fleet.outages = 1_000_000
    claimer = real(fleet, [])
    running = asyncio.create_task(claimer.run())
    await wait_until_async(lambda: fleet.outages < 1_000_000)
    claimer.stop()
    await asyncio.wait_for(running, 5)


async def test_a_stop_ends_all_terms_and_frees_their_symbols(fleet: Fleet) -> None:
    fleet.want(*map(market, "ABC"))
    claimer = real(fleet, [Batch(trades((1, 0)), "1")])
    running = asyncio.create_task(claimer.run())
    await wait_until_async(lambda: all(fleet.model(symbol).tables.seq == 1 for symbol in "ABC"))
    claimer.stop()
    await asyncio.wait_for(running, 5)
    assert [fleet.holder(symbol) for symbol in "ABC"] == ["", "", ""]


async def test_a_lost_symbol_is_claimed_anew_from_where_it_stands(fleet: Fleet) -> None:
    fleet.want(market("A"))
    claimer = real(fleet, [Batch(trades((1, 0)), "1")])
    running = asyncio.create_task(claimer.run())
    await wait_until_async(lambda: fleet.model("A").tables.seq == 1)
    # Somebody else takes it and goes away.
    fleet.model("A").tables.token = "z" * 32
    await wait_until_async(lambda: fleet.holder("A") == "real" and fleet.model("A").tables.epoch == 2)
    claimer.stop()
    await asyncio.wait_for(running, 5)
    assert [entry.trade_count for entry in fleet.model("A").tables.entries] in ([1], [1, 0])
