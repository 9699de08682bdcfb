"""Mutated frames: no parser raises, and no trade comes out that a strict reading of the same JSON does not contain.

The strict readers here share nothing with the parsers but the JSON library's grammar. A failure names the seed and
prints the frame.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from common.market.trade import SIDE_NAMES
from tests.scale import scaled
from tests.workers.venues.recorded import Plain, binance_frames, listing, listings_of, trades_in, venue_frames
from workers.venues.binance.wire import BinanceParser
from workers.venues.coinbase.client import CoinbaseParser
from workers.venues.kraken.client import KrakenParser
from workers.venues.kraken.v1 import KrakenV1Parser
from workers.venues.shared.base import Listing, Parser, Refused, TradesEvent
from workers.venues.shared.fields import exact_json, read_frame

FRAMES = scaled(200_000)
SEED = 20_240_808
# Whole books are left out: a mutation of one level among thousands shows nothing that a small one does not.
LONGEST = 1_500

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null')
NUMBER = re.compile(r"(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?", re.ASCII)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(\d{1,9}))?Z", re.ASCII)

HOSTILE = [
    text.encode()
    for text in (
        *("0", "1", "-1", "-0", "1.5", "1e5", "1E400", "NaN", "Infinity", "null", "true", "false", "[]", "{}", '""'),
        *("9007199254740992", "9223372036854775807", "9223372036854775808", "18446744073709551616", "9" * 400),
        *('"0"', '"0.00000000"', '"-5"', '"1e5"', '"1E-9"', '"1_0"', '" 1"', '"1 "', '"+1"', '"007"', '"5."', '".5"'),
        *(
            '"NaN"',
            '"Infinity"',
            '"1e999999999"',
            '"٣"',
            '"0x10"',
            '"1,5"',
            '"61800.300000000001"',
            '"\\ud800"',
            "[[]]",
        ),
        *('"buy"', '"sell"', '"b"', '"s"', '"BTCUSDT"', '"MARKET"', '"ADL"', '"trade"', '"match"', '"snapshot"'),
        *('"2021-04-17T16:43:60Z"', '"2021-02-30T16:43:37Z"', '"1969-12-31T23:59:59Z"', '"9999-12-31T23:59:59.999Z"'),
        *("1723161256322", "1723161256322123", "0.1723161256322", '"1618678142.557535"', '"1618678142.5575359"'),
    )
]


@dataclass(frozen=True)
class Wire:
    """What is fuzzed: a parser, good frames for it, and a strict reading of a frame's JSON."""

    parser: Parser
    listings: Sequence[Listing]
    frames: Sequence[bytes]
    strict: Callable[[Any], Iterator[Plain]]


def test_mutated_frames_of_binance_spot() -> None:
    eth = [listing("ETHUSDT", 2, 8)]
    frames = [frame for frame in binance_frames("binance_spot_ethusdt/ethusdt_20240808.gz") if b"stream" in frame[:20]]
    _fuzz(Wire(BinanceParser(eth), eth, _mixed(frames), strict_binance("trade", "t")))


def test_mutated_frames_of_binance_usdm() -> None:
    btc = [listing("BTCUSDT", 2, 3)]
    frames = [frame for frame in binance_frames("binance_usdm_btcusdt/btcusdt_20240808.gz") if b"stream" in frame[:20]]
    _fuzz(Wire(BinanceParser(btc), btc, _mixed(frames), strict_binance("trade", "t")))


def test_mutated_frames_of_binance_aggregates() -> None:
    frames = venue_frames("BINANCE_FUTURES.ws.1.0")
    names = {json.loads(frame)["data"]["s"] for frame in frames}
    listings = [listing(name, 5, 0) for name in sorted(names)]
    _fuzz(Wire(BinanceParser(listings, "aggTrade"), listings, _mixed(frames), strict_binance("aggTrade", "a")))


def test_mutated_frames_of_coinbase() -> None:
    frames = [frame for frame in venue_frames("COINBASE.ws.28.0") if b"l2update" not in frame[:20] or frame[-4:] > b"5"]
    names = sorted({m["product_id"] for m in map(json.loads, frames) if "product_id" in m})
    listings = [listing(name, 8, 8) for name in names]
    _fuzz(Wire(CoinbaseParser(listings), listings, _mixed(frames), strict_coinbase))


