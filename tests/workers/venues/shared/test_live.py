"""Sockets against a real server: lost, refused, stalled and renewed."""

import asyncio
import json
import socket as sockets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import anyio
import pytest
from websockets.asyncio.server import ServerConnection

from tests.kit.clocks import AttentiveClock
from tests.kit.waiting import wait_until_async
from tests.workers.venues.server import Exchange, exchange
from workers.venues.shared.base import Closing, Connected, DepthEvent, Disconnected, Event, Refused, TradesEvent
from workers.venues.shared.budget import CONNECT, OpenBudget
from workers.venues.shared.live import SocketFeed, Timing, follow
from workers.venues.shared.mailbox import MAILBOX_EVENTS
from workers.venues.shared.stall import StallLimits

# Everything happens within a second, so that what should not happen can be seen not to. Silence is judged by a clock on
# which no time passes while this process, which is also the venue, has to wait for a core.
FAST = Timing(
    backoff_ms=5,
    backoff_cap_ms=40,
    open_timeout_ms=10_000,
    overlap_ms=60,
    overlap_max_ms=400,
    check_ms=5,
    # A socket that has said all that a test is about is silent.
    patience=StallLimits(min_ms=60_000, max_ms=60_000, unknown_ms=60_000),
)
HASTY = replace(FAST, patience=StallLimits(min_ms=100, max_ms=400, unknown_ms=200))
PATIENT_S = 30


class Lines:
    """Reads `trade <id>`, `depth <id>`, `closing`, `bad`; everything else is a heartbeat."""

    def parse(self, frame: bytes | str) -> Sequence[Event | Closing]:
        kind, _, number = (frame.decode() if isinstance(frame, bytes) else frame).partition(" ")
        match kind:
            case "trade":
                return [TradesEvent("M", [(1, int(number), 1, 1, 0)])]
            case "depth":
                return [DepthEvent("M", 1, int(number), int(number), -1, [], [])]
            case "closing":
                return [Closing()]
            case "bad":
                return [Refused("bad_json", "bad")]
        return []


class Reader:
    """Follows a feed in the background and keeps what it got."""

    def __init__(self, exchange: Exchange, timing: Timing = FAST, hello: tuple[str, ...] = ()) -> None:
        self.budget = OpenBudget()
        self.events: list[Event] = []
        self._stream = follow([SocketFeed(exchange.socket_url, Lines(), hello)], AttentiveClock(), self.budget, timing)

    async def __aenter__(self) -> "Reader":
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _read(self) -> None:
        async with aclosing(self._stream) as events:
            async for event in events:
                self.events.append(event)

    def ids(self) -> list[int]:
        return [event.rows[0][1] for event in self.events if isinstance(event, TradesEvent)]

    def depths(self) -> list[int]:
        return [event.first_id for event in self.events if isinstance(event, DepthEvent)]

    def states(self) -> list[str]:
        states = (each for each in self.events if isinstance(each, Connected | Disconnected))
        return [each.cause if isinstance(each, Disconnected) else "connected" for each in states]

    async def until(self, **expected: Any) -> None:
        await wait_until_async(lambda: all(getattr(self, name)() == value for name, value in expected.items()))


@pytest.fixture
async def venue() -> AsyncIterator[Exchange]:
    with anyio.fail_after(PATIENT_S):
        async with exchange() as it:
            yield it


async def test_it_subscribes_again_after_each_loss(venue: Exchange) -> None:
    async def feed(socket: ServerConnection, number: int) -> None:
        await socket.send(f"trade {number}")
        await asyncio.sleep(0.05)
        if number == 1:
            socket.transport.abort()
        if number == 2:
            await socket.close()

    venue.feeder = feed
    async with Reader(venue, hello=('{"subscribe":1}', '{"subscribe":2}')) as reader:
        await reader.until(ids=[1, 2, 3], states=["connected", "lost", "connected", "closed", "connected"])
        await wait_until_async(lambda: len(venue.said) == 6)
    assert venue.said == [{"subscribe": 1}, {"subscribe": 2}] * 3
    assert reader.budget.spent == {CONNECT: 3}


async def test_a_venue_that_is_away_is_asked_again_and_told_of_once(venue: Exchange) -> None:
    venue.refusals = [(503, {}, "maintenance")] * 3
    async with Reader(venue) as reader:
        await reader.until(states=["unreachable", "connected"])
        assert len(venue.paths) == 4


async def test_nobody_listening_is_unreachable() -> None:
    with sockets.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = Exchange()
        nobody.port = free.getsockname()[1]
        async with Reader(nobody) as reader:
            await reader.until(states=["unreachable"])
            await wait_until_async(lambda: reader.budget.spent[CONNECT] > 3)
            assert reader.states() == ["unreachable"]


