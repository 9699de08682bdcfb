"""Faults of messages and of markets: each does what it says, to the id, and says in the log what it did."""

from collections import Counter
from typing import Any

import orjson
import pytest
from websockets.exceptions import ConnectionClosed

from infra.exchange import Drop, Duplicate, Garbage, Halt, Reorder, Reset, Skew, StreamGap
from infra.exchange.faults import Form
from infra.exchange.streams import Kind
from tests.kit.exchange import START_MS, SYMBOL, Served, served, still

TRADES = "/ws/btcusdt@trade"


def truth_ids(running: Served, first_id: int = 0) -> list[int]:
    return running.exchange.market(SYMBOL).trades(first_id).ids


def logged_ids(running: Served) -> list[tuple[int, int]]:
    (injection,) = running.exchange.faults
    assert injection.done
    return list(injection.trades[SYMBOL])


async def test_dropped_messages_are_missing_and_in_the_log() -> None:
    async with served(still(history_ms=5_000)) as running, running.feed(TRADES) as feed:
        running.exchange.advance(2_000)
        before = await feed.trade_ids()
        injection = running.exchange.inject(Drop(SYMBOL, count=4))
        assert (injection.market_ms, injection.done) == (running.exchange.now_ms, False)
        running.exchange.advance(5_000)
        after = await feed.trade_ids()
        gone = [(before[-1] + 1, before[-1] + 4)]
        assert after == truth_ids(running, before[-1] + 5)
        assert logged_ids(running) == running.exchange.missed(SYMBOL) == gone
        rest = await running.get("historicalTrades", symbol=SYMBOL, fromId=gone[0][0], limit=4)
        assert [each["id"] for each in rest] == list(range(gone[0][0], gone[0][1] + 1))


async def test_a_fault_waits_for_a_listener() -> None:
    async with served(still()) as running:
        running.exchange.inject(Drop(SYMBOL, count=2))
        running.exchange.inject(StreamGap(SYMBOL, count=2))
        running.exchange.advance(5_000)
        assert not any(injection.done for injection in running.exchange.faults)
        async with running.feed(TRADES):
            running.exchange.advance(5_000)
            assert all(injection.done for injection in running.exchange.faults)


async def test_only_the_chosen_connection_is_hit() -> None:
    async with served(still()) as running, running.feed(TRADES) as hit, running.feed(TRADES) as spared:
        number = running.exchange.hub.open[0].number
        running.exchange.inject(Drop(SYMBOL, count=3, connection=number))
        running.exchange.advance(5_000)
        ids = truth_ids(running)
        assert await hit.trade_ids() == ids[3:]
        assert await spared.trade_ids() == ids
        # Somebody got them.
        assert running.exchange.missed(SYMBOL) == []
        (injection,) = running.exchange.faults
        assert injection.connections == [number]


async def test_only_the_chosen_kind_of_stream_is_hit() -> None:
    kinds: tuple[Kind, ...] = ("trade", "aggTrade", "depth", "partial", "bookTicker", "kline")
    path = "/stream?streams=" + "/".join(
        f"btcusdt@{name}" for name in ("trade", "aggTrade", "depth@100ms", "depth5@100ms", "bookTicker", "kline_1s")
    )
    async with served(still()) as running, running.feed(path) as hit:
        async with running.feed(path) as spared:
            number = running.exchange.hub.open[0].number
            for kind in kinds:
                running.exchange.inject(Drop(SYMBOL, count=2, stream=kind, connection=number))
            running.exchange.advance(8_000)
            missing = Counter(await _names(spared)) - Counter(await _names(hit))
            assert set(missing.values()) == {2} and len(missing) == 6


async def _names(feed: Any) -> list[str]:
    return [message["stream"] for message in await feed.messages()]


async def test_duplicates_come_right_after_the_original() -> None:
    async with served(still()) as running, running.feed(TRADES) as feed:
        running.exchange.inject(Duplicate(SYMBOL, count=3))
        running.exchange.advance(5_000)
        ids = truth_ids(running)
        assert await feed.trade_ids() == [ids[0], ids[0], ids[1], ids[1], ids[2], ids[2], *ids[3:]]
        assert logged_ids(running) == [(ids[0], ids[2])]
        assert running.exchange.missed(SYMBOL) == []


async def test_reordered_messages_come_later_and_all_come() -> None:
    async with served(still()) as running, running.feed(TRADES) as feed:
        running.exchange.inject(Reorder(SYMBOL, count=2, distance=3))
        running.exchange.advance(5_000)
        a, b, c, d, e, f, g, h, *rest = truth_ids(running)
        assert await feed.trade_ids() == [b, c, d, a, f, g, h, e, *rest]
        assert logged_ids(running) == [(a, a), (e, e)]
        assert running.exchange.missed(SYMBOL) == []


