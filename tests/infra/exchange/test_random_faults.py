"""Many faults at once: whatever a stream loses is in the log, and REST has it."""

import random
from typing import Any

import orjson
import pytest
from websockets.exceptions import ConnectionClosed

from infra.exchange import (
    Drop,
    Duplicate,
    Exchange,
    Fault,
    Garbage,
    Halt,
    Reorder,
    Reset,
    ServerError,
    SocketCut,
    Stall,
    StreamGap,
)
from infra.exchange.ranges import Ranges
from tests.kit.clocks import FakeClock
from tests.kit.exchange import EASY, START_MS, SYMBOL, Feed, Served, served, simulated
from tests.kit.waiting import wait_until_async

ROUNDS = 40


def any_fault(rng: random.Random) -> Fault:
    count = rng.randrange(1, 6)
    faults: list[Fault] = [
        Drop(SYMBOL, count),
        Duplicate(SYMBOL, count),
        Reorder(SYMBOL, count, distance=rng.randrange(1, 4)),
        StreamGap(SYMBOL, count),
        Halt(SYMBOL, ms=rng.randrange(1, 3_000)),
        Garbage(SYMBOL, rng.choice(("mutated", "truncated", "binary")), count, replace=rng.random() < 0.5),
        Stall(ms=1_000, lose=rng.random() < 0.5),
        Reset(),
        SocketCut(),
        ServerError(count=count),
    ]
    return rng.choice(faults)


class Collector:
    """The least a client must do: take good trades, ask REST for the holes between them."""

    def __init__(self) -> None:
        self.trades: dict[int, tuple[int, str, str, bool]] = {}

    def take(self, frames: list[str | bytes]) -> None:
        for frame in frames:
            try:
                each = orjson.loads(frame)
                whole = type(each["t"]) is type(each["T"]) is int and each["t"] > 0 and each["T"] >= START_MS
                if whole and type(each["m"]) is bool and _is_amount(each["p"]) and _is_amount(each["q"]):
                    self.trades[each["t"]] = (each["T"], each["p"], each["q"], each["m"])
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue

    async def repair(self, running: Served) -> None:
        known = Ranges()
        for trade_id in sorted(self.trades):
            known.add(trade_id, trade_id)
        for first_id, last_id in known.holes():
            for each in await _asked_until_answered(running, first_id, last_id):
                self.trades[each["id"]] = (each["time"], each["price"], each["qty"], each["isBuyerMaker"])


def _is_amount(text: object) -> bool:
    whole, _, fraction = text.partition(".") if isinstance(text, str) else ("", "", "")
    return whole.isdigit() and whole.isascii() and len(fraction) == 8


async def _asked_until_answered(running: Served, first_id: int, last_id: int) -> Any:
    params: dict[str, str | int] = {"symbol": SYMBOL, "fromId": first_id, "limit": last_id - first_id + 1}
    while True:
        answer = await running.http.get("/api/v3/historicalTrades", params=params)
        if answer.status_code == 200:
            return answer.json()


async def _frames(feed: Feed) -> tuple[list[str | bytes], bool]:
    """What came, and whether the connection still stands."""
    found: list[str | bytes] = []
    try:
        await feed.socket.send('{"method":"LIST_SUBSCRIPTIONS","id":"end-of-frames"}')
        while True:
            frame = await feed.socket.recv()
            if isinstance(frame, str) and '"end-of-frames"' in frame:
                return found, True
            found.append(frame)
    except ConnectionClosed:
        return found, False


@pytest.mark.parametrize("seed", [1, 2])
async def test_after_any_faults_stream_and_rest_together_are_the_truth(seed: int) -> None:
    rng, clock, collector = random.Random(seed), FakeClock(), Collector()
    exchange = Exchange(simulated(SYMBOL, seed=seed), start_ms=START_MS, rules=EASY, clock=clock)
    rounds = ROUNDS
    async with served(exchange) as running:
        while rounds:
            async with running.feed("/ws/btcusdt@trade") as feed:
                standing = True
                while standing and rounds:
                    rounds -= 1
                    exchange.plan(any_fault(rng), exchange.now_ms + rng.randrange(1, 2_000))
                    exchange.advance(2_000)
                    clock.advance(2_000)
                    await wait_until_async(lambda: not any(each.is_stalled for each in exchange.hub.open))
                    frames, standing = await _frames(feed)
                    collector.take(frames)
        async with running.feed("/ws/btcusdt@trade") as feed:
            exchange.advance(20_000)
            clock.advance(2_000)
            collector.take((await _frames(feed))[0])
        await collector.repair(running)
    market = exchange.market(SYMBOL)
    first_id, last_id = min(collector.trades), max(collector.trades)
    assert collector.trades == {
        trade.id: (
            trade.ts_ms,
            market.listing.price(trade.price_ticks),
            market.listing.size(trade.size_lots),
            trade.side == 1,
        )
        for trade in market.trades(first_id, last_id).rows()
    }
    assert_every_hole_has_its_fault(exchange)


def test_a_hole_without_a_fault_is_found() -> None:
    """The check above can fail."""
    exchange = Exchange(simulated(SYMBOL), start_ms=START_MS)
    delivered = exchange.hub.delivered[SYMBOL] = Ranges()
    delivered.add(1, 5)
    delivered.add(8, 9)
    with pytest.raises(AssertionError, match="nothing explains that 6 is missing"):
        assert_every_hole_has_its_fault(exchange)


def assert_every_hole_has_its_fault(exchange: Exchange) -> None:
    """What went out to nobody was left out by a fault, or came while a fault had closed the connection."""
    left_out, ends = Ranges(), set[int]()
    for injection in exchange.faults:
        for first_id, last_id in injection.trades.get(SYMBOL, []):
            left_out.add(first_id, last_id)
            if isinstance(injection.fault, Reset | SocketCut):
                ends.add(last_id)
    missed = exchange.missed(SYMBOL)
    for first_id, last_id in missed:
        for trade_id in range(first_id, last_id + 1):
            if trade_id not in left_out:
                assert any(end < trade_id for end in ends), f"nothing explains that {trade_id} is missing"
                # The last one that was sent may not be the greatest: some come out of order.
                end_id = max(end for end in ends if end < trade_id)
                assert not any(end_id < other_id < first_id for other_id, _ in missed)
