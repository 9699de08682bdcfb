"""The venue source in a term, against the local exchange over real sockets: whatever happens, the truth comes out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import orjson
import pytest
from redis.asyncio import Redis

from common.clock import Clock
from common.market.builder import Minute, candle_of, unpack_minute
from common.market.candle import BACKFILL, LIVE, Candle
from common.market.codec import unpack_candle
from common.market.coverage import IdCoverage
from common.market.footprint import Footprint
from common.market.gaps import DISCONNECT, ID_JUMP, REPAIRED, START, UNFILLABLE, Gap
from common.market.instrument import Instrument
from common.market.timeframe import MINUTE_MS, minute_of
from common.store.client import commit_client
from common.store.lease import NOTHING_SEEN
from common.store.symbol import Bounds, Claim
from infra.exchange import (
    Address,
    Ban,
    Drop,
    Duplicate,
    Exchange,
    Fault,
    Garbage,
    Halt,
    Market,
    MarketClock,
    Reorder,
    Reset,
    Rules,
    Simulation,
    Throttle,
    listing_of,
    serving,
)
from infra.exchange import (
    Gap as GapFault,
)
from tests.store_model import DirectStore, StoreModel
from tests.support import wait_until_async
from workers.commit import Retention
from workers.sources.venue import VenueSource
from workers.term import Term, TermSettings
from workers.venues.base import Listing
from workers.venues.live import Timing
from workers.venues.pace import Patience
from workers.venues.registry import Access, fleet_budget, open_venue

NAME = "BTCUSDT"
SYMBOL = f"LOCAL:{NAME}"
# A minute of the market in a second.
SPEED = 60.0
EASY = Rules(message_limit=1_000_000)
SETTINGS = TermSettings(
    lease_ttl_ms=60_000, commit_interval_ms=0, batch_trades=10_000, close_grace_ms=2_000, retention=Retention(400, 400)
)
# As patient in market time as it is usually in wall time, so that stalls are noticed soon.
PATIENCE = Patience(30_000, 300_000, 60_000)
QUICK = Timing(backoff_ms=100, backoff_cap_ms=2_000, check_ms=20, overlap_ms=50, patience=PATIENCE)


@dataclass
class Line:
    """One symbol of the exchange as a worker has it. `terms` counts those that were served."""

    exchange: Exchange
    address: Address
    clock: Clock
    client: Redis
    history_ms: int
    model: StoreModel = field(default_factory=lambda: StoreModel(Bounds(1_000_000, 100_000)))
    health: list[dict[str, str]] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _task: "asyncio.Task[bool] | None" = None
    terms: int = 0

    @property
    def market(self) -> Market:
        return self.exchange.market(NAME)

    @property
    def instrument(self) -> Instrument:
        listed = self.market.listing.instrument
        return replace(listed, symbol=SYMBOL, size_decimals=8)

    def start(self) -> None:
        """Claim the symbol and serve it."""
        self.terms += 1
        token = f"{self.terms:032d}"
        claim = self.model.claim(token, NOTHING_SEEN, "tests")
        assert isinstance(claim, Claim)
        self._stop = asyncio.Event()
        term = Term(
            instrument=self.instrument,
            store=DirectStore(self.model),
            source=self._source(),
            clock=self.clock,
            settings=SETTINGS,
            token=token,
            stopping=self._stop.is_set,
            on_progress=lambda progress, batch: self._note(dict(batch.health)),
        )
        self._task = asyncio.create_task(term.serve(claim))

    async def stop(self) -> None:
        if self._task:
            self._stop.set()
            task, self._task = self._task, None
            await task

    def _note(self, health: dict[str, str]) -> None:
        if self.health[-1:] != [health]:
            self.health.append(health)

    def _source(self) -> VenueSource:
        budget = fleet_budget("LOCAL", self.client, self.clock)
        access = Access(self.clock, budget, self.address.rest, self.address.ws, timing=QUICK)
        listing = Listing(NAME, self.instrument, 1, 1)
        return VenueSource(open_venue("LOCAL", access), listing, self.clock, budget, self.history_ms)

    # What came out.

    @property
    def gaps(self) -> list[Gap]:
        return list(self.model.gaps().gaps.values())

    @property
    def coverage(self) -> IdCoverage:
        checkpoint = self.model.tables.checkpoint
        if checkpoint is None:
            return IdCoverage()
        return IdCoverage.load(orjson.loads(checkpoint.coverage))

    @property
    def is_whole(self) -> bool:
        """All there was since coverage began has been applied."""
        spans = self.coverage.spans()
        return len(spans) == 1 and spans[0].last == self.market.trades().ids[-1]

    def closed(self) -> dict[int, Minute]:
        tables = self.model.tables
        return {
            open_ms: unpack_minute(packed, tables.footprints[open_ms])
            for open_ms, packed in tables.candles.items()
            if open_ms in tables.footprints
        }

    def expected(self) -> dict[int, Minute]:
        """Candles and footprints of the truth, of the minutes that coverage has whole."""
        (span,) = self.coverage.spans()
        scale = 10 ** (8 - self.market.listing.instrument.size_decimals)
        trades = self.market.trades(span.first, span.last)
        trades.size_lots = [lots * scale for lots in trades.size_lots]
        minutes: dict[int, Minute] = {}
        for open_ms in {minute_of(ts_ms) for ts_ms in trades.ts_ms}:
            at = [i for i, ts_ms in enumerate(trades.ts_ms) if minute_of(ts_ms) == open_ms]
            run = trades.take(at)
            footprint = Footprint()
            footprint.add(run.price_ticks, run.size_lots, run.sides)
            minutes[open_ms] = Minute(candle_of(open_ms, run, LIVE), footprint)
        return minutes

    def assert_true(self) -> None:
        """Every closed minute is that of the truth, and there is none too many or too few."""
        expected, found = self.expected(), self.closed()
        # The clock may have closed the newest one or not.
        assert sorted({*found, max(expected)}) == sorted(expected)
        for at, minute in found.items():
            assert told(minute.candle) == told(expected[at].candle)
            assert minute.footprint == expected[at].footprint


def told(candle: Candle) -> Candle:
    """Without how it came to be."""
    return replace(candle, rev=0, sources=LIVE)


def bare(candle: Candle) -> Candle:
    """What a venue's candle says: no order keys."""
    return replace(told(candle), first_ts_ms=0, first_id=0, last_ts_ms=0, last_id=0)


