import json
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from common.market.depth.sync import BookSync, Outcome
from tests.workers.venues.recorded import (
    Plain,
    listing,
    listings_of,
    messages,
    parsed,
    same,
    trades_in,
    venue_frames,
)
from workers.venues.kraken.book_rule import KrakenRule
from workers.venues.kraken.client import BOOK_LEVELS
from workers.venues.kraken.v1 import KrakenV1Parser
from workers.venues.shared.base import DepthEvent, QuoteEvent, Refused

TRADES, BOOKS = "KRAKEN.ws.48.0", "KRAKEN.ws.50.0"
XMR = listing("XMR/USD", 8, 8)
ROW = ["354.11000000", "0.89594024", "1618678142.557535", "s", "l", ""]


def test_every_recorded_trade_is_read() -> None:
    frames = venue_frames(TRADES)
    rows = [
        (message[-1], place, row)
        for message in messages(frames)
        if isinstance(message, list)
        for place, row in enumerate(message[1])
    ]
    listings = listings_of((name, row[0], row[1]) for name, _, row in rows) + [
        listing(name, 8, 8) for name in _pairs(frames)
    ]
    found = [row for _, events in parsed(KrakenV1Parser(listings), frames) for row in trades_in(events)]
    expected = [
        Plain(
            name,
            int(Decimal(seconds) * 1_000),
            int(Decimal(seconds) * 1_000_000) << 10 | place,
            Decimal(price),
            Decimal(size),
            {"b": "buy", "s": "sell"}[side],
        )
        for name, place, (price, size, seconds, side, _, _) in rows
    ]
    assert len(expected) == 10
    assert same(found, expected, listings)
    assert len({(name, row.id) for name, row in found}) == 10


def test_the_checksum_is_right_on_every_recorded_update_of_every_book() -> None:
    frames = venue_frames(BOOKS)
    listings = listings_of(_levels(frames))
    books = {each.name: BookSync(KrakenRule(BOOK_LEVELS)) for each in listings}
    outcomes: Counter[Outcome] = Counter()
    for _, events in parsed(KrakenV1Parser(listings), frames):
        for event in events:
            assert isinstance(event, DepthEvent) and event.snapshot == (event.checksum is None)
            outcomes[books[event.name].feed(event)] += 1
    # The rule gives a book up at the first checksum that is not that of its ticks and lots.
    assert outcomes == {Outcome.SYNCED: 10, Outcome.APPLIED: 4_269}


def test_an_update_of_both_sides_comes_in_two_parts() -> None:
    parts = [{"a": [["1.5", "2", "1618678145.9"]]}, {"b": [["1.4", "0.0", "1618678146.1", "r"]], "c": "4105471083"}]
    (event,) = KrakenV1Parser([XMR]).parse(json.dumps([1, *parts, "book-1000", "XMR/USD"]))
    assert event == DepthEvent(
        "XMR/USD", 1_618_678_146_100, -1, -1, -1, [(140_000_000, 0)], [(150_000_000, 200_000_000)], False, 4_105_471_083
    )


def test_a_spread_is_a_quote() -> None:
    spread = ["1.4", "1.5", "1618678145.9", "3", "4"]
    (event,) = KrakenV1Parser([XMR]).parse(json.dumps([1, spread, "spread", "XMR/USD"]))
    assert event == QuoteEvent("XMR/USD", 1_618_678_145_900, -1, 140_000_000, 3 * 10**8, 150_000_000, 4 * 10**8)


def test_one_bad_trade_does_not_cost_the_others() -> None:
    rows = [ROW, ["0", *ROW[1:]], ROW]
    events = KrakenV1Parser([XMR]).parse(json.dumps([993, rows, "trade", "XMR/USD"]))
    assert len(trades_in(events)) == 2
    assert [event.reason for event in events if isinstance(event, Refused)] == ["bad_price"]


@pytest.mark.parametrize(
    "frame",
    [
        '{"event":"heartbeat"}',
        '{"event":"systemStatus","status":"online","version":"1.8.3"}',
        '{"event":"pong","reqid":1}',
        '{"event":"subscriptionStatus","status":"subscribed","pair":"XMR/USD"}',
        '[1,["1","2"],"ohlc-5","XMR/USD"]',
    ],
)
def test_answers_and_heartbeats_give_nothing(frame: str) -> None:
    assert list(KrakenV1Parser([XMR]).parse(frame)) == []


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (0, "0", "bad_price"),
        (0, "-1", "bad_price"),
        (0, 354.11, "bad_price"),
        (0, "354.110000001", "too_fine"),
        (1, "0.00000000", "bad_size"),
        (1, None, "bad_size"),
        (2, "-1618678142.5", "bad_time"),
        (2, 1_618_678_142, "bad_time"),
        (2, "0", "bad_time"),
        (2, "1e9", "bad_time"),
        (2, "99999999999.5", "bad_time"),
        (3, "x", "bad_side"),
        (3, [], "bad_shape"),
    ],
)
def test_a_trade_with_a_field_that_is_no_good_is_refused_with_the_reason(place: int, value: Any, reason: str) -> None:
    row = [*ROW[:place], value, *ROW[place + 1 :]]
    assert _reason(KrakenV1Parser([XMR]).parse(json.dumps([993, [row], "trade", "XMR/USD"]))) == reason


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("", "bad_json"),
        ("[]", "bad_shape"),
        ("null", "bad_shape"),
        ('"trade"', "bad_shape"),
        ("{}", "missing_field"),
        ('{"event":"gift"}', "unknown_event"),
        ('{"event":"subscriptionStatus","status":"error","errorMessage":"not supported"}', "venue_error"),
        ('[1,[["1"]],"trade","XMR/USD"]', "bad_shape"),
        ('[1,["354111"],"trade","XMR/USD"]', "bad_shape"),
        ('[1,[],"trade","ETH/USD"]', "unknown_symbol"),
        ('[1,[],"gift","XMR/USD"]', "unknown_event"),
        ('[1,{"c":"1"},"book-10","XMR/USD"]', "bad_shape"),
        ('[1,{"a":[["1","1","1.5"]]},"book-10","XMR/USD"]', "missing_field"),
        ('[1,{"a":[["1","1","1.5"]],"c":"-1"},"book-10","XMR/USD"]', "bad_sequence"),
        ('[1,{"a":[["1","1","1.5"]],"c":"4294967296"},"book-10","XMR/USD"]', "bad_sequence"),
    ],
)
def test_a_frame_that_is_no_good_is_refused_with_the_reason(frame: str, reason: str) -> None:
    assert _reason(KrakenV1Parser([XMR]).parse(frame)) == reason


def _reason(events: Any) -> str:
    (event,) = events
    assert isinstance(event, Refused) and len(event.detail) < 300, event
    return event.reason


def _pairs(frames: list[bytes]) -> set[str]:
    return {m["pair"] for m in messages(frames) if isinstance(m, dict) and "pair" in m}


def _levels(frames: list[bytes]) -> list[tuple[str, str, str]]:
    """Every price and size of the books, for their decimals."""
    return [
        (message[-1], row[0], row[1])
        for message in messages(frames)
        if isinstance(message, list)
        for part in message[1:-2]
        for name in ("as", "bs", "a", "b")
        for row in part.get(name, [])
    ]
