"""Our minutes against the venue's own: in miniature, and against the local exchange over real sockets."""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from common.errors import StoreUnavailable
from common.market.builder.builder import Minute, candle_of
from common.market.builder.gaps import Ledger
from common.market.builder.id_coverage import IdCoverage
from common.market.candle import LIVE, Candle
from common.market.coding.codec import unpack_candle
from common.market.footprint import Footprint
from common.market.timeframes.timeframe import MINUTE_MS, minute_of
from common.market.trade import Trade, Trades
from tests.kit import venue_line
from tests.kit.clocks import FakeClock
from tests.kit.fakes import INSTRUMENT, START_MS, TOKEN, trades
from tests.kit.venue_line import NAME, Line, exchange_of, line, pass_market_time
from tests.kit.waiting import wait_until_async
from workers.sources.base import Applied, Mismatch
from workers.sources.venue.backfill import SETTLE_MS
from workers.sources.venue.checks import MAX_WAIT_MS, Checks
from workers.venues.registry import open_venue
from workers.venues.shared.base import Event, Listing, NoTrade, Throttled, TradesEvent, Venue, VenueUnavailable

# In miniature: a trade every ten seconds, ids by their time.


class Over(Exception):
    """The script of a test is."""


STEP_MS = 10_000
# Later than any trade.
NEVER = 1 << 43
# From one look to where the next one is far: a stop then cancels no request, of which anyio may leave a socket behind.
BETWEEN_MS = MINUTE_MS // 2
STATED = frozenset(("open_ticks", "high_ticks", "low_ticks", "close_ticks", "volume_lots", "trades"))