async def test_a_venue_that_never_answers_the_handshake_is_given_up() -> None:
    with sockets.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        nobody = Exchange()
        nobody.port = mute.getsockname()[1]
        async with Reader(nobody, replace(FAST, open_timeout_ms=50)) as reader:
            await reader.until(states=["unreachable"])


async def test_a_refusal_for_the_rate_is_waited_out_and_reported(venue: Exchange) -> None:
    venue.refusals = [(429, {"Retry-After": "1"}, "slow down")]
    began = anyio.current_time()
    async with Reader(venue) as reader:
        await reader.until(states=["throttled", "connected"])
    assert anyio.current_time() - began >= 1
    (error,) = reader.budget.refusals
    assert (error.retry_after_ms, error.banned, error.endpoint) == (1_000, False, CONNECT)


async def test_a_socket_whose_trades_stop_while_books_go_on_is_replaced(venue: Exchange) -> None:
    async def feed(socket: ServerConnection, number: int) -> None:
        for at in range(1_000):
            if number > 1 or at < 20:
                await socket.send(f"trade {number * 1_000 + at}")
            await socket.send(f"depth {number * 1_000 + at}")
            await asyncio.sleep(0.005)

    venue.feeder = feed
    async with Reader(venue, HASTY) as reader:
        await wait_until_async(lambda: reader.ids()[-1:] > [2_000])
        assert reader.states() == ["connected", "stalled", "connected"]
        assert max(at for at in reader.ids() if at < 2_000) == 1_019
        assert max(at for at in reader.depths() if at < 2_000) > 1_030


async def test_heartbeats_are_no_sign_of_life(venue: Exchange) -> None:
    async def feed(socket: ServerConnection, number: int) -> None:
        for at in range(1_000):
            if number > 1 or at < 20:
                await socket.send(f"trade {number * 1_000 + at}")
            await socket.send("heartbeat")
            await asyncio.sleep(0.005)

    venue.feeder = feed
    async with Reader(venue, HASTY) as reader:
        await wait_until_async(lambda: reader.ids()[-1:] > [2_000])
        assert reader.states() == ["connected", "stalled", "connected"]


async def test_a_socket_that_never_delivers_is_replaced(venue: Exchange) -> None:
    async def feed(socket: ServerConnection, number: int) -> None:
        if number == 2:
            await socket.send("trade 1")

    venue.feeder = feed
    async with Reader(venue, HASTY) as reader:
        await reader.until(states=["connected", "stalled", "connected"], ids=[1])


async def test_a_market_of_bursts_is_left_alone_in_its_usual_pauses(venue: Exchange) -> None:
    async def feed(socket: ServerConnection, number: int) -> None:
        # 20 times the mean distance of the trades is half of each pause.
        for burst in range(8):
            for at in range(40):
                await socket.send(f"trade {burst * 40 + at}")
            await asyncio.sleep(0.1)

    venue.feeder = feed
    timing = replace(FAST, patience=StallLimits(min_ms=20, max_ms=2_000, unknown_ms=300))
    async with Reader(venue, timing) as reader:
        await wait_until_async(lambda: len(reader.ids()) == 320)
        assert reader.states() == ["connected"]