def exchange_of(seed: int = 7, history_ms: int = 0, rules: Rules = EASY, orders_per_s: float = 3.0) -> Exchange:
    market = Market(Simulation(listing_of(NAME), seed, orders_per_s), rules)
    return Exchange([market], history_ms=history_ms, rules=rules)


@asynccontextmanager
async def line(exchange: Exchange, redis_url: str, history_ms: int = 0, speed: float = SPEED) -> AsyncIterator[Line]:
    client = commit_client(redis_url)
    async with serving(exchange) as address:
        made = Line(exchange, address, MarketClock(exchange), client, history_ms)
        exchange.speed = speed
        try:
            yield made
        finally:
            # Time must go on until everybody has stopped.
            await made.stop()
            await client.aclose()


async def pass_market_time(made: Line, ms: int) -> None:
    until_ms = made.exchange.now_ms + ms
    await wait_until_async(lambda: made.exchange.now_ms >= until_ms, timeout_s=60)


async def come_to_rest(made: Line) -> None:
    """Let the market stand still, and wait until all of it is applied."""
    await wait_until_async(lambda: made.coverage.spans(), timeout_s=20)
    made.exchange.inject(Halt(NAME, ms=10_000_000))
    await wait_until_async(lambda: made.is_whole and all(gap.over for gap in made.gaps), timeout_s=30)


async def test_a_new_market_is_live_at_once_and_its_history_comes_behind(redis_url: str) -> None:
    async with line(exchange_of(history_ms=15 * MINUTE_MS), redis_url, history_ms=10 * MINUTE_MS) as made:
        begun_ms = made.exchange.now_ms
        made.start()
        await pass_market_time(made, 3 * MINUTE_MS)
        await come_to_rest(made)
        made.assert_true()
        (span,) = made.coverage.spans()
        assert abs(span.from_ms - (begun_ms - 10 * MINUTE_MS)) < 10_000
        (gap,) = made.gaps
        assert (gap.cause, gap.state, gap.missing, gap.replaced) == (START, REPAIRED, 0, 0)
        assert gap.recovered == gap.last - gap.first + 1
        sources = {minute.candle.sources for minute in made.closed().values()}
        assert BACKFILL in sources and LIVE in sources


