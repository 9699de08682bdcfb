"""Backfill where ids are not contiguous: stretches of time, newest part first, against a venue with a past."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from common.market.builder.builder import Minute, candle_of
from common.market.builder.gaps import Ledger
from common.market.builder.recent_coverage import RecentCoverage
from common.market.candle import LIVE, Candle
from common.market.footprint import Footprint
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS, minute_of
from common.market.trade import BUY, Trade, Trades
from tests.kit.clocks import FakeClock
from workers.sources.base import Applied
from workers.sources.venue.backfill import HEAD_MS, SETTLE_MS, Backfill
from workers.sources.venue.backfill_by_id import BackfillById
from workers.sources.venue.backfill_by_time import MISSED_MS, OVERLAP_MS, PART_MS, BackfillByTime
from workers.sources.venue.batch_queue import BatchQueue
from workers.venues.ccxt.venue import CcxtVenue
from workers.venues.shared.base import Listing, Unserved, VenueUnavailable

LISTING = Listing("A/B", Instrument("CCXT.X:A-B", 2, 2, "unique"), 1, 1)
START_MS = 1_699_999_980_000
PAGE = 7


@dataclass
class Past:
    """A venue that gives pages of 7, but nothing from before `from_ms`. `fails`: so many answers first."""

    trades: list[Trade] = field(default_factory=list)
    from_ms: int = 0
    fails: int = 0
    # Times of trades that can't be read, and who is told of each when it is asked for.
    bad_ms: set[int] = field(default_factory=set)
    on_bad: Callable[[int], None] = lambda ts_ms: None
    pages: list[tuple[int, int]] = field(default_factory=list)
    candles_asked: list[tuple[int, int]] = field(default_factory=list)

    def trade(self, ts_ms: int) -> Trade:
        """One more, with an id that says nothing of its time."""
        made = Trade(ts_ms, (ts_ms * 2_654_435_761 + len(self.trades)) % (1 << 62), 100, 1, BUY)
        self.trades.append(made)
        return made

    async def trades_between(self, listing: Listing, from_ms: int, to_ms: int) -> Trades:
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise VenueUnavailable("not now")
        self.pages.append((from_ms, to_ms))
        kept = sorted(row for row in self.trades if max(from_ms, self.from_ms) <= row.ts_ms <= to_ms)
        last_ms = kept[PAGE].ts_ms if len(kept) > PAGE else to_ms + 1
        page = [row for row in kept if row.ts_ms < last_ms]
        for row in page:
            if row.ts_ms in self.bad_ms:
                self.on_bad(row.ts_ms)
        return Trades.of(row for row in page if row.ts_ms not in self.bad_ms)

    async def candles(self, listing: Listing, from_ms: int, to_ms: int) -> list[Candle]:
        self.candles_asked.append((from_ms, to_ms))
        return [each for each in self.truth() if from_ms <= each.open_ms < to_ms]

    def truth(self) -> list[Candle]:
        opens = sorted({minute_of(row.ts_ms) for row in self.trades})
        of_minute = ((at, [row for row in sorted(self.trades) if minute_of(row.ts_ms) == at]) for at in opens)
        return [candle_of(open_ms, Trades.of(rows), LIVE) for open_ms, rows in of_minute]


@dataclass
class Made:
    """A backfill and the term that applies what it fetches. `window`: ids that coverage remembers."""

    past: Past
    history_ms: int = 0
    window: int = 1_000
    listing: Listing = LISTING
    clock: FakeClock = field(default_factory=lambda: FakeClock(START_MS))
    coverage: RecentCoverage = field(init=False)
    applied: dict[int, Trade] = field(default_factory=dict)
    refused: int = 0
    replaced: list[int] = field(default_factory=list)
    desk: BatchQueue = field(default_factory=BatchQueue)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    backfill: Backfill = field(init=False)

    def __post_init__(self) -> None:
        self.coverage = RecentCoverage(self.window)
        self.begin("")

    def begin(self, position: str) -> None:
        """A term."""
        applied = Applied(self.coverage, Ledger(), "", lambda: self.coverage.to_ms, self.minutes)
        venue: CcxtVenue = self.past  # type: ignore[assignment]  # the part of it that is asked
        kind = BackfillById if self.listing.instrument.ids == "contiguous" else BackfillByTime
        self.backfill = kind(
            venue=venue,
            listing=self.listing,
            clock=self.clock,
            applied=applied,
            queue=self.desk,
            on_put=lambda: None,
            history_ms=self.history_ms,
            committed=position,
            is_held=self.held.is_set,
        )
        self.past.on_bad = self.backfill.unread

    async def minutes(self, opens: list[int]) -> dict[int, Minute]:
        found = {minute_of(row.ts_ms) for row in self.applied.values()} | set(self.replaced)
        candles = {candle.open_ms: candle for candle in self.past.truth()}
        return {at: Minute(candles[at], Footprint()) for at in opens if at in found}

    def apply(self, trades: Trades) -> None:
        for row in trades.rows():
            if self.coverage.refuse(row.ts_ms, row.id):
                self.refused += 1
            else:
                self.applied[row.id] = row

    def live(self, after_ms: int = 0) -> None:
        """A trade now, that the stream brings."""
        self.clock.advance(after_ms)
        row = self.past.trade(self.clock.now_ms())
        self.backfill.heard(row.ts_ms)
        self.apply(Trades.of([row]))

    def missed(self, after_ms: int) -> None:
        self.clock.advance(after_ms)
        self.past.trade(self.clock.now_ms())

    def unreadable(self, after_ms: int = 0) -> None:
        """A trade now that the stream brings, and that can't be read: there neither nor when it is asked for."""
        self.clock.advance(after_ms)
        row = self.past.trade(self.clock.now_ms())
        self.past.bad_ms.add(row.ts_ms)
        self.backfill.missed(row.ts_ms)

    def knows_head(self) -> bool:
        return self.backfill.head_known

    async def step(self) -> bool:
        """One job; False: there is none."""
        job = self.backfill._next()
        if job is None:
            return False
        running = asyncio.ensure_future(job())
        while not running.done():
            await asyncio.sleep(0)
            for batch in self.desk.read(10_000):
                self.apply(batch.trades)
                self.replaced += [candle.open_ms for candle in batch.candles]
        running.result()
        return True

    async def work(self) -> None:
        while await self.step():
            pass

    def assert_whole(self) -> None:
        assert sorted(self.applied.values()) == sorted(self.past.trades)
        assert self.knows_head() and self.backfill.position == "begun"


