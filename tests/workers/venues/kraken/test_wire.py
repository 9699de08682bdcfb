from typing import Any

import pytest

from common.market.depth.sync import BookSync, Outcome
from common.market.trade import Trade
from tests.workers.venues.recorded import listing, trades_in
from workers.venues.kraken.book_rule import KrakenRule
from workers.venues.kraken.client import BOOK_LEVELS, KrakenParser, rest_name, socket_name
from workers.venues.shared.base import DepthEvent, QuoteEvent, Refused

BTC, PEPE = listing("BTC/USD", 1, 8), listing("PEPE/USD", 15, 8)
ROW = (
    '{"symbol":"BTC/USD","side":"sell","price":26953.0,"qty":0.00100000,"ord_type":"market","trade_id":7,'
    '"timestamp":"2023-09-25T07:49:37.708706Z"}'
)
BOOK = '{"channel":"book","type":"%s","data":[{"symbol":"BTC/USD","bids":%s,"asks":%s,"checksum":%s%s}]}'


def frame_of(*rows: str, kind: str = "update") -> str:
    return f'{{"channel":"trade","type":"{kind}","data":[{",".join(rows)}]}}'


def test_trades_are_read_with_the_ids_of_the_venue() -> None:
    for kind in ("snapshot", "update"):
        found = trades_in(KrakenParser([BTC]).parse(frame_of(ROW, ROW.replace(":7,", ":8,"), kind=kind)))
        assert found == [("BTC/USD", Trade(1_695_628_177_708, trade_id, 269_530, 100_000, 1)) for trade_id in (7, 8)]


def test_a_number_longer_than_a_float_keeps_every_digit() -> None:
    price = "8.000000000000003"
    assert repr(float(price)) != price
    row = ROW.replace("BTC/USD", "PEPE/USD").replace("26953.0", price)
    ((_, trade),) = trades_in(KrakenParser([PEPE]).parse(frame_of(row)))
    assert trade.price_ticks == 8_000_000_000_000_003


@pytest.mark.parametrize(("text", "ticks"), [("26953", 269_530), ("2.6953e4", 269_530), ('"26953.0"', 269_530)])
def test_a_number_may_be_whole_or_have_an_exponent(text: str, ticks: int) -> None:
    ((_, trade),) = trades_in(KrakenParser([BTC]).parse(frame_of(ROW.replace("26953.0", text))))
    assert trade.price_ticks == ticks


def test_one_bad_trade_does_not_cost_the_others() -> None:
    events = KrakenParser([BTC]).parse(frame_of(ROW, ROW.replace("sell", "sold"), ROW.replace(":7,", ":8,")))
    assert [trade.id for _, trade in trades_in(events)] == [7, 8]
    assert [event.reason for event in events if isinstance(event, Refused)] == ["bad_side"]


def test_a_book_comes_with_its_checksum() -> None:
    bids, asks = (
        '[{"price":45283.5,"qty":0.10000000}]',
        '[{"price":45285.2,"qty":0.00100000},{"price":45286.4,"qty":0}]',
    )
    parser = KrakenParser([BTC])
    (event,) = parser.parse(BOOK % ("snapshot", bids, asks, 17, ""))
    levels = [(452_835, 10_000_000)], [(452_852, 100_000), (452_864, 0)]
    assert event == DepthEvent("BTC/USD", -1, -1, -1, -1, *levels, True, 17)
    (event,) = parser.parse(BOOK % ("update", bids, asks, 17, ',"timestamp":"2023-10-06T17:35:55.440295Z"'))
    assert event == DepthEvent("BTC/USD", 1_696_613_755_440, -1, -1, -1, *levels, False, 17)


def test_the_checksum_of_krakens_own_example_is_that_of_its_ticks_and_lots() -> None:
    """The example in the guide to the checksums of v2."""
    asks = "45285.2 0.00100000 45286.4 1.54571953 45286.6 1.54571109 45289.6 1.54560911 45290.2 0.15890660 "
    asks += "45291.8 1.54553491 45294.7 0.04454749 45296.1 0.35380000 45297.5 0.09945542 45299.5 0.18772827"
    bids = "45283.5 0.10000000 45283.4 1.54582015 45282.1 0.10000000 45281.0 0.10000000 45280.3 1.54592586 "
    bids += "45279.0 0.07990000 45277.6 0.03310103 45277.5 0.30000000 45277.3 1.54602737 45276.6 0.15445238"
    (event,) = KrakenParser([BTC]).parse(BOOK % ("snapshot", _levels(bids), _levels(asks), 3_310_070_434, ""))
    assert isinstance(event, DepthEvent)
    assert BookSync(KrakenRule(BOOK_LEVELS)).feed(event) is Outcome.SYNCED
    assert BookSync(KrakenRule(BOOK_LEVELS)).feed(event._replace(checksum=1)) is Outcome.BROKEN