async def test_a_gap_is_on_no_stream_and_rest_has_it() -> None:
    async with served(still()) as running, running.feed(TRADES) as trades:
        async with running.feed("/ws/btcusdt@aggTrade") as aggregates:
            running.exchange.advance(2_000)
            running.exchange.inject(StreamGap(SYMBOL, count=10))
            running.exchange.advance(10_000)
            ((first_id, last_id),) = logged_ids(running)
            assert last_id - first_id >= 9
            told = await trades.trade_ids()
            assert told == [each for each in truth_ids(running) if not first_id <= each <= last_id]
            assert running.exchange.missed(SYMBOL) == [(first_id, last_id)]
            folded = [each for message in await aggregates.messages() for each in range(message["f"], message["l"] + 1)]
            assert folded == told
            rest = await running.get("historicalTrades", symbol=SYMBOL, fromId=first_id, limit=last_id - first_id + 1)
            assert [each["id"] for each in rest] == list(range(first_id, last_id + 1))


async def test_a_halt_is_quiet_and_nothing_is_missing() -> None:
    async with served(still("BTCUSDT", "ETHUSDT")) as running:
        path = "/stream?streams=btcusdt@trade/btcusdt@depth@100ms/btcusdt@bookTicker"
        async with running.feed(path) as feed, running.feed("/ws/ethusdt@trade") as other:
            running.exchange.advance(3_000)
            await feed.frames()
            await other.frames()
            injection = running.exchange.inject(Halt(SYMBOL, ms=60_000, announce=True))
            assert injection.until_ms == START_MS + 63_000
            running.exchange.advance(59_900)
            assert await feed.frames() == [] and await other.frames() != []
            statuses = {each["symbol"]: each["status"] for each in (await running.get("exchangeInfo"))["symbols"]}
            assert statuses == {"BTCUSDT": "HALT", "ETHUSDT": "TRADING"}
            running.exchange.advance(5_000)
            assert await feed.frames() != []
            assert {each["status"] for each in (await running.get("exchangeInfo"))["symbols"]} == {"TRADING"}
        trades = running.exchange.market(SYMBOL).trades()
        assert trades.ids == list(range(trades.ids[0], trades.ids[-1] + 1))
        assert not [ts_ms for ts_ms in trades.ts_ms if START_MS + 3_000 < ts_ms < START_MS + 63_000]
        assert running.exchange.missed(SYMBOL) == []
        rows = await running.get("klines", symbol=SYMBOL, interval="1s", startTime=START_MS + 10_000, limit=40)
        assert len(rows) == 40 and all(row[8] == 0 for row in rows)


@pytest.mark.parametrize("form", ["truncated", "mutated", "binary", "huge", "nested", "empty"])
@pytest.mark.parametrize("replace", [False, True])
async def test_garbage_comes_before_the_message_or_in_its_place(form: Form, replace: bool) -> None:
    async with served(still()) as running, running.feed(TRADES, max_size=None) as feed:
        running.exchange.inject(Garbage(SYMBOL, form, count=3, replace=replace, size_bytes=100_000))
        running.exchange.advance(5_000)
        ids = truth_ids(running)
        frames = await feed.frames()
        good = [trade_id for frame in frames if (trade_id := _good_trade(frame))]
        assert good == (ids[3:] if replace else ids)
        assert len(frames) == len(ids) + (0 if replace else 3)
        (injection,) = running.exchange.faults
        assert list(injection.trades.get(SYMBOL, [])) == ([(ids[0], ids[2])] if replace else [])
        if form == "huge":
            assert max(map(len, frames)) > 100_000


def _good_trade(frame: str | bytes) -> int | None:
    """The id, if the frame is a trade with every field as it must be."""
    try:
        message = orjson.loads(frame)
        price, size = message["p"], message["q"]
        whole = all(type(message[name]) is int and 0 <= message[name] < 1 << 63 for name in ("t", "T", "E"))
        decimal = all(isinstance(text, str) and len(text.partition(".")[2]) == 8 for text in (price, size))
        return message["t"] if whole and decimal and type(message["m"]) is bool else None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


