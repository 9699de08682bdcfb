import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from tests.workers.venues.recorded import (
    Plain,
    binance_frames,
    listing,
    listings_of,
    messages,
    parsed,
    same,
    trades_in,
    venue_frames,
)
from workers.venues.binance.wire import BinanceParser, TradeIds, snapshot
from workers.venues.shared.base import Closing, DepthEvent, NoTrade, QuoteEvent, Refused
from workers.venues.shared.fields import FieldScales

USDM = "binance_usdm_btcusdt/btcusdt_20240808.gz"
SPOT = [f"binance_spot_ethusdt/ethusdt_2024080{day}.gz" for day in (8, 9)]
# ETHUSDT's step is 0.0001, but its book has a level with five decimals (binance._printed).
BTC, ETH = listing("BTCUSDT", 2, 3), listing("ETHUSDT", 2, 8)
NOW_MS = 1_723_161_256_322


def plain(frames: list[bytes], event: str, id_field: str) -> list[Plain]:
    found = (message["data"] for message in messages(frames) if message.get("data", {}).get("e") == event)
    return [
        Plain(d["s"], d["T"], d[id_field], Decimal(d["p"]), Decimal(d["q"]), "sell" if d["m"] else "buy") for d in found
    ]


def streamed(path: str) -> list[bytes]:
    """Frames without the snapshots by REST that are written among them."""
    return [frame for frame in binance_frames(path) if frame.startswith(b'{"stream"')]


def test_every_trade_of_the_futures_recording_is_read_and_none_is_missing() -> None:
    frames = streamed(USDM)
    found = [row for _, events in parsed(BinanceParser([BTC]), frames) for row in trades_in(events)]
    expected = plain(frames, "trade", "t")
    assert len(expected) == 21_313
    assert same(found, expected, [BTC])
    assert [row.id for _, row in found] == list(range(expected[0].id, expected[0].id + 21_313))


def test_every_trade_of_the_spot_recording_is_read_and_none_is_missing() -> None:
    frames = [frame for path in SPOT for frame in streamed(path)]
    found = [row for _, events in parsed(BinanceParser([ETH]), frames) for row in trades_in(events)]
    expected = plain(frames, "trade", "t")
    assert len(expected) == 14_515
    assert same(found, expected, [ETH])
    assert [row.id for _, row in found] == list(range(expected[0].id, expected[0].id + 14_515))


@pytest.mark.parametrize(("name", "count"), [("BINANCE.ws.1.0", 2), ("BINANCE_FUTURES.ws.1.0", 91)])
def test_recorded_aggregates_are_read_to_the_last_one(name: str, count: int) -> None:
    frames = venue_frames(name)
    listings = listings_of(_numbers(frames))
    found = [row for _, events in parsed(BinanceParser(listings, "aggTrade"), frames) for row in trades_in(events)]
    expected = plain(frames, "aggTrade", "a")
    assert len(expected) == count
    assert same(found, expected, listings)


@pytest.mark.parametrize("name", ["BINANCE.ws.1.0", "BINANCE_FUTURES.ws.1.0"])
def test_every_recorded_book_and_quote_is_read(name: str) -> None:
    frames = venue_frames(name)
    listings = listings_of(_numbers(frames))
    events = [event for _, each in parsed(BinanceParser(listings), frames) for event in each]
    kinds = [message["stream"].split("@")[1] for message in messages(frames)]
    assert sum(isinstance(event, DepthEvent) for event in events) == kinds.count("depth")
    assert sum(isinstance(event, QuoteEvent) for event in events) == kinds.count("bookTicker")
    assert trades_in(events) == []


def test_the_updates_of_the_futures_book_name_the_one_before() -> None:
    depths = _depths(BinanceParser([BTC]), streamed(USDM))
    assert all(after.previous_id == before.last_id for before, after in pairwise(depths))
    assert len(depths) == 6_551


@pytest.mark.parametrize("path", SPOT)
def test_the_updates_of_the_spot_book_follow_each_other(path: str) -> None:
    depths = _depths(BinanceParser([ETH]), streamed(path))
    assert all(after.first_id == before.last_id + 1 for before, after in pairwise(depths))
    assert all(depth.previous_id == -1 for depth in depths)


def test_levels_are_those_of_the_frame() -> None:
    frame = next(frame for frame in streamed(SPOT[0]) if b"depthUpdate" in frame)
    (event,) = BinanceParser([ETH]).parse(frame)
    data = json.loads(frame)["data"]
    assert isinstance(event, DepthEvent)
    assert (event.first_id, event.last_id, event.ts_ms, event.snapshot) == (data["U"], data["u"], data["E"], False)
    assert event.bids == [(round(float(price) * 100), round(float(size) * 10**8)) for price, size in data["b"]]
    assert event.asks == [(round(float(price) * 100), round(float(size) * 10**8)) for price, size in data["a"]]