async def test_a_planned_renewal_loses_no_trade_and_says_nothing(venue: Exchange) -> None:
    ticks = 0

    async def feed(socket: ServerConnection, number: int) -> None:
        nonlocal ticks
        while True:
            # Every socket gets the same trades at the same time, as at a venue; what it says of the book is told apart.
            await socket.send(f"trade {ticks}")
            await socket.send(f"depth {number * 1_000_000 + ticks}")
            await asyncio.sleep(0.002)

    async def clock() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.002)

    venue.feeder = feed
    ticking = asyncio.create_task(clock())
    async with Reader(venue, replace(FAST, renew_ms=150, renew_spread_ms=50)) as reader:
        await wait_until_async(lambda: len(venue.sockets) >= 4)
        await wait_until_async(lambda: venue.open_sockets() == 1)
        found = reader.ids()
        assert sorted(set(found)) == list(range(min(found), max(found) + 1))
        assert reader.states() == ["connected"]
        # Nothing of an older socket after the first of a newer one.
        assert reader.depths() == sorted(reader.depths())
        assert len({depth // 1_000_000 for depth in reader.depths()}) >= 4
    ticking.cancel()


async def test_at_a_renewal_both_sockets_are_open_and_the_book_is_that_of_the_new_one(venue: Exchange) -> None:
    async def feed(socket: ServerConnection, number: int) -> None:
        if number == 1:
            await socket.send("trade 1")
            await socket.send("depth 1")
            await asyncio.sleep(0.02)
            await socket.send("closing")
            await wait_until_async(lambda: 10 in reader.ids())
            # Too late for the book, and never too late for a trade.
            await socket.send("trade 2")
            await socket.send("depth 2")
        else:
            await socket.send("depth 10")
            await socket.send("trade 10")

    venue.feeder = feed
    async with Reader(venue) as reader:
        await wait_until_async(lambda: set(reader.ids()) == {1, 2, 10})
        await wait_until_async(lambda: venue.open_sockets() == 1)
        assert reader.depths() == [1, 10]
        assert reader.states() == ["connected"]
        assert len(venue.sockets) == 2


async def test_the_reader_hears_at_once_when_the_old_socket_dies_before_the_new_one_is_open(venue: Exchange) -> None:
    async def feed(socket: ServerConnection, number: int) -> None:
        await socket.send(f"trade {number}")
        if number == 1:
            venue.refusals = [(503, {}, "restart")] * 4
            await socket.send("closing")
            await asyncio.sleep(0.05)
            await socket.close()

    venue.feeder = feed
    async with Reader(venue, replace(FAST, backoff_ms=60, backoff_cap_ms=120)) as reader:
        await reader.until(ids=[1, 2], states=["connected", "closed", "connected"])


async def test_a_new_socket_that_dies_at_once_leaves_the_old_one_in_use(venue: Exchange) -> None:
    async def feed(socket: ServerConnection, number: int) -> None:
        if number == 1:
            await socket.send("trade 1")
            await socket.send("closing")
            await wait_until_async(lambda: len(venue.sockets) == 3)
            await socket.send("trade 2")
        if number == 2:
            socket.transport.abort()
        if number == 3:
            await socket.send("trade 3")

    venue.feeder = feed
    async with Reader(venue) as reader:
        await wait_until_async(lambda: set(reader.ids()) == {1, 2, 3})
        assert reader.states() == ["connected"]


async def test_refusals_are_passed_on(venue: Exchange) -> None:
    async def feed(socket: ServerConnection, number: int) -> None:
        await socket.send("bad")

    venue.feeder = feed
    async with Reader(venue) as reader:
        await wait_until_async(lambda: Refused("bad_json", "bad") in reader.events)


async def test_a_reader_that_does_not_read_makes_the_socket_wait(venue: Exchange) -> None:
    sent = 0

    async def feed(socket: ServerConnection, number: int) -> None:
        nonlocal sent
        for sent in range(200_000):
            await socket.send(f"trade {sent}" + " " * 1_000)

    async def stands_still() -> bool:
        before = sent
        await asyncio.sleep(0.2)
        return before == sent

    venue.feeder = feed
    stream = follow([SocketFeed(venue.socket_url, Lines())], AttentiveClock(), OpenBudget(), FAST)
    async with aclosing(stream) as events:
        assert isinstance(await anext(events), Connected)
        await wait_until_async(lambda: sent > MAILBOX_EVENTS)
        await wait_until_async(stands_still, timeout_s=20)
        assert sent < 5 * MAILBOX_EVENTS
        found = [event async for event, _ in _first(events, 3 * MAILBOX_EVENTS)]
    assert [event.rows[0][1] for event in found if isinstance(event, TradesEvent)] == list(range(len(found)))


async def test_the_sockets_are_closed_with_the_stream(venue: Exchange) -> None:
    async def feed(socket: ServerConnection, number: int) -> None:
        await socket.send("trade 1")

    venue.feeder = feed
    async with Reader(venue) as reader:
        await reader.until(ids=[1])
        assert venue.open_sockets() == 1
    await wait_until_async(lambda: venue.open_sockets() == 0)


async def test_pings_of_the_venue_are_answered(venue: Exchange) -> None:
    answered = asyncio.Event()

    async def feed(socket: ServerConnection, number: int) -> None:
        await (await socket.ping(b"1723161256322"))
        answered.set()

    venue.feeder = feed
    async with Reader(venue):
        await answered.wait()


async def test_an_error_of_ours_reaches_the_reader(venue: Exchange) -> None:
    class Broken:
        def parse(self, frame: bytes | str) -> Sequence[Event]:
            raise ZeroDivisionError

    async def feed(socket: ServerConnection, number: int) -> None:
        await socket.send(json.dumps({}))

    venue.feeder = feed
    stream = follow([SocketFeed(venue.socket_url, Broken())], AttentiveClock(), OpenBudget(), FAST)
    with pytest.raises(ZeroDivisionError):
        async with aclosing(stream) as events:
            async for _ in events:
                pass


async def _first(events: AsyncGenerator[Event, None], count: int) -> AsyncIterator[tuple[Event, int]]:
    for number in range(count):
        yield await anext(events), number