@pytest.mark.parametrize(("form", "code"), [("bad_utf8", 1007), ("bad_frame", 1002), ("huge", 1009)])
async def test_some_garbage_makes_a_client_close(form: Form, code: int) -> None:
    async with served(still()) as running, running.feed(TRADES) as feed:
        running.exchange.inject(Garbage(SYMBOL, form, count=1))
        running.exchange.advance(5_000)
        with pytest.raises(ConnectionClosed):
            await feed.frames()
        assert feed.socket.protocol.close_sent is not None and feed.socket.protocol.close_sent.code == code


async def test_mutated_messages_are_wrong_in_every_kind_of_stream() -> None:
    names = ("trade", "aggTrade", "depth@100ms", "bookTicker", "depth5@100ms")
    kinds: tuple[Kind, ...] = ("trade", "aggTrade", "depth", "bookTicker", "partial")
    path = "/stream?streams=" + "/".join(f"btcusdt@{name}" for name in names)
    async with served(still()) as running, running.feed(path) as feed, running.feed(path) as spared:
        number = running.exchange.hub.open[0].number
        for kind in kinds:
            running.exchange.inject(Garbage(SYMBOL, count=40, replace=True, stream=kind, connection=number))
        running.exchange.advance(20_000)
        found, good = set(await feed.frames()), set(await spared.frames())
        assert len(found - good) > 150
        good_shapes = set(map(_shape, good))
        assert not [frame for frame in found - good if _shape(frame) in good_shapes]


def _shape(frame: str | bytes) -> object:
    """Names of the fields and what kind of value each holds; a number or text that can't be one is of no kind."""
    data = orjson.loads(frame)["data"]
    return tuple((name, _value_kind(value)) for name, value in data.items())


def _value_kind(value: object) -> str:
    if isinstance(value, str):
        whole, _, fraction = value.partition(".")
        plain = whole.isascii() and whole.isdigit() and len(fraction) == 8 and fraction.isdigit()
        return "decimal" if plain else f"text {value.isalpha()}"
    if type(value) is int:
        return "whole" if value >= 0 else "negative"
    return "levels" if isinstance(value, list) else str(value)


async def test_skew_moves_the_venues_clock_and_not_the_trades() -> None:
    async with served(still()) as running, running.feed(TRADES) as feed:
        running.exchange.inject(Skew(ms=-90_000))
        running.exchange.advance(2_000)
        assert await running.get("time") == {"serverTime": START_MS + 2_000 - 90_000}
        messages = await feed.messages()
        assert {each["E"] - each["T"] for each in messages} == {-90_000}
        assert [each["T"] for each in messages] == running.exchange.market(SYMBOL).trades().ts_ms
        running.exchange.inject(Skew(ms=0))
        assert (await running.get("time"))["serverTime"] == running.exchange.now_ms


def test_a_halt_within_a_halt_makes_it_longer() -> None:
    exchange = still()
    exchange.advance(2_000)
    exchange.inject(Halt(SYMBOL, ms=5_000))
    exchange.advance(3_000)
    assert exchange.inject(Halt(SYMBOL, ms=5_000)).until_ms == START_MS + 12_000
    exchange.advance(30_000)
    ts_ms = exchange.market(SYMBOL).trades().ts_ms
    assert not [each for each in ts_ms if START_MS + 2_000 < each < START_MS + 12_000]
    assert [each for each in ts_ms if each < START_MS + 14_000]


async def test_a_reset_in_the_middle_of_time_tells_the_last_trade_it_sent() -> None:
    async with served(still()) as running, running.feed(TRADES):
        running.exchange.plan(Reset(), START_MS + 2_345)
        running.exchange.advance(5_000)
        async with running.feed(TRADES):
            running.exchange.advance(5_000)
        trades = running.exchange.market(SYMBOL).trades()
        before = [each.id for each in trades.rows() if each.ts_ms <= START_MS + 2_345]
        ((_, last_id),) = logged_ids(running)
        assert last_id == before[-1]
        after = [each.id for each in trades.rows() if each.ts_ms > START_MS + 5_000]
        assert running.exchange.missed(SYMBOL) == [(last_id + 1, after[0] - 1)]


async def test_a_planned_fault_acts_at_its_market_time() -> None:
    async with served(still()) as running, running.feed(TRADES) as feed:
        running.exchange.plan(StreamGap(SYMBOL, count=1), START_MS + 4_321)
        running.exchange.advance(10_000)
        (injection,) = running.exchange.faults
        assert injection.market_ms == START_MS + 4_321
        ((first_id, _),) = injection.trades[SYMBOL]
        trades = running.exchange.market(SYMBOL).trades()
        at = trades.ids.index(first_id)
        assert trades.ts_ms[at - 1] <= START_MS + 4_321 <= trades.ts_ms[at]
        assert first_id not in await feed.trade_ids()
