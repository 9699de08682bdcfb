import json
from collections import Counter
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

import pytest

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
from workers.venues.coinbase.client import CoinbaseParser
from workers.venues.shared.base import DepthEvent, QuoteEvent, Refused

FRAMES = "COINBASE.ws.28.0"
BTC = listing("BTC-USD", 2, 8)
MATCH: dict[str, Any] = {
    "type": "match",
    "trade_id": 7,
    "side": "sell",
    "size": "0.04",
    "price": "14.77",
    "product_id": "BTC-USD",
    "time": "2021-04-17T16:43:37.089723Z",
}


def test_every_recorded_trade_is_read_and_none_is_missing() -> None:
    frames = venue_frames(FRAMES)
    listings = listings_of(_numbers(frames))
    found = [row for _, events in parsed(CoinbaseParser(listings), frames) for row in trades_in(events)]
    expected = [
        Plain(
            m["product_id"],
            int(datetime.fromisoformat(m["time"]).timestamp() * 1_000),
            m["trade_id"],
            Decimal(m["price"]),
            Decimal(m["size"]),
            # The side is the maker's.
            "buy" if m["side"] == "sell" else "sell",
        )
        for m in messages(frames)
        if m["type"] in ("match", "last_match")
    ]
    assert len(expected) == 107
    assert same(found, expected, listings)
    for _, rows in groupby(sorted((name, row.id) for name, row in found), key=lambda pair: pair[0]):
        ids = [trade_id for _, trade_id in rows]
        assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_the_taker_is_on_the_side_the_ticker_says() -> None:
    """The ticker of a trade names the taker's side, the match the maker's: two statements of one fact."""
    frames = venue_frames(FRAMES)
    listings = listings_of(_numbers(frames))
    found = {
        (name, row.id): row.side for _, e in parsed(CoinbaseParser(listings), frames) for name, row in trades_in(e)
    }
    tickers = [m for m in messages(frames) if m["type"] == "ticker"]
    sides = [(m["side"], found[m["product_id"], m["trade_id"]]) for m in tickers]
    assert Counter(sides).keys() == {("buy", 0), ("sell", 1)}


def test_every_recorded_book_and_quote_is_read() -> None:
    frames = venue_frames(FRAMES)
    events = [e for _, each in parsed(CoinbaseParser(listings_of(_numbers(frames))), frames) for e in each]
    kinds = Counter(message["type"] for message in messages(frames))
    books = [event for event in events if isinstance(event, DepthEvent)]
    assert sum(book.snapshot for book in books) == kinds["snapshot"] == 10
    assert sum(not book.snapshot for book in books) == kinds["l2update"] == 9_719
    assert sum(isinstance(event, QuoteEvent) for event in events) == kinds["ticker"] == 107


def test_a_change_of_the_book_goes_to_its_side() -> None:
    changes = [["sell", "10.01", "660.5"], ["buy", "9.99", "0.00000000"]]
    frame = {"type": "l2update", "product_id": "BTC-USD", "changes": changes, "time": MATCH["time"]}
    (book,) = CoinbaseParser([BTC]).parse(json.dumps(frame))
    expected = DepthEvent("BTC-USD", 1_618_677_817_089, -1, -1, -1, [(999, 0)], [(1_001, 66_050_000_000)])
    assert book == expected


@pytest.mark.parametrize(
    "frame",
    [
        '{"type":"subscriptions","channels":[]}',
        '{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD"}',
        '{"type":"status","products":[]}',
    ],
)
def test_answers_and_heartbeats_give_nothing(frame: str) -> None:
    assert list(CoinbaseParser([BTC]).parse(frame)) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"price": "0"}, "bad_price"),
        ({"price": "-14.77"}, "bad_price"),
        ({"price": "NaN"}, "bad_price"),
        ({"price": 14.77}, "bad_price"),
        ({"price": "14.777"}, "too_fine"),
        ({"price": ...}, "missing_field"),
        ({"size": "0.00"}, "bad_size"),
        ({"size": "1e20"}, "too_great"),
        ({"size": None}, "bad_size"),
        ({"time": "2021-04-17 16:43:37"}, "bad_time"),
        ({"time": "2021-13-17T16:43:37Z"}, "bad_time"),
        ({"time": "2021-04-17T16:43:60Z"}, "bad_time"),
        ({"time": "1969-04-17T16:43:37Z"}, "bad_time"),
        ({"time": "9999-04-17T16:43:37Z"}, "bad_time"),
        ({"time": "2021-04-17T16:43:37+01:00"}, "bad_time"),
        ({"time": 1_618_677_817}, "bad_time"),
        ({"trade_id": "7"}, "bad_id"),
        ({"trade_id": 7.0}, "bad_id"),
        ({"trade_id": -7}, "bad_id"),
        ({"trade_id": True}, "bad_id"),
        ({"side": "SELL"}, "bad_side"),
        ({"side": None}, "bad_side"),
        ({"side": ["sell"]}, "bad_shape"),
        ({"product_id": "ETH-USD"}, "unknown_symbol"),
        ({"product_id": ...}, "missing_field"),
        ({"type": "matched"}, "unknown_event"),
        ({"type": ...}, "missing_field"),
        ({"type": {}}, "bad_shape"),
    ],
)
def test_a_trade_with_a_field_that_is_no_good_is_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    parser = CoinbaseParser([BTC])
    assert len(trades_in(parser.parse(json.dumps(MATCH)))) == 1
    frame = {key: value for key, value in (MATCH | changes).items() if value is not ...}
    assert _reason(parser.parse(json.dumps(frame))) == reason


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("", "bad_json"),
        ("[]", "bad_shape"),
        ("7", "bad_shape"),
        ('{"type":"error","message":"Failed to subscribe","reason":"X-Y is not a valid product"}', "venue_error"),
        ('{"type":"l2update","product_id":"BTC-USD","changes":["sel"],"time":"2021-04-17T16:43:37Z"}', "bad_shape"),
        ('{"type":"l2update","product_id":"BTC-USD","changes":[["sel","1","1"]],"time":"2021"}', "bad_shape"),
        ('{"type":"snapshot","product_id":"BTC-USD","bids":[["1","1"]]}', "missing_field"),
    ],
)
def test_a_frame_that_is_no_good_is_refused_with_the_reason(frame: str, reason: str) -> None:
    assert _reason(CoinbaseParser([BTC]).parse(frame)) == reason


def _reason(events: Any) -> str:
    (event,) = events
    assert isinstance(event, Refused) and len(event.detail) < 300, event
    return event.reason


def _numbers(frames: list[bytes]) -> list[tuple[str, str, str]]:
    """Every price and size of the frames, for their decimals."""
    found: list[tuple[str, str, str]] = []
    for m in messages(frames):
        name = m.get("product_id", "")
        found += [(name, price, size) for price, size in m.get("bids", []) + m.get("asks", [])]
        found += [(name, price, size) for _, price, size in m.get("changes", [])]
        if "size" in m:
            found.append((name, m["price"], m["size"]))
        if m["type"] == "ticker":
            found += [(name, m["best_bid"], "0"), (name, m["best_ask"], "0")]
    return found