def run_of(open_ms: int) -> Trades:
    first = (open_ms - START_MS) // STEP_MS
    return trades(*((number + 1, number * STEP_MS) for number in range(first, first + MINUTE_MS // STEP_MS)))


def candle(minute: int, extra_lots: int = 0) -> Candle:
    """The candle of that minute after the start."""
    found = candle_of(START_MS + minute * MINUTE_MS, run_of(START_MS + minute * MINUTE_MS), LIVE)
    return replace(found, volume_lots=found.volume_lots + extra_lots)


@dataclass
class Miniature:
    """A venue and a store. `ours`, `theirs`: candles by minute, where they are not those of the trades."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(START_MS))
    coverage: IdCoverage = field(default_factory=IdCoverage)
    ours: dict[int, Candle | None] = field(default_factory=dict)
    theirs: dict[int, Candle | None] = field(default_factory=dict)
    asked: list[tuple[int, int]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    candle_fields: frozenset[str] = STATED
    # Ids that never come, and what happens while the venue is asked.
    left_out: set[int] = field(default_factory=set)
    while_asked: Callable[[], None] = lambda: None
    may_ask: bool = True
    told: int = 0
    quiet_since_ms: int = NEVER
    _script: list[Callable[[], None]] = field(default_factory=list)
    checks: Checks = field(init=False)

    def __post_init__(self) -> None:
        applied = Applied(self.coverage, Ledger(), TOKEN, self.watermark_ms, self.minutes)
        listing = Listing(NAME, INSTRUMENT, 1, 1)
        self.checks = Checks(cast(Venue, self), listing, cast(Any, self), applied, lambda: self.may_ask, self.note)

    def note(self) -> None:
        self.told += 1

    # As the clock.

    def now_ms(self) -> int:
        return self.clock.now_ms()

    async def sleep_ms(self, ms: int) -> None:
        """Time passes, and trades come; then the next step of the script."""
        was_ms = self.clock.now_ms()
        self.clock.advance(ms)
        for at_ms in range(was_ms - was_ms % STEP_MS + STEP_MS, min(self.now_ms(), self.quiet_since_ms) + 1, STEP_MS):
            self.trade((at_ms - START_MS) // STEP_MS + 1, at_ms)
        if not self._script:
            raise Over
        self._script.pop(0)()

    def trade(self, number: int, at_ms: int) -> None:
        if number not in self.left_out:
            self.coverage.refuse(at_ms, number)

    def lose(self, number: int) -> None:
        """Have coverage as if that trade had never come."""
        last = self.coverage.spans()[-1].last
        whole = IdCoverage()
        for each in range(1, last + 1):
            if each != number:
                whole.refuse(START_MS + (each - 1) * STEP_MS, each)
        # It has been given away.
        for name in IdCoverage.__slots__:
            setattr(self.coverage, name, getattr(whole, name))

    # As the term.

    def watermark_ms(self) -> int:
        spans = self.coverage.spans()
        return spans[-1].to_ms if spans else -1

    async def minutes(self, opens: list[int]) -> dict[int, Minute]:
        found = {open_ms: _of(self.ours, open_ms) for open_ms in opens}
        return {open_ms: Minute(candle, Footprint()) for open_ms, candle in found.items() if candle}

    # As the venue.

    async def candles(self, listing: Listing, from_ms: int, to_ms: int) -> list[Candle]:
        self.asked.append(((from_ms - START_MS) // MINUTE_MS, (to_ms - START_MS) // MINUTE_MS))
        self.while_asked()
        if self.errors:
            raise self.errors.pop(0)
        found = (_of(self.theirs, open_ms) for open_ms in range(from_ms, to_ms, MINUTE_MS))
        return [candle for candle in found if candle]

    async def run(self, *script: Callable[[], None]) -> list[Mismatch]:
        """One look a minute, each after its step of the script; return what was told in all of them."""
        self.coverage.refuse(START_MS, 1)
        self._script = list(script)
        with pytest.raises(Over):
            await self.checks.run()
        return self.checks.take()


def _of(candles: dict[int, Candle | None], open_ms: int) -> Candle | None:
    minute = (open_ms - START_MS) // MINUTE_MS
    return candles[minute] if minute in candles else candle(minute)


def nothing() -> None:
    pass


@pytest.fixture
def small() -> Miniature:
    return Miniature()


async def test_each_minute_is_compared_once_when_it_has_come_to_rest(small: Miniature) -> None:
    assert await small.run(*[nothing] * 4) == []
    # The first look comes before a minute is over.
    assert small.asked == [(0, 1), (1, 2), (2, 3)]
    rest_ms = (small.now_ms() - START_MS) % MINUTE_MS
    assert SETTLE_MS <= rest_ms


async def test_a_minute_that_still_differs_a_minute_later_is_told_once_with_both_values(small: Miniature) -> None:
    small.ours[1] = candle(1, extra_lots=7)
    found = await small.run(*[nothing] * 6)
    assert found == [Mismatch(START_MS + MINUTE_MS, {"volume_lots": (37, 30)})]
    assert small.asked == [(0, 1), (1, 2), (1, 3), (3, 4), (4, 5)]
    assert small.told == 1
    assert small.checks.take() == []


async def test_a_late_trade_that_comes_between_the_looks_is_no_mismatch(small: Miniature) -> None:
    small.ours[1] = candle(1, extra_lots=-5)
    assert await small.run(nothing, nothing, nothing, small.ours.clear, nothing) == []
    assert small.asked[2] == (1, 3)
    assert not small.checks.is_wrong


async def test_it_is_wrong_while_the_newest_minute_is(small: Miniature) -> None:
    for minute in (1, 2, 3):
        small.ours[minute] = candle(minute, extra_lots=7)
    seen: list[bool] = []

    def see() -> None:
        seen.append(small.checks.is_wrong)

    found = await small.run(*[see] * 8)
    assert [mismatch.open_ms for mismatch in found] == [START_MS + minute * MINUTE_MS for minute in (1, 2, 3)]
    # Minutes 1 and 2 are told while the next one has no verdict; with 3 comes the verdict of 4, which is right.
    assert seen == [False, False, False, False, True, True, False, False]


async def test_a_minute_of_the_venue_that_we_do_not_have_is_a_mismatch(small: Miniature) -> None:
    small.ours[1] = None
    small.candle_fields = frozenset(("close_ticks", "volume_lots"))
    (found,) = await small.run(*[nothing] * 4)
    assert found.open_ms == START_MS + MINUTE_MS
    assert found.fields == {"close_ticks": (None, candle(1).close_ticks), "volume_lots": (None, 30)}


async def test_a_minute_of_ours_that_the_venue_does_not_have_is_a_mismatch(small: Miniature) -> None:
    small.theirs[1] = None
    (found,) = await small.run(*[nothing] * 4)
    assert found.fields["volume_lots"] == (30, None)


async def test_a_minute_that_nobody_has_is_none(small: Miniature) -> None:
    small.ours[1] = small.theirs[1] = None
    assert await small.run(*[nothing] * 4) == []


async def test_a_minute_in_which_something_is_missing_is_not_asked_for(small: Miniature) -> None:
    small.left_out = {9}
    small.ours[1] = candle(1, extra_lots=-5)
    assert await small.run(*[nothing] * 4) == []
    assert small.asked == [(0, 1), (2, 3)]


async def test_a_minute_that_turns_out_to_lack_something_waits_until_it_is_whole(small: Miniature) -> None:
    """A hole is seen while the venue is asked for the second time: told then, it would be a gap told as a mismatch."""
    small.ours[1] = candle(1, extra_lots=-5)

    def lose() -> None:
        small.while_asked = lambda: small.lose(9)

    def recover() -> None:
        small.while_asked = nothing
        small.trade(9, START_MS + 8 * STEP_MS)
        small.ours.clear()

    assert await small.run(nothing, nothing, nothing, lose, nothing, recover, nothing) == []
    assert small.asked == [(0, 1), (1, 2), (1, 3), (3, 4), (1, 5), (5, 6)]


async def test_the_minute_is_not_asked_for_before_it_is_closed(small: Miniature) -> None:
    """Nothing is traded: as long as the clock has not closed it, there may be more."""
    small.quiet_since_ms = START_MS + MINUTE_MS + 30_000
    assert await small.run(*[nothing] * 5) == []
    assert small.asked == [(0, 1)]


async def test_while_the_venue_is_to_be_spared_nothing_is_asked_and_nothing_waits(small: Miniature) -> None:
    def forbid() -> None:
        small.may_ask = False

    def allow() -> None:
        small.may_ask = True

    await small.run(nothing, forbid, nothing, nothing, allow)
    assert small.asked == [(3, 4)]


@pytest.mark.parametrize("error", [Throttled("", 1_000), VenueUnavailable(""), StoreUnavailable("")])
async def test_a_look_that_fails_is_left_out(small: Miniature, error: Exception) -> None:
    small.ours[0] = candle(0, extra_lots=7)
    small.errors = [error]
    assert await small.run(*[nothing] * 3) == []
    assert small.asked == [(0, 1), (1, 2)]


async def test_a_second_look_that_fails_is_made_later(small: Miniature) -> None:
    small.ours[0] = candle(0, extra_lots=7)

    def fail() -> None:
        small.errors = [VenueUnavailable("")]

    (found,) = await small.run(nothing, nothing, fail, nothing)
    assert found.open_ms == START_MS
    assert small.asked == [(0, 1), (0, 2), (0, 3)]


async def test_a_second_look_is_given_up_after_a_while(small: Miniature) -> None:
    small.ours[0] = candle(0, extra_lots=7)

    def fail() -> None:
        small.errors = [VenueUnavailable("")]

    outage = MAX_WAIT_MS // MINUTE_MS + 1
    assert await small.run(nothing, nothing, *[fail] * outage, nothing) == []
    assert small.asked[-1] == (outage + 1, outage + 2)


# Against the local exchange.


@dataclass
class Tampering:
    """A venue whose socket does not tell the truth; what it says by REST is true. `tamper` changes live events."""

    venue: Venue
    tamper: Callable[[Event], Sequence[Event]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.venue, name)

    async def stream(self, listings: Sequence[Listing], *, depth: bool, quotes: bool) -> AsyncGenerator[Event, None]:
        async with aclosing(self.venue.stream(listings, depth=depth, quotes=quotes)) as events:
            async for event in events:
                for tampered in self.tamper(event):
                    yield tampered


@dataclass
class Tamper:
    """Makes trades that are bigger by `lots`, while `is_on` says so of their time."""

    lots: int
    is_on: Callable[[int], bool]
    changed: list[int] = field(default_factory=list)

    def __call__(self, event: Event) -> Sequence[Event]:
        if isinstance(event, TradesEvent) and self.is_on(event.rows[0][0]):
            first, *rest = (Trade(*row) for row in event.rows)
            self.changed.append(first.ts_ms)
            return [TradesEvent(event.name, [first._replace(size_lots=first.size_lots + self.lots), *rest])]
        return [event]


def tampered_by(monkeypatch: pytest.MonkeyPatch, tamper: Callable[[Event], Sequence[Event]]) -> None:
    monkeypatch.setattr(venue_line, "open_venue", lambda *args: Tampering(open_venue(*args), tamper))


def told(made: Line, kind: str) -> list[dict[str, Any]]:
    events = [json.loads(event) for _, event in made.model.tables.events]
    return [event for event in events if event["type"] == kind]


def looks(made: Line) -> int:
    return made.exchange.stats.requests["klines"]


async def next_whole_minute(made: Line) -> int:
    """The next minute that we have from its beginning, however long the connecting took."""
    await wait_until_async(lambda: made.coverage.spans())
    return minute_of(made.exchange.now_ms) + MINUTE_MS


@pytest.mark.process
async def test_a_healthy_run_has_no_mismatch(redis_url: str) -> None:
    async with line(exchange_of(orders_per_s=20, history_ms=5 * MINUTE_MS), redis_url, 4 * MINUTE_MS) as made:
        await made.start()
        await wait_until_async(lambda: looks(made) >= 5, timeout_s=60)
        await pass_market_time(made, BETWEEN_MS)
        assert told(made, "mismatch") == told(made, "fault") == []
        assert "mismatches" not in made.model.tables.health
        await wait_until_async(lambda: made.model.tables.health["mode"] == "LIVE", timeout_s=30)
        assert not made.exchange.stats.violations


@pytest.mark.process
async def test_a_wrong_candle_is_told_once_with_both_values_and_counted(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tamper = Tamper(5, lambda ts_ms: not tamper.changed and ts_ms > from_ms)
    tampered_by(monkeypatch, tamper)
    async with line(exchange_of(), redis_url) as made:
        from_ms = NEVER
        await made.start()
        from_ms = await next_whole_minute(made)
        await wait_until_async(lambda: "mismatches" in made.model.tables.health, timeout_s=30)
        await pass_market_time(made, 2 * MINUTE_MS + BETWEEN_MS)
        (event,) = told(made, "mismatch")
        (changed_ms,) = tamper.changed
        assert event["t"] == minute_of(changed_ms)
        truth, decimals = made.whole(event["t"]), made.instrument.size_decimals
        ours, theirs = event["fields"]["volume"]
        assert theirs == truth.volume_lots / 10**decimals
        assert round((ours - theirs) * 10**decimals) == 5
        assert set(event["fields"]) - {"turnover"} in ({"volume", "bought"}, {"volume", "sold"})
        assert {"mismatches": "1", "mismatchT": str(event["t"])}.items() <= made.model.tables.health.items()
        # It is the venue's word against ours: nothing is changed.
        assert unpack_candle(made.model.tables.candles[event["t"]]).volume_lots == truth.volume_lots + 5


@pytest.mark.process
async def test_while_minutes_differ_the_symbol_is_degraded(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tampering = True
    tampered_by(monkeypatch, Tamper(5, lambda ts_ms: tampering))
    async with line(exchange_of(), redis_url) as made:
        await made.start()
        await wait_until_async(lambda: made.model.tables.health.get("mismatches", "0") >= "2", timeout_s=30)
        await wait_until_async(lambda: made.model.tables.health["mode"] == "DEGRADED", timeout_s=30)
        tampering = False
        await wait_until_async(lambda: made.model.tables.health["mode"] == "LIVE", timeout_s=30)
        assert int(made.model.tables.health["mismatches"]) == len(told(made, "mismatch"))


@pytest.mark.process
async def test_a_minute_that_never_reached_us_is_a_mismatch(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ids are accounted for, so there is no gap."""

    def swallow(event: Event) -> Sequence[Event]:
        if isinstance(event, TradesEvent) and any(minute_of(ts_ms) == lost_ms for ts_ms, *_ in event.rows):
            return [NoTrade(event.name, ts_ms, trade_id) for ts_ms, trade_id, *_ in event.rows]
        return [event]

    tampered_by(monkeypatch, swallow)
    async with line(exchange_of(), redis_url) as made:
        lost_ms = NEVER
        await made.start()
        lost_ms = await next_whole_minute(made)
        await wait_until_async(lambda: told(made, "mismatch"), timeout_s=30)
        (event,) = told(made, "mismatch")
        assert event["t"] == lost_ms and lost_ms not in made.model.tables.candles
        truth = made.market.minutes.minute(lost_ms)
        assert truth
        assert event["fields"]["trades"] == [None, truth.trades]
        assert event["fields"]["close"] == [None, float(made.instrument.price_text(truth.close_ticks))]