async def test_a_restart_fills_what_was_traded_meanwhile(redis_url: str) -> None:
    async with line(exchange_of(), redis_url) as made:
        made.start()
        await pass_market_time(made, MINUTE_MS)
        await made.stop()
        await pass_market_time(made, 3 * MINUTE_MS)
        made.start()
        await pass_market_time(made, MINUTE_MS)
        await come_to_rest(made)
        made.assert_true()
        assert [(gap.cause, gap.state) for gap in made.gaps] == [(START, REPAIRED)]


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Drop(NAME, count=5), ID_JUMP),
        (GapFault(NAME, count=5), ID_JUMP),
        (Reset(), DISCONNECT),
        (Garbage(NAME, form="mutated", count=3, replace=True), ID_JUMP),
    ],
    ids=["drop", "gap", "reset", "garbage"],
)
async def test_what_a_fault_takes_is_a_gap_with_its_cause_and_comes_back(
    fault: Fault, cause: str, redis_url: str
) -> None:
    async with line(exchange_of(orders_per_s=20), redis_url) as made:
        made.start()
        await pass_market_time(made, MINUTE_MS)
        before = len(made.gaps)
        made.exchange.inject(fault)
        await pass_market_time(made, 2 * MINUTE_MS)
        await come_to_rest(made)
        made.assert_true()
        new = made.gaps[before:]
        assert new and {(gap.cause, gap.state) for gap in new} == {(cause, REPAIRED)}


@pytest.mark.parametrize(
    "fault", [Duplicate(NAME, count=20), Reorder(NAME, count=20, distance=2)], ids=["twice", "late"]
)
async def test_trades_that_come_twice_or_late_change_nothing(fault: Fault, redis_url: str) -> None:
    async with line(exchange_of(), redis_url) as made:
        made.start()
        await pass_market_time(made, MINUTE_MS)
        made.exchange.inject(fault)
        await pass_market_time(made, 2 * MINUTE_MS)
        await come_to_rest(made)
        made.assert_true()


async def test_a_halt_is_no_gap_and_its_minutes_are_closed_by_the_clock(redis_url: str) -> None:
    async with line(exchange_of(), redis_url) as made:
        made.start()
        await pass_market_time(made, MINUTE_MS)
        made.exchange.inject(Halt(NAME, ms=5 * MINUTE_MS))
        last_ms = made.market.trades().ts_ms[-1]
        await pass_market_time(made, 3 * MINUTE_MS)
        assert minute_of(last_ms) in made.closed()
        assert made.gaps == []


async def test_trades_that_are_not_served_are_replaced_by_the_venues_candles(redis_url: str) -> None:
    async with line(exchange_of(), redis_url) as made:
        made.start()
        await pass_market_time(made, MINUTE_MS)
        injection = made.exchange.inject(GapFault(NAME, count=10, rest="klines"))
        await wait_until_async(lambda: injection.done)
        await wait_until_async(lambda: made.gaps and made.gaps[-1].state == REPAIRED, timeout_s=30)
        (gap,) = made.gaps
        assert gap.replaced == gap.last - gap.first + 1 and gap.recovered == 0
        tables, expected = made.model.tables, made.expected()
        replaced = {minute_of(gap.from_ms), minute_of(gap.to_ms)}
        for open_ms in replaced:
            assert open_ms not in tables.footprints
            ours, theirs = unpack_candle(tables.candles[open_ms]), expected[open_ms].candle
            assert bare(ours) == bare(theirs)
            assert ours.source == "backfill" and ours.rev > 0


async def test_what_the_venue_does_not_have_at_all_stays_a_gap_that_can_not_be_filled(redis_url: str) -> None:
    async with line(exchange_of(), redis_url) as made:
        made.start()
        await pass_market_time(made, MINUTE_MS)
        made.exchange.inject(GapFault(NAME, count=10, rest="nothing"))
        await wait_until_async(lambda: made.gaps and made.gaps[-1].state == UNFILLABLE, timeout_s=30)
        (gap,) = made.gaps
        assert gap.missing == gap.last - gap.first + 1
        assert len(made.coverage.spans()) == 2
        # It is not asked for again.
        asked = made.exchange.stats.as_dict()
        await pass_market_time(made, 2 * MINUTE_MS)
        assert made.gaps == [gap]
        assert made.exchange.stats.as_dict()["requests"] == asked["requests"]


@pytest.mark.parametrize("fault", [Throttle(retry_after_s=1), Ban(retry_after_s=1)], ids=["429", "418"])
async def test_while_throttled_the_symbol_is_degraded_and_recovers(fault: Fault, redis_url: str) -> None:
    async with line(exchange_of(), redis_url) as made:
        made.start()
        await pass_market_time(made, MINUTE_MS)
        made.exchange.inject(fault)
        made.exchange.inject(Drop(NAME, count=3))
        await wait_until_async(lambda: {"throttled": "true", "mode": "DEGRADED"} in made.health, timeout_s=20)
        await come_to_rest(made)
        made.assert_true()
        await wait_until_async(lambda: made.health[-1]["throttled"] == "false", timeout_s=20)