def connected(history_ms: int = 0, trades: int = 0, every_ms: int = 1_000, window: int = 1_000) -> Made:
    """A market with a past, just connected to."""
    past = Past()
    for at in range(trades):
        past.trade(START_MS - (trades - at) * every_ms)
    made = Made(past, history_ms, window)
    made.backfill.reconnected()
    return made


async def test_a_new_market_gets_its_history_newest_part_first() -> None:
    made = connected(history_ms=60 * MINUTE_MS, trades=300, every_ms=10_000)
    made.live(100)
    await made.work()
    made.assert_whole()
    starts = [from_ms for from_ms, to_ms in made.past.pages if to_ms != made.past.pages[0][1]]
    assert made.past.pages[0][0] == minute_of(made.clock.now_ms() - PART_MS) and starts[0] < made.past.pages[0][0]


async def test_without_history_nothing_is_fetched_and_the_head_is_known_after_a_silence() -> None:
    made = connected(trades=50)
    await made.work()
    assert not made.knows_head()
    made.clock.advance(HEAD_MS)
    await made.work()
    assert made.knows_head() and made.past.pages == []


async def test_what_was_traded_while_the_connection_was_lost_comes_back_with_an_overlap() -> None:
    made = connected()
    for _ in range(20):
        made.live(500)
    await made.work()
    newest_ms, made.refused = made.coverage.to_ms, 0
    made.backfill.disconnected()
    for _ in range(30):
        made.missed(1_000)
    made.past.pages.clear()
    made.backfill.reconnected()
    await made.work()
    assert made.past.pages == [] and not made.knows_head()
    made.live(10)
    await made.work()
    made.assert_whole()
    assert made.past.pages[0][0] == newest_ms - OVERLAP_MS and made.refused > 0


async def test_what_was_lost_before_the_first_delivery_is_found_though_all_was_known_in_silence() -> None:
    made = connected()
    made.live()
    await made.work()
    made.backfill.disconnected()
    made.backfill.reconnected()
    made.clock.advance(HEAD_MS)
    await made.work()
    assert made.knows_head()
    # The subscription was not in force yet.
    made.missed(1_000)
    made.live(1_000)
    assert not made.knows_head()
    await made.work()
    made.assert_whole()


async def test_a_connection_lost_while_the_head_is_fetched_means_that_it_is_fetched_again() -> None:
    made = connected()
    made.live()
    await made.work()
    made.backfill.disconnected()
    made.missed(60_000)
    made.backfill.reconnected()
    made.live(10)
    job = made.backfill._next()
    assert job is not None
    running = asyncio.ensure_future(job())
    await asyncio.sleep(0)
    made.backfill.disconnected()
    made.missed(1_000)
    made.backfill.reconnected()
    while not running.done():
        await asyncio.sleep(0)
        for batch in made.desk.read(10_000):
            made.apply(batch.trades)
    assert not made.knows_head()
    made.live(10)
    await made.work()
    made.assert_whole()


@pytest.mark.parametrize("steps", range(8))
async def test_a_term_that_ends_midway_is_gone_on_with_from_its_position(steps: int) -> None:
    made = connected(history_ms=40 * MINUTE_MS, trades=200, every_ms=10_000)
    made.live(10)
    for _ in range(steps):
        await made.step()
    position, made.desk = made.backfill.position, BatchQueue()
    made.missed(30_000)
    made.begin(position)
    made.backfill.reconnected()
    made.live(10)
    await made.work()
    made.assert_whole()