def test_a_snapshot_by_rest_is_the_whole_book() -> None:
    frame = next(frame for frame in binance_frames(SPOT[0]) if not frame.startswith(b'{"stream"'))
    answer = json.loads(frame)
    book = snapshot(FieldScales(ETH), answer, 5_000)
    assert book.snapshot
    assert (book.first_id, book.last_id, book.ts_ms) == (answer["lastUpdateId"], answer["lastUpdateId"], -1)
    assert (len(book.bids), len(book.asks)) == (len(answer["bids"]), len(answer["asks"]))
    assert book.bids[0] == (268_380, 302_920_000)


def test_the_taker_of_a_trade_made_by_the_buyer_sold() -> None:
    ((_, sold),) = trades_in(BinanceParser([BTC]).parse(frame_of(m=True)))
    ((_, bought),) = trades_in(BinanceParser([BTC]).parse(frame_of(m=False)))
    assert (bought.side, sold.side) == (0, 1)


def test_what_was_settled_off_the_book_takes_an_id_and_is_no_trade() -> None:
    parser = BinanceParser([BTC])
    for kind in ("INSURANCE_FUND", "ADL", "NA"):
        assert list(parser.parse(frame_of(X=kind, p="0", q="0"))) == [NoTrade("BTCUSDT", NOW_MS, 7)]
    assert _reason(parser.parse(frame_of(X="GIFT"))) == "unknown_event"


def test_a_notice_of_shutdown_is_passed_on_in_both_forms() -> None:
    notice = {"e": "serverShutdown", "E": NOW_MS}
    parser = BinanceParser([BTC])
    assert list(parser.parse(json.dumps(notice))) == [Closing()]
    assert list(parser.parse(json.dumps({"stream": "!serverShutdown", "data": notice}))) == [Closing()]


@pytest.mark.parametrize(
    "frame",
    [
        '{"result":null,"id":1}',
        '{"result":["btcusdt@trade"],"id":3}',
        '{"stream":"btcusdt@kline_1m","data":{"e":"kline"}}',
        '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade"}}',
        '{"stream":"btcusdt@markPrice@1s","data":{}}',
    ],
)
def test_answers_and_streams_we_do_not_read_give_nothing(frame: str) -> None:
    assert list(BinanceParser([BTC]).parse(frame)) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"p": "0"}, "bad_price"),
        ({"p": "0.00"}, "bad_price"),
        ({"p": "-1"}, "bad_price"),
        ({"p": "NaN"}, "bad_price"),
        ({"p": "Infinity"}, "bad_price"),
        ({"p": "1e30"}, "too_great"),
        ({"p": "1e99"}, "bad_price"),
        ({"p": "61800.305"}, "too_fine"),
        ({"q": "0.0061"}, "too_fine"),
        ({"p": "6_1800"}, "bad_price"),
        ({"p": " 61800"}, "bad_price"),
        ({"p": "+61800"}, "bad_price"),
        ({"p": "٦١٨٠٠"}, "bad_price"),
        ({"p": ""}, "bad_price"),
        ({"p": "9" * 200}, "bad_price"),
        ({"p": 61800.3}, "bad_price"),
        ({"p": None}, "bad_price"),
        ({"p": True}, "bad_price"),
        ({"p": ["1"]}, "bad_shape"),
        ({"p": ...}, "missing_field"),
        ({"q": "0.000"}, "bad_size"),
        ({"q": "9007199254740.993"}, "too_great"),
        ({"q": "9223372036854775.808"}, "too_great"),
        ({"p": "99999999999999"}, "too_great"),
        ({"q": 6}, "bad_size"),
        ({"q": ...}, "missing_field"),
        ({"T": 0}, "bad_time"),
        ({"T": -1}, "bad_time"),
        ({"T": 1_723_161_256_322_123}, "bad_time"),
        ({"T": "1723161256322"}, "bad_time"),
        ({"T": 1.5}, "bad_time"),
        ({"T": True}, "bad_time"),
        ({"t": -1}, "bad_id"),
        ({"t": 1 << 63}, "bad_id"),
        ({"t": 1 << 64}, "bad_id"),
        ({"t": "7"}, "bad_id"),
        ({"t": None}, "bad_id"),
        ({"m": 1}, "bad_side"),
        ({"m": "true"}, "bad_side"),
        ({"m": None}, "bad_side"),
        ({"m": ...}, "missing_field"),
        ({"s": "ETHUSDT"}, "unknown_symbol"),
        ({"s": ["BTCUSDT"]}, "unknown_symbol"),
        ({"e": "aggTrade"}, "unknown_event"),
        ({"e": ...}, "missing_field"),
    ],
)
def test_a_trade_with_a_field_that_is_no_good_is_refused_with_the_reason(fields: dict[str, Any], reason: str) -> None:
    assert _reason(BinanceParser([BTC]).parse(frame_of(**fields))) == reason


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "bad_json"),
        (b"\xff\xfe", "bad_json"),
        ("\ud800", "bad_json"),
        ("[" * 100_000, "bad_json"),
        ("[]", "bad_shape"),
        ("null", "bad_shape"),
        ('"trade"', "bad_shape"),
        ("{}", "unknown_event"),
        ('{"stream":[],"data":{}}', "bad_shape"),
        ('{"stream":"btcusdt@trade"}', "missing_field"),
        ('{"stream":"btcusdt@trade","data":[]}', "bad_shape"),
        ('{"stream":"btcusdt@trades","data":{}}', "unknown_event"),
        ('{"stream":"xrpusdt@trade","data":{}}', "unknown_symbol"),
        ('{"stream":7,"data":{}}', "unknown_symbol"),
        ('{"code":2,"msg":"Invalid request"}', "venue_error"),
        ('{"error":{"code":2,"msg":"Invalid request"},"id":1}', "venue_error"),
        ('{"e":"trade","s":"BTCUSDT"}', "unknown_event"),
    ],
)
def test_a_frame_that_is_no_good_is_refused_with_the_reason(frame: bytes | str, reason: str) -> None:
    assert _reason(BinanceParser([BTC]).parse(frame)) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"b": [["1", "2"], "34"]}, "bad_shape"),
        ({"b": ["12", "34"]}, "bad_shape"),
        ({"b": [["1"]]}, "bad_shape"),
        ({"b": [[1, 2]]}, "bad_price"),
        ({"b": [["0", "2"]]}, "bad_price"),
        ({"b": [["1", "-2"]]}, "bad_size"),
        ({"b": {}}, "bad_shape"),
        ({"u": 4}, "bad_sequence"),
        ({"U": "5"}, "bad_sequence"),
        ({"E": None}, "bad_time"),
        ({"s": "ETHUSDT"}, "unknown_symbol"),
        ({"a": ...}, "missing_field"),
    ],
)
def test_a_book_that_is_no_good_is_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    data = {"e": "depthUpdate", "E": NOW_MS, "s": "BTCUSDT", "U": 5, "u": 6, "b": [["1.5", "0.000"]], "a": []}
    parser = BinanceParser([BTC])
    (good,) = parser.parse(_frame("btcusdt@depth@100ms", data))
    assert isinstance(good, DepthEvent) and good.bids == [(150, 0)]
    assert _reason(parser.parse(_frame("btcusdt@depth@100ms", data | changes))) == reason