def test_a_ticker_is_a_quote() -> None:
    data = '{"symbol":"BTC/USD","bid":0.5,"bid_qty":10.0,"ask":0.6,"ask_qty":3,"last":0.5}'
    (event,) = KrakenParser([BTC]).parse(f'{{"channel":"ticker","type":"update","data":[{data}]}}')
    assert event == QuoteEvent("BTC/USD", -1, -1, 5, 10 * 10**8, 6, 3 * 10**8)


@pytest.mark.parametrize(
    "frame",
    [
        '{"channel":"heartbeat"}',
        '{"channel":"status","type":"update","data":[{"system":"online"}]}',
        '{"method":"subscribe","result":{"channel":"trade","symbol":"BTC/USD"},"success":true}',
        '{"method":"pong","req_id":101}',
    ],
)
def test_answers_and_heartbeats_give_nothing(frame: str) -> None:
    assert list(KrakenParser([BTC]).parse(frame)) == []


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("26953.0", "0", "bad_price"),
        ("26953.0", "0.0", "bad_price"),
        ("26953.0", "-26953.0", "bad_price"),
        ("26953.0", "true", "bad_price"),
        ("26953.0", "null", "bad_price"),
        ("26953.0", "[26953.0]", "bad_shape"),
        ("26953.0", "26953.05", "too_fine"),
        ("26953.0", "1e400", "bad_price"),
        ("26953.0", "NaN", "bad_json"),
        ("26953.0", "Infinity", "bad_json"),
        ("0.00100000", "0", "bad_size"),
        ("0.00100000", "1e-30", "bad_size"),
        ('"trade_id":7', '"trade_id":"7"', "bad_id"),
        ('"trade_id":7', '"trade_id":7.0', "bad_id"),
        ('"trade_id":7', '"trade_id":9223372036854775808', "bad_id"),
        ('"trade_id":7,', "", "missing_field"),
        ("708706Z", "708706", "bad_time"),
        ("2023-09-25", "2023-09-31", "bad_time"),
        ("sell", "SELL", "bad_side"),
        ("BTC/USD", "XBT/USD", "unknown_symbol"),
    ],
)
def test_a_trade_with_a_field_that_is_no_good_is_refused_with_the_reason(old: str, new: str, reason: str) -> None:
    assert _reason(KrakenParser([BTC]).parse(frame_of(ROW.replace(old, new)))) == reason


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("", "bad_json"),
        (b"\xff", "bad_json"),
        ("[" * 100_000, "bad_json"),
        ("9" * 10_000, "bad_json"),
        ("[]", "bad_shape"),
        ("{}", "unknown_event"),
        ('{"channel":"gift"}', "unknown_event"),
        ('{"channel":[]}', "bad_shape"),
        ('{"channel":"trade"}', "missing_field"),
        ('{"channel":"trade","type":"gift","data":[]}', "bad_shape"),
        ('{"channel":"trade","type":"update","data":{}}', "bad_shape"),
        ('{"channel":"trade","type":"update","data":["a"]}', "bad_shape"),
        ('{"error":"Currency pair not supported ABC/USD","method":"subscribe","success":false}', "venue_error"),
        (BOOK % ("update", "[]", "[]", "-1", ""), "bad_sequence"),
        (BOOK % ("update", "[]", '["ab"]', "1", ""), "bad_shape"),
        (BOOK % ("update", "[]", '[{"price":1.0}]', "1", ""), "missing_field"),
    ],
)
def test_a_frame_that_is_no_good_is_refused_with_the_reason(frame: bytes | str, reason: str) -> None:
    assert _reason(KrakenParser([BTC]).parse(frame)) == reason


def test_the_names_of_a_market() -> None:
    assert [socket_name(name) for name in ("XBT-USD", "XBT/USD", "BTC-USD", "XDG-EUR")] == [
        *["BTC/USD"] * 3,
        "DOGE/EUR",
    ]
    assert [rest_name(name) for name in ("BTC/USD", "DOGE/EUR", "SOL/USD")] == ["XBTUSD", "XDGEUR", "SOLUSD"]


def _levels(text: str) -> str:
    pairs = zip(text.split()[::2], text.split()[1::2], strict=True)
    return "[" + ",".join(f'{{"price":{price},"qty":{size}}}' for price, size in pairs) + "]"


def _reason(events: Any) -> str:
    (event,) = events
    assert isinstance(event, Refused) and len(event.detail) < 300, event
    return event.reason
