"""A symbol of the local exchange as a worker has it, over real sockets, and the truth to compare it with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import orjson
from redis.asyncio import Redis

from common.clock import Clock, JudgedClock
from common.market.builder.builder import Minute, candle_of, unpack_minute
from common.market.builder.gaps import Gap
from common.market.builder.id_coverage import IdCoverage
from common.market.candle import LIVE, Candle
from common.market.footprint import Footprint
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS, minute_of
from common.market.trade import Trades
from common.store.budget import BudgetStore, Limit
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.demand import Caps, StreamSlot
from common.store.keys import SymbolKeys
from common.store.lease import NOTHING_SEEN
from common.store.symbol import Claim
from infra.exchange import (
    Address,
    Exchange,
    ExchangeMarket,
    Halt,
    MarketClock,
    Rules,
    Simulation,
    listing_of,
    serving,
)
from tests.kit.clocks import AttentiveClock
from tests.kit.delta_oracle import is_as, without_delta
from tests.kit.store.model import DirectStore, StoreModel
from tests.kit.waiting import wait_until_async
from workers.sources.venue.book import book_stores
from workers.sources.venue.source import VenueSource
from workers.symbol.commit import Retention
from workers.symbol.term import Term, TermSettings
from workers.venues.registry import VenueAccess, open_venue
from workers.venues.shared.base import Listing
from workers.venues.shared.budget import OpenBudget
from workers.venues.shared.fleet_budget import FleetBudget
from workers.venues.shared.live import Timing
from workers.venues.shared.stall import StallLimits

NAME = "BTCUSDT"
SYMBOL = f"LOCAL:{NAME}"
# A minute of the market in a second.
SPEED = 60.0
# The venue's limits, as fast as its market.
EASY = Rules(message_limit=1_000_000, weight_window_ms=int(MINUTE_MS / SPEED), connect_limit=1_000_000)
SETTINGS = TermSettings(
    lease_ttl_ms=60_000, commit_interval_ms=0, batch_trades=10_000, close_grace_ms=2_000, retention=Retention(400, 400)
)
# Two seconds of wall time at least: a busy machine is silent for one.
PATIENCE = StallLimits(120_000, 300_000, 120_000)
QUICK = Timing(backoff_ms=100, backoff_cap_ms=2_000, check_ms=20, overlap_ms=50, patience=PATIENCE)


@dataclass
class Line:
    """One symbol of the exchange as a worker has it. `terms` were served, `books` were compared.

    `limits`: those of the exchange, which the fleet keeps, but for a worker with a budget of its own.
    """

    exchange: Exchange
    address: Address
    clock: Clock
    client: Redis
    history_ms: int
    name: str = NAME
    limits: Rules = EASY
    keeps_book: bool = True
    own_budget: OpenBudget | None = None
    slots: Caps | None = None
    settings: TermSettings = SETTINGS
    model: StoreModel = field(default_factory=lambda: StoreModel(StreamBounds(1_000_000, 100_000)))
    health: list[dict[str, str]] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _task: "asyncio.Task[bool] | None" = None
    terms: int = 0
    books: int = 0
    source: VenueSource = field(init=False)
    # The process's: what is made of `clock`.
    judged: JudgedClock = field(init=False)

    def __post_init__(self) -> None:
        self.judged = JudgedClock(self.clock)

    @property
    def market(self) -> ExchangeMarket:
        return self.exchange.market(self.name)

    @property
    def symbol(self) -> str:
        return f"LOCAL:{self.name}"

    @property
    def instrument(self) -> Instrument:
        listed = self.market.listing.instrument
        return replace(listed, symbol=self.symbol, size_decimals=8)

    async def start(self) -> None:
        """Claim the symbol and serve it."""
        self.terms += 1
        token = f"{self.terms:032d}"
        claim = self.model.claim(token, NOTHING_SEEN, "tests")
        assert isinstance(claim, Claim)
        # The book is fenced by the real store.
        await self.client.hset(SymbolKeys(self.symbol).owner, "token", token)
        self._stop, self.source = asyncio.Event(), self._source()
        term = Term(
            instrument=self.instrument,
            store=DirectStore(self.model),
            source=self.source,
            clock=self.judged,
            settings=self.settings,
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
        limits = [Limit(self.limits.weight_limit, self.limits.weight_window_ms)]
        requests, connects = BudgetStore(self.client, "LOCAL", limits), BudgetStore(self.client, "LOCAL:connects", [])
        budget = FleetBudget("LOCAL", requests, connects, self.judged, {})
        access = VenueAccess(self.judged, self.own_budget or budget, self.address.rest, self.address.ws, timing=QUICK)
        listing = Listing(self.name, self.instrument, 1, 1)
        books = book_stores(self.client, self.instrument, 600) if self.keeps_book else None
        slot = StreamSlot(self.client, "LOCAL", self.symbol, self.slots) if self.slots else None
        return VenueSource(open_venue("LOCAL", access), listing, self.judged, budget, self.history_ms, books, slot)

    # What came out.

    @property
    def gaps(self) -> list[Gap]:
        return list(self.model.gaps().gaps.values())

    @property
    def coverage(self) -> IdCoverage:
        checkpoint = self.model.tables.checkpoint
        if checkpoint is None:
            return IdCoverage()
        return IdCoverage.load(orjson.loads(checkpoint.coverage), checkpoint.chunks)

    @property
    def is_whole(self) -> bool:
        """All there was since coverage began has been applied."""
        spans = self.coverage.spans()
        return len(spans) == 1 and spans[0].last == self.market.trades().ids[-1]

    @property
    def has_caught_up(self) -> bool:
        """Nothing is missing up to a moment ago."""
        spans = self.coverage.spans()
        return len(spans) == 1 and self.terms > 1 and self.market.trades().ids[-1] - spans[-1].last < 20

    def closed(self) -> dict[int, Minute]:
        tables = self.model.tables
        return {
            open_ms: unpack_minute(packed, tables.footprints[open_ms])
            for open_ms, packed in tables.candles.items()
            if open_ms in tables.footprints
        }

    def expected(self) -> dict[int, Minute]:
        """Candles and footprints of the trades that coverage has. Of the first minute the beginning may be missing."""
        (span,) = self.coverage.spans()
        return self._minutes(self.market.trades(span.first, span.last))

    def whole(self, open_ms: int) -> Candle:
        """The minute's candle as the venue has it, also where we have come in the middle of it."""
        return self._minutes(self.market.trades())[open_ms].candle

    def _minutes(self, trades: Trades) -> dict[int, Minute]:
        scale = 10 ** (8 - self.market.listing.instrument.size_decimals)
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
            assert is_as(told(minute.candle), told(expected[at].candle))
            assert minute.footprint == expected[at].footprint


def told(candle: Candle) -> Candle:
    """Without how it came to be."""
    return replace(candle, rev=0, sources=LIVE)


def bare(candle: Candle) -> Candle:
    """What a venue's candle says: no order keys, and not how its delta ran."""
    return replace(without_delta(told(candle)), first_ts_ms=0, first_id=0, last_ts_ms=0, last_id=0)


def exchange_of(
    seed: int = 7, history_ms: int = 0, rules: Rules = EASY, orders_per_s: float = 3.0, start_ms: int | None = None
) -> Exchange:
    """Its market is open from `start_ms` on, or from now. On a busy machine it is as slow as who follows it."""
    market = ExchangeMarket(Simulation(listing_of(NAME), seed, orders_per_s), rules)
    return Exchange([market], start_ms=start_ms, history_ms=history_ms, rules=rules, clock=AttentiveClock())


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