async def test_a_failure_is_tried_again_from_the_part_it_came_in() -> None:
    made = connected(history_ms=30 * MINUTE_MS, trades=100, every_ms=10_000)
    made.live(10)
    made.past.fails = 3
    failures = 0
    while True:
        try:
            await made.work()
            break
        except VenueUnavailable:
            failures += 1
    made.assert_whole()
    assert failures == 3


async def test_minutes_that_the_venue_has_forgotten_get_its_candles_and_no_others() -> None:
    made = connected(history_ms=20 * MINUTE_MS, trades=100, every_ms=12_000)
    made.past.from_ms = START_MS - 5 * MINUTE_MS
    made.clock.advance(MINUTE_MS)
    made.live(10)
    await made.work()
    served = {minute_of(row.ts_ms) for row in made.past.trades if row.ts_ms >= made.past.from_ms}
    every = {candle.open_ms for candle in made.past.truth()}
    # Of a minute that history begins in the candle would be more than what was asked for.
    every = {open_ms for open_ms in every if open_ms >= made.clock.now_ms() - made.history_ms}
    assert sorted(made.replaced) == sorted(every - served) and made.replaced
    assert made.backfill.position == "begun"


async def test_a_venue_that_gives_no_trades_by_time_gives_its_candles(monkeypatch: pytest.MonkeyPatch) -> None:
    made = connected(history_ms=20 * MINUTE_MS, trades=100, every_ms=12_000)

    async def unserved(*args: object) -> Trades:
        raise Unserved("only with a key")

    monkeypatch.setattr(made.past, "trades_between", unserved)
    made.clock.advance(MINUTE_MS)
    made.live(10)
    await made.work()
    every = {candle.open_ms for candle in made.past.truth()}
    begun_ms, now_ms = made.clock.now_ms() - made.history_ms, made.clock.now_ms()
    assert set(made.replaced) == {at for at in every if begun_ms <= at < minute_of(now_ms)}
    assert made.knows_head()


async def test_the_minute_of_a_trade_that_can_t_be_read_has_the_venues_candle_once_it_is_closed() -> None:
    made = connected()
    made.live()
    await made.work()
    made.unreadable(1_000)
    bad_ms = minute_of(made.clock.now_ms())
    made.missed(1_000)
    made.live(1_000)
    await made.work()
    # Not at once: it may be one of many.
    assert made.past.pages == []
    made.live(MISSED_MS)
    await made.work()
    made.live(MINUTE_MS + SETTLE_MS)
    await made.work()
    assert made.replaced == [bad_ms]
    readable = [row for row in made.past.trades if row.ts_ms not in made.past.bad_ms]
    assert sorted(made.applied.values()) == sorted(readable) and made.knows_head()


async def test_while_what_can_t_be_read_may_be_so_soon_nothing_is_asked_for_and_nothing_replaced() -> None:
    made = connected()
    made.live()
    await made.work()
    made.held.set()
    made.unreadable(1_000)
    for _ in range(3):
        made.live(MINUTE_MS)
        await made.work()
    assert made.past.pages == [] and made.replaced == []
    made.held.clear()
    made.past.bad_ms.clear()
    await made.work()
    made.assert_whole()
    assert made.replaced == []


async def test_a_quiet_market_has_nothing_replaced() -> None:
    made = connected(history_ms=20 * MINUTE_MS, trades=2, every_ms=9 * MINUTE_MS)
    made.live(10)
    await made.work()
    made.assert_whole()
    assert made.replaced == []


async def test_of_more_trades_than_ids_are_remembered_the_newest_are_had_and_it_ends() -> None:
    """A trade that can't be told from a duplicate is refused: its minute has the venue's candle if it has no trade."""
    made = connected(history_ms=60 * MINUTE_MS, trades=350, every_ms=10_000, window=100)
    made.live(10)
    await made.work()
    assert len(made.applied) == len(set(made.applied)) >= 100
    minutes = {minute_of(row.ts_ms) for row in made.applied.values()} | set(made.replaced)
    assert minutes == {candle.open_ms for candle in made.past.truth()}
    assert not set(made.replaced) & {minute_of(row.ts_ms) for row in made.applied.values()}
    assert made.knows_head() and made.backfill.position == "begun"


async def test_ids_that_are_contiguous_have_no_stretches() -> None:
    past = Past()
    made = Made(past, history_ms=MINUTE_MS, listing=replace_ids(LISTING))
    made.backfill.reconnected()
    made.backfill.heard(5)
    made.backfill.missed(5)
    assert made.knows_head() and made.backfill.position == ""


def replace_ids(listing: Listing) -> Listing:
    return listing._replace(instrument=replace(listing.instrument, ids="contiguous"))