def test_mutated_frames_of_kraken() -> None:
    listings = [listing("BTC/USD", 1, 8), listing("PEPE/USD", 10, 5)]
    _fuzz(Wire(KrakenParser(listings), listings, KRAKEN_FRAMES, strict_kraken))


def test_a_frame_of_kraken_that_is_read_quickly_is_read_as_the_exact_way_reads_it() -> None:
    """Trades, refusals and what these say of it, to the last digit and the last letter."""
    chance = random.Random(SEED)
    parser = KrakenParser([listing("BTC/USD", 1, 8), listing("PEPE/USD", 10, 5)])
    spans = [[match.span() for match in TOKEN.finditer(frame)] for frame in KRAKEN_FRAMES]
    quick = 0
    for number in range(FRAMES // 2):
        at = chance.randrange(len(KRAKEN_FRAMES))
        frame = _mutated(chance, KRAKEN_FRAMES[at], spans[at]) if number % 4 else KRAKEN_FRAMES[at]
        quick += bool(parser._usual_trades(frame))
        assert list(parser.parse(frame)) == list(read_frame(frame, exact_json, parser._read)), (
            f"seed {SEED}, frame {number}: {frame!r}"
        )
    assert FRAMES // 8 < quick < FRAMES // 2


def test_mutated_frames_of_kraken_v1() -> None:
    frames = venue_frames("KRAKEN.ws.48.0") + venue_frames("KRAKEN.ws.50.0")
    rows = [m for m in map(json.loads, frames) if isinstance(m, list)]
    numbers = [(m[-1], *row[:2]) for m in rows if m[-2] == "trade" for row in m[1]]
    names = sorted({m[-1] for m in rows})
    listings = [*listings_of(numbers), *(listing(name, 9, 8) for name in names if name not in {n for n, *_ in numbers})]
    _fuzz(Wire(KrakenV1Parser(listings), listings, _mixed(frames), strict_kraken_v1))


@pytest.mark.parametrize("wrong", ["price", "size", "side", "time", "id"])
def test_the_fuzz_notices_a_parser_that_reads_wrong(wrong: str) -> None:
    """The control: without it a checker that never complains would pass."""
    btc = [listing("BTCUSDT", 2, 3)]
    frames = [b for b in binance_frames("binance_usdm_btcusdt/btcusdt_20240808.gz")[:2_000] if b'"e":"trade"' in b]
    with pytest.raises(AssertionError, match="no strict reading"):
        _fuzz(Wire(Careless(BinanceParser(btc), wrong), btc, frames, strict_binance("trade", "t")), 1_000)


class Careless:
    """A parser that gets one field wrong by one."""

    def __init__(self, parser: Parser, wrong: str) -> None:
        self._parser, self._wrong = parser, wrong

    def parse(self, frame: bytes | str) -> Sequence[Any]:
        return [
            self._changed(event) if isinstance(event, TradesEvent) else event for event in self._parser.parse(frame)
        ]

    def _changed(self, event: TradesEvent) -> TradesEvent:
        ts_ms, trade_id, ticks, lots, side = event.rows[0]
        wrong = {
            "time": (ts_ms + 1, trade_id, ticks, lots, side),
            "id": (ts_ms, trade_id + 1, ticks, lots, side),
            "price": (ts_ms, trade_id, ticks + 1, lots, side),
            "size": (ts_ms, trade_id, ticks, lots + 1, side),
            "side": (ts_ms, trade_id, ticks, lots, 1 - side),
        }
        return event._replace(rows=[wrong[self._wrong], *event.rows[1:]])


def _fuzz(wire: Wire, count: int = FRAMES) -> Counter[str]:
    chance = random.Random(SEED)
    spans = [[match.span() for match in TOKEN.finditer(frame)] for frame in wire.frames]
    decimals = {each.name: each.instrument for each in wire.listings}
    seen: Counter[str] = Counter()
    for number in range(count):
        at = chance.randrange(len(wire.frames))
        frame = _mutated(chance, wire.frames[at], spans[at])
        try:
            events = wire.parser.parse(frame)
        except Exception as error:
            raise AssertionError(f"seed {SEED}, frame {number}: {frame!r}") from error
        for event in events:
            if isinstance(event, Refused):
                assert event.reason.isidentifier() and len(event.detail) < 300, event
                seen[event.reason] += 1
        if trades := trades_in(events):
            seen["trades"] += len(trades)
            strict = _strictly(wire, frame)
            for name, trade in trades:
                price = Decimal(trade.price_ticks).scaleb(-decimals[name].price_decimals)
                size = Decimal(trade.size_lots).scaleb(-decimals[name].size_decimals)
                read = Plain(name, trade.ts_ms, trade.id, price, size, SIDE_NAMES[trade.side])
                assert read in strict, f"seed {SEED}, frame {number}: {read} has no strict reading in {frame!r}"
        elif not events:
            seen["nothing"] += 1
    print(f"\n{type(wire.parser).__name__}: {count:,} frames, {dict(seen.most_common())}")
    assert seen["trades"] > count // 50 and len(seen) > 8
    return seen


def _strictly(wire: Wire, frame: bytes) -> list[Plain]:
    try:
        return list(wire.strict(json.loads(frame, parse_float=str)))
    except (ValueError, RecursionError):
        return []


def _mutated(chance: random.Random, frame: bytes, spans: list[tuple[int, int]]) -> bytes:
    kind = chance.random()
    if kind < 0.7:
        # Another value, or a value of another field, in place of a value or a key: JSON all the same.
        start, end = spans[int(chance.random() * len(spans))]
        other, until = spans[int(chance.random() * len(spans))]
        value = frame[other:until] if kind < 0.2 else HOSTILE[int(chance.random() * len(HOSTILE))]
        frame = frame[:start] + value + frame[end:]
    start = int(chance.random() * len(frame))
    end = start + int(chance.random() ** 3 * 40)
    if kind > 0.9:
        # A digit more or another one: what looks most like a good frame.
        return frame[:start] + b"0123456789.-"[int(chance.random() * 12) :][:1] + frame[start + (kind < 0.95) :]
    if kind > 0.85:
        return frame[:start] + bytes([int(chance.random() * 256)]) + frame[start + 1 :]
    if kind > 0.8:
        return frame[:start] + frame[end:]
    if kind > 0.75:
        return frame[:end] + frame[start:]
    if kind > 0.7:
        return frame[:start]
    return frame[:start] + b"7" + frame[start:] if kind > 0.6 else frame


def _mixed(frames: Sequence[bytes]) -> list[bytes]:
    """Trades for the most part, some of everything else."""
    trades, rest = list[bytes](), list[bytes]()
    for frame in frames:
        if len(frame) <= LONGEST:
            is_trade = re.search(rb'"e":"(trade|aggTrade)"|"(last_)?match"|"trade","[A-Z]', frame)
            (trades if is_trade else rest).append(frame)
    chance = random.Random(SEED)
    return trades[:600] + chance.sample(rest, min(len(rest), len(trades[:600]) // 2 + 20))


# The strict readers: each yields the trades of a message, and nothing of which one field is in doubt.


def strict_binance(event: str, id_field: str) -> Callable[[Any], Iterator[Plain]]:
    def read(message: Any) -> Iterator[Plain]:
        if not isinstance(message, dict) or not isinstance(message.get("data"), dict):
            return
        d = message["data"]
        if d.get("e") != event or message.get("stream") != f"{str(d.get('s')).lower()}@{event}":
            return
        if d.get("X", "MARKET") == "MARKET" and isinstance(d.get("m"), bool):
            yield from _plain(d["s"], d.get("T"), d.get(id_field), d.get("p"), d.get("q"), "sell" if d["m"] else "buy")

    return read


def strict_coinbase(message: Any) -> Iterator[Plain]:
    if isinstance(message, dict) and message.get("type") in ("match", "last_match"):
        side = {"sell": "buy", "buy": "sell"}.get(str(message.get("side")))
        if side and isinstance(message["side"], str) and isinstance(message.get("product_id"), str):
            ts_ms, trade_id = _ms(message.get("time")), message.get("trade_id")
            yield from _plain(message["product_id"], ts_ms, trade_id, message.get("price"), message.get("size"), side)


def strict_kraken(message: Any) -> Iterator[Plain]:
    if not isinstance(message, dict) or message.get("channel") != "trade":
        return
    for row in message["data"] if isinstance(message.get("data"), list) else []:
        if isinstance(row, dict) and row.get("side") in ("buy", "sell") and isinstance(row.get("symbol"), str):
            price, size = (_text(row.get(name)) for name in ("price", "qty"))
            yield from _plain(row["symbol"], _ms(row.get("timestamp")), row.get("trade_id"), price, size, row["side"])


def strict_kraken_v1(message: Any) -> Iterator[Plain]:
    if not isinstance(message, list) or len(message) != 4 or not isinstance(message[1], list):
        return
    for place, row in enumerate(message[1]):
        if not isinstance(row, list) or len(row) != 6 or row[3] not in ("b", "s"):
            continue
        if isinstance(row[2], str) and re.fullmatch(r"\d{1,12}(\.\d{1,12})?", row[2], re.ASCII):
            us = Decimal(row[2]) * 1_000_000
            # Halves of a microsecond go up; what is finer than the place of the trade in its id is cut off.
            ts_ms = int((us + Decimal("0.5")) // 1_000)
            yield from _plain(
                message[3], ts_ms, int(us) << 10 | place, row[0], row[1], {"b": "buy", "s": "sell"}[row[3]]
            )


def _plain(name: Any, ts_ms: Any, trade_id: Any, price: Any, size: Any, side: str) -> Iterator[Plain]:
    whole = type(ts_ms) is int and type(trade_id) is int and 0 < ts_ms < 1 << 43 and 0 <= trade_id < 1 << 63
    texts = all(isinstance(each, str) and NUMBER.fullmatch(each) for each in (price, size))
    if whole and texts and Decimal(price) > 0 and Decimal(size) > 0:
        yield Plain(name, ts_ms, trade_id, Decimal(price), Decimal(size), side)


def _text(number: Any) -> str | None:
    """A number of JSON as text; one with decimals is text already."""
    return str(number) if type(number) in (int, str) else None


def _ms(text: Any) -> int | None:
    match = TIME.fullmatch(text) if isinstance(text, str) else None
    try:
        seconds = datetime.strptime(text[:19] + "+0000", "%Y-%m-%dT%H:%M:%S%z").timestamp() if match else None
    except ValueError:
        return None
    return int(seconds) * 1_000 + int(((match[1] or "") + "000")[:3]) if match and seconds is not None else None


def _kraken_frames() -> Iterator[bytes]:
    row = (
        '{"symbol":"%s","side":"%s","price":%s,"qty":%s,"ord_type":"limit","trade_id":%d,'
        '"timestamp":"2023-09-25T07:49:%02d.%06dZ"}'
    )
    chance = random.Random(SEED)
    for n in range(300):
        name, price, size = chance.choice(
            [("BTC/USD", "26953.0", "0.00100000"), ("BTC/USD", "27001", "1"), ("PEPE/USD", "0.0000012345", "4831.7549")]
        )
        rows = [
            row
            % (name, chance.choice(["buy", "sell"]), price, size, 4_665_906 + n + k, n % 60, chance.randrange(10**6))
            for k in range(chance.choice([1, 1, 1, 3]))
        ]
        yield f'{{"channel":"trade","type":"update","data":[{",".join(rows)}]}}'.encode()
    book = (
        '{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":26952.9,"qty":%s}],"asks":[],'
    )
    for n in range(50):
        yield (book % f"0.{n:08}" + '"checksum":2114181697,"timestamp":"2023-10-06T17:35:55.440295Z"}]}').encode()
    yield b'{"channel":"heartbeat"}'
    yield b'{"method":"subscribe","result":{"channel":"trade","symbol":"BTC/USD"},"success":true}'


KRAKEN_FRAMES = list(_kraken_frames())
