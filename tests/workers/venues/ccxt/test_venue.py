"""The venue of any exchange of ccxt: the unmodified client of Binance against the local exchange, and single rows."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.clock import SystemClock
from common.errors import BadInput, OperatorError
from common.market.builder.validity import BAD_ID, BAD_PRICE, BAD_SIZE, BAD_TIME, TOO_FINE
from common.market.instrument import Instrument
from common.market.trade import MAX_LOTS, MAX_TICKS, UNKNOWN, Trade
from infra.exchange import Exchange, Garbage, Reset, Stall, Throttle
from infra.exchange.faults import Form
from tests.kit.clocks import FakeClock
from tests.kit.exchange import SYMBOL, Served, served, simulated, still
from tests.kit.strategies import LAW
from tests.workers.venues.history import all_between, spans, within
from tests.workers.venues.recorded import trades_in
from workers.venues.ccxt import venue as ccxt_venue
from workers.venues.ccxt import wire
from workers.venues.ccxt.ids import HASHED, Ids
from workers.venues.ccxt.venue import CcxtVenue
from workers.venues.ccxt.wire import fleet_name
from workers.venues.names import VenueMarket, exchange_of, is_known, venue_of
from workers.venues.shared.base import (
    Connected,
    DepthEvent,
    Disconnected,
    Event,
    Listing,
    Refused,
    Throttled,
    TradesEvent,
    Unserved,
    VenueError,
    VenueUnavailable,
)
from workers.venues.shared.budget import CONNECT, OpenBudget
from workers.venues.shared.fields import MISSING_FIELD, FieldScales
from workers.venues.shared.live import Timing
from workers.venues.shared.stall import StallLimits

VENUE, NAME = "CCXT.BINANCE", "BTC/USDT"
OPTIONS = {"fetchMarkets": {"types": ["spot"]}, "defaultType": "spot"}
# A silence that only a busy machine makes is no stall.
QUICK = Timing(backoff_ms=10, backoff_cap_ms=50, check_ms=20, patience=StallLimits(20_000, 20_000, 20_000))
HASTY = replace(QUICK, patience=StallLimits(200, 400, 400))
LISTING = Listing(NAME, Instrument("CCXT.BINANCE:BTC-USDT", 2, 8, "unique"), 1, 1000)
ROW: dict[str, Any] = {"id": "7", "timestamp": 1_700_000_000_000, "price": 100.25, "amount": 0.001, "side": "buy"}


@asynccontextmanager
async def venue_of_exchange(
    running: Served, budget: OpenBudget | None = None, options: dict[str, Any] | None = None, timing: Timing = QUICK
) -> AsyncIterator[CcxtVenue]:
    urls = {"rest_url": running.address.rest, "socket_url": running.address.ws}
    venue = CcxtVenue(
        SystemClock(), budget or OpenBudget(), VENUE, timing=timing, options=OPTIONS | (options or {}), **urls
    )
    try:
        yield venue
    finally:
        await venue.close()


def aggregated(running: Served) -> list[Trade]:
    """What Binance gives by time: the aggregates."""
    tape = running.exchange.market(SYMBOL).tape
    rows = (tape.aggregate(at) for at in range(tape.aggregates))
    return [Trade(row.ts_ms, row.id, row.price_ticks, row.size_lots * 1000, row.side) for row in rows]


# Names.


def test_a_venue_names_its_exchange() -> None:
    assert exchange_of("CCXT.OKX") == "okx"
    assert [exchange_of(each) for each in ("BINANCE", "CCXT.", "CCXT.okx", "CCXT.A.B", "CCXT")] == [None] * 5
    assert is_known("CCXT.BITSTAMP") and not is_known("CCXT.")
    assert venue_of("CCXT.BYBIT:BTC-USDT:USDT") == VenueMarket("CCXT.BYBIT", "BTC-USDT:USDT")
    assert fleet_name("BTC/USDT:USDT") == "BTC-USDT:USDT"
    with pytest.raises(BadInput, match="CCXT.EXCHANGE"):
        venue_of("CCXT:BTC-USDT")


def test_without_ccxt_the_operator_is_told_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        OperatorError, match=r"CCXT.OKX needs ccxt.*: in the project's folder, .venv/bin/pip install -e '\.\[ccxt\]'$"
    ):
        CcxtVenue(FakeClock(), OpenBudget(), "CCXT.OKX")


async def test_an_exchange_ccxt_does_not_know_is_refused() -> None:
    venue = CcxtVenue(FakeClock(), OpenBudget(), "CCXT.NOSUCH")
    with pytest.raises(VenueError, match="no exchange that ccxt knows"):
        await venue.listing("BTC-USDT")
    await venue.close()


# Listings.


@pytest.mark.parametrize("name", [NAME, "BTC-USDT"])
@pytest.mark.process
async def test_a_listing_by_either_name(name: str) -> None:
    async with served(still("BTCUSDT", "ETHUSDT")) as running, venue_of_exchange(running) as venue:
        listing = await venue.listing(name)
        assert listing.name == NAME and listing.instrument == LISTING.instrument
        assert (listing.price_step_ticks, listing.size_step_lots) == (1, 1000)
        with pytest.raises(VenueError, match="expected one"):
            await venue.listing("NOPE-USDT")


@pytest.mark.parametrize(
    ("mode", "price", "amount", "most", "decimals", "steps"),
    [
        (4, 0.5, 1e-05, None, (1, 5), (5, 1)),
        (4, 0.01, 1.0, 1e9, (2, 6), (1, 1_000_000)),
        (4, 1e-10, 1e-18, None, (10, 8), (1, 1)),
        (2, 3, 0, None, (3, 0), (1, 1)),
        (3, 5, 8, None, (8, 8), (1, 1)),
        (4, None, None, None, (8, 8), (1, 1)),
        (4, 10.0, 100.0, None, (0, 0), (10, 100)),
    ],
)
def test_steps_of_every_way_to_state_a_precision(
    mode: int,
    price: float | None,
    amount: float | None,
    most: float | None,
    decimals: tuple[int, int],
    steps: tuple[int, int],
) -> None:
    found = {
        "symbol": "A/B",
        "precision": {"price": price, "amount": amount},
        "limits": {"amount": {"min": None, "max": most}},
    }
    listing = wire.listing_of("CCXT.X", found, mode)
    assert listing.instrument == Instrument("CCXT.X:A-B", *decimals, "unique")
    assert (listing.price_step_ticks, listing.size_step_lots) == steps


# Rows.


@LAW
@given(st.integers(1, min(MAX_TICKS, 10**15) - 1), st.integers(1, min(MAX_LOTS, 10**15) - 1), st.integers(0, 12))
def test_floats_of_fifteen_digits_come_back_exactly(ticks: int, lots: int, places: int) -> None:
    instrument = Instrument("CCXT.X:A-B", places, places, "unique")
    row = ROW | {
        "price": float(instrument.price_text(ticks)),
        "amount": float(instrument.size_text(lots)),
        "side": None,
    }
    (trade,), left_out = wire.trades_of(FieldScales(Listing("A/B", instrument, 1, 1)), [row], Ids())
    assert trade == Trade(1_700_000_000_000, 7, ticks, lots, UNKNOWN) and not left_out


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"price": 100.255}, TOO_FINE),
        ({"amount": 1e-09}, TOO_FINE),
        ({"price": None}, BAD_PRICE),
        ({"price": float("nan")}, BAD_PRICE),
        ({"price": -1.0}, BAD_PRICE),
        ({"amount": 0.0}, BAD_SIZE),
        ({"amount": None}, BAD_SIZE),
        ({"timestamp": None}, BAD_TIME),
    ],
)
def test_a_bad_row_is_refused_with_its_reason_and_the_rest_is_taken(change: dict[str, Any], reason: str) -> None:
    trades, left_out = wire.trades_of(FieldScales(LISTING), [ROW, ROW | change, ROW | {"id": "8"}], Ids())
    assert [trade.id for trade in trades] == [7, 8]
    assert [each.reason for each in left_out] == [reason]


def test_a_row_of_another_shape_is_refused() -> None:
    rows: list[Any] = [{}, None, {**ROW, "side": [1]}, []]
    trades, left_out = wire.trades_of(FieldScales(LISTING), rows, Ids())
    assert not trades and left_out[0].reason == MISSING_FIELD and len(left_out) == 4


def test_a_stream_brings_nothing_from_long_ago() -> None:
    rows = [ROW, ROW | {"id": "8", "timestamp": 1}]
    trades, left_out = wire.trades_of(FieldScales(LISTING), rows, Ids(), ROW["timestamp"] - 5)
    assert len(trades) == 1 and [each.reason for each in left_out] == [BAD_TIME]


def test_an_id_unlike_those_before_is_no_good() -> None:
    named = [ROW | {"id": str(at)} for at in range(20)]
    trades, left_out = wire.trades_of(FieldScales(LISTING), [*named, ROW | {"id": None}, ROW | {"id": "True"}], Ids())
    assert len(trades) == 20 and [each.reason for each in left_out] == [BAD_ID, BAD_ID]
    texts = [ROW | {"id": each} for each in ("12", "a1", "7", "c3")]
    assert len(wire.trades_of(FieldScales(LISTING), texts, Ids())[0]) == 4


def test_equal_trades_without_an_id_are_two() -> None:
    rows = [ROW | {"id": None}, ROW | {"id": None}, ROW | {"id": ""}]
    trades, _ = wire.trades_of(FieldScales(LISTING), rows, Ids())
    assert len({trade.id for trade in trades}) == 3 and all(trade.id >= HASHED for trade in trades)


# REST.


@pytest.mark.process
async def test_trades_of_any_time_are_the_truth() -> None:
    async with served(still(history_ms=300_000)) as running, venue_of_exchange(running) as venue:
        truth = aggregated(running)
        assert len(truth) > 1_000
        for from_ms, to_ms in spans(truth):
            found, _ = await all_between(venue, LISTING, max(from_ms, truth[0].ts_ms - 10**6), to_ms)
            assert found == within(truth, from_ms, to_ms)
        with pytest.raises(Unserved):
            await venue.trades_from_id(LISTING, 1, 10, 0)


@pytest.mark.process
async def test_hours_without_a_trade_are_no_end() -> None:
    async with served(still(history_ms=10_000)) as running, venue_of_exchange(running) as venue:
        truth = aggregated(running)
        found, _ = await all_between(venue, LISTING, truth[0].ts_ms - 3 * 3_600_000, truth[-1].ts_ms)
        assert found == truth


@pytest.mark.parametrize("page", [2, 7])
async def test_a_page_never_cuts_a_millisecond(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exchange that gives the oldest `page` rows from a time on, at least one millisecond of them."""
    rows = [ROW | {"id": str(at), "timestamp": 1_000 + at // page} for at in range(page * 5)]

    async def asked(market: FieldScales, since_ms: int) -> list[Trade]:
        found, _ = wire.trades_of(market, rows, Ids())
        return [trade for trade in found if trade.ts_ms >= since_ms][: page + 1]

    venue = CcxtVenue(FakeClock(), OpenBudget(), VENUE)
    monkeypatch.setattr(venue, "_rows", asked)
    found, _ = await all_between(venue, LISTING, 0, 10_000)
    assert [trade.id for trade in found] == list(range(page * 5))


@pytest.mark.process
async def test_candles_depth_and_time_are_the_truth() -> None:
    async with served(still(history_ms=400_000)) as running, venue_of_exchange(running) as venue:
        market = running.exchange.market(SYMBOL)
        opens = market.minutes.opens
        found = await venue.candles(LISTING, opens[1], opens[-1])
        kept = [each for each in (market.minutes.minute(open_ms) for open_ms in opens[1:-1]) if each]
        assert [(c.open_ms, c.open_ticks, c.high_ticks, c.low_ticks, c.close_ticks, c.volume_lots) for c in found] == [
            (k.open_ms, k.open_ticks, k.high_ticks, k.low_ticks, k.close_ticks, k.volume_lots * 1000) for k in kept
        ]
        book = await venue.depth(LISTING)
        top = market.book.at(market.book.last_id)
        assert book.snapshot and (book.bids[0][0], book.asks[0][0]) == (max(top.bids), min(top.asks))
        assert await venue.server_time_ms() == running.exchange.now_ms


@pytest.mark.process
async def test_a_refusal_goes_to_the_budget_with_its_retry_after() -> None:
    budget = OpenBudget()
    async with served(still(history_ms=1_000)) as running, venue_of_exchange(running, budget) as venue:
        await venue.listing(NAME)
        running.exchange.inject(Throttle(retry_after_s=7))
        with pytest.raises(Throttled) as caught:
            await venue.trades_between(LISTING, 0, 1)
        assert (caught.value.retry_after_ms, caught.value.banned) == (7_000, False)
        assert budget.refusals == [caught.value] and caught.value.endpoint == "fetch_trades"


@pytest.mark.process
async def test_every_request_is_paid_for() -> None:
    budget = OpenBudget()
    async with served(still(history_ms=1_000)) as running, venue_of_exchange(running, budget) as venue:
        await venue.depth(LISTING)
        await venue.server_time_ms()
        assert budget.spent["rest"] == running.exchange.stats.requests.total() > 2
        assert budget.weight >= 50 * budget.spent["rest"] / 10


async def test_an_exchange_out_of_reach_is_to_be_asked_again() -> None:
    venue = CcxtVenue(SystemClock(), OpenBudget(), VENUE, rest_url="http://127.0.0.1:9", options=OPTIONS)
    with pytest.raises(VenueUnavailable):
        await venue.server_time_ms()
    await venue.close()


# The stream.


async def take(events: AsyncIterator[Event], kind: type, count: int = 1) -> list[Event]:
    """All events up to the `count`th of a kind."""
    found: list[Event] = []
    async with asyncio.timeout(20):
        async for event in events:
            found.append(event)
            count -= isinstance(event, kind)
            if not count:
                return found
    raise AssertionError("the stream ended")


def ids_of(events: list[Event]) -> list[int]:
    return [trade.id for _, trade in trades_in(events)]


def running_exchange() -> Exchange:
    return Exchange(simulated(SYMBOL), history_ms=5_000, speed=20)


@pytest.mark.process
async def test_trades_and_book_of_the_stream_are_the_truth() -> None:
    budget = OpenBudget()
    async with served(running_exchange()) as running, venue_of_exchange(running, budget) as venue:
        async with aclosing(venue.stream([LISTING], depth=True, quotes=False)) as events:
            found = await take(events, TradesEvent, 40)
            while not any(isinstance(event, DepthEvent) and not event.snapshot for event in found):
                found += await take(events, DepthEvent)
        running.exchange.speed = 0
        assert isinstance(found[0], Connected)
        ids = ids_of(found)
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        truth = {trade.id: trade for trade in aggregated(running)}
        rows = [trade for _, trade in trades_in(found)]
        assert rows == [truth[row.id] for row in rows]
        books = [event for event in found if isinstance(event, DepthEvent)]
        assert books[0].snapshot and books[0].bids[0][0] < books[0].asks[0][0]
        assert budget.spent[CONNECT] == 2


@pytest.mark.parametrize(
    "fault",
    [Reset(), Stall(ms=3_000, lose=True)],
    ids=["reset", "stall"],
)
@pytest.mark.process
async def test_a_lost_or_silent_connection_is_told_and_opened_again(fault: Any) -> None:
    async with served(running_exchange()) as running, venue_of_exchange(running, timing=HASTY) as venue:
        async with aclosing(venue.stream([LISTING], depth=False, quotes=False)) as events:
            await take(events, TradesEvent, 20)
            running.exchange.inject(fault)
            found = await take(events, Disconnected)
            found += await take(events, TradesEvent)
        told = [event for event in found if isinstance(event, Connected | Disconnected)]
        assert isinstance(told[-1], Connected) and isinstance(told[0], Disconnected)
        running.exchange.speed = 0


@pytest.mark.parametrize("form", ["truncated", "mutated", "binary", "huge", "nested", "empty"])
@pytest.mark.process
async def test_messages_that_are_none_cost_nothing_else(form: Form) -> None:
    async with served(running_exchange()) as running, venue_of_exchange(running) as venue:
        async with aclosing(venue.stream([LISTING], depth=False, quotes=False)) as events:
            found = await take(events, TradesEvent, 25)
            running.exchange.inject(Garbage(SYMBOL, form, count=20, size_bytes=100_000, stream="aggTrade"))
            found += await take(events, TradesEvent, 25)
        running.exchange.speed = 0
        truth = {trade.id: trade for trade in aggregated(running)}
        rows = [trade for _, trade in trades_in(found)]
        if form != "mutated":
            assert rows == [truth[row.id] for row in rows]
        assert all(row.ts_ms == truth[row.id].ts_ms for row in rows)
        assert sorted({row.id for row in rows}) == list(range(rows[0].id, max(row.id for row in rows) + 1))
        # A wrong price of the right kind is believed; ccxt passes over what looks like an event of another kind.
        assert any(isinstance(event, Refused) for event in found) or form in ("huge", "empty")


@pytest.mark.process
async def test_without_a_stream_trades_are_read_by_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ccxt_venue, "POLLED", frozenset(("binance",)))
    monkeypatch.setattr(ccxt_venue, "POLL_MS", 50)
    budget = OpenBudget()
    async with served(running_exchange()) as running, venue_of_exchange(running, budget) as venue:
        async with aclosing(venue.stream([LISTING], depth=False, quotes=False)) as events:
            found = await take(events, TradesEvent, 5)
        running.exchange.speed = 0
        ids = sorted(set(ids_of(found)))
        assert isinstance(found[0], Connected) and ids == list(range(ids[0], ids[0] + len(ids)))
        assert not budget.spent[CONNECT]