def test_a_level_finer_than_the_listing_does_not_cost_the_book() -> None:
    bids = [["1.5", "1"], ["1.505", "1"], ["1.4", "0.0001"], ["1.3", "2.0000"]]
    data = {"e": "depthUpdate", "E": NOW_MS, "s": "BTCUSDT", "U": 5, "u": 6, "b": bids, "a": [["1.6", "1"]]}
    book, *refused = BinanceParser([BTC]).parse(_frame("btcusdt@depth", data))
    assert isinstance(book, DepthEvent)
    assert book.bids == [(150, 1_000), (130, 2_000)] and book.asks == [(160, 1_000)]
    assert [_reason([each]) for each in refused] == ["too_fine", "too_fine"]


def test_the_two_kinds_of_ids_never_mix() -> None:
    both = {"a": 3, "t": 7}
    for kind, trade_id in (("trade", 7), ("aggTrade", 3)):
        ids: TradeIds = "trade" if kind == "trade" else "aggTrade"
        frame = _frame(f"btcusdt@{kind}", TRADE | both | {"e": kind})
        assert [row.id for _, row in trades_in(BinanceParser([BTC], ids).parse(frame))] == [trade_id]
        other: TradeIds = "aggTrade" if kind == "trade" else "trade"
        assert list(BinanceParser([BTC], other).parse(frame)) == []


TRADE: dict[str, Any] = {"e": "trade", "E": NOW_MS, "T": NOW_MS, "s": "BTCUSDT", "t": 7, "p": "61800.30", "q": "0.006"}
TRADE |= {"X": "MARKET", "m": False}


def frame_of(**fields: Any) -> str:
    return _frame("btcusdt@trade", TRADE | fields)


def _frame(stream: str, data: dict[str, Any]) -> str:
    return json.dumps({"stream": stream, "data": {key: value for key, value in data.items() if value is not ...}})


def _reason(events: Any) -> str:
    (event,) = events
    assert isinstance(event, Refused) and len(event.detail) < 300, event
    return event.reason


def _depths(parser: BinanceParser, frames: list[bytes]) -> list[DepthEvent]:
    return [event for _, events in parsed(parser, frames) for event in events if isinstance(event, DepthEvent)]


def _numbers(frames: list[bytes]) -> list[tuple[str, str, str]]:
    """Every price and size of the frames, for their decimals."""
    found = []
    for message in messages(frames):
        data = message["data"]
        levels = data.get("b", []) + data.get("a", []) if data.get("e") == "depthUpdate" else []
        if "B" in data:
            levels = [(data["b"], data["B"]), (data["a"], data["A"])]
        if data.get("e") == "aggTrade":
            levels = [(data["p"], data["q"])]
        found += [(data["s"], price, size) for price, size in levels]
    return found
