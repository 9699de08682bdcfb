"""One WebSocket client: what waits for it, and the task that sends it.

A client is never waited for. News replaces what waits about the same bar, so a client that reads slowly gets the
newest state of each bar instead of every step. What waits is bounded; at the bound it is dropped, the client is told
(`lag`) and gets a snapshot as soon as it reads again. A client that does not read at all is cut off (feed.web.unread).
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from prometheus_client import Counter, Gauge

from common.errors import FleetError, StoreUnavailable
from common.store.instrument import InstrumentChanged
from common.store.registry import Market
from feed.bars.changes import Cursor
from feed.stream.hub import Hub
from feed.stream.opening import Opening, open_series
from feed.stream.series import LiveSeries
from feed.stream.topic import Topic
from feed.wire.errors import failure_of
from feed.wire.messages import Notice, Reply, RequestId, Sent, StreamMessage

# Bars of one subscription that may wait. A minute of 250 ms bars is 240.
MAX_PENDING = 1_000
# Replies that may wait; then the next request does.
MAX_REPLIES = 64
# Wait before a snapshot is tried again while the store is away.
RETRY_S = 0.5


class StreamCounts(Protocol):
    """What is counted of clients (feed.metrics)."""

    @property
    def subscriptions(self) -> Gauge: ...

    @property
    def sent(self) -> Counter: ...

    @property
    def lags(self) -> Counter: ...


class Stage(Enum):
    """WAITING: for its opening. READING: that is being read, news is collected. LIVE: news is passed on."""

    WAITING = "waiting"
    READING = "reading"
    LIVE = "live"
    CLOSED = "closed"


@dataclass(slots=True)
class OpenRequest:
    """What the next opening has to be. `cursor`: where the client stands. `request_id`: echoed in its first message.

    `reset`: replace what the client holds. `lagged`: because it was too slow.
    """

    cursor: Cursor | None = None
    request_id: RequestId = None
    reset: bool = False
    lagged: bool = False
    failed: bool = False


@dataclass(eq=False, slots=True)
class Subscription:
    """A feed.stream.series.SeriesListener. `pending`: messages by what they are about, in the order of their commits.

    `seq`, `token`, `watermark_ms`: the commit it was opened at.
    """

    client: "Client"
    limit: int
    wish: OpenRequest
    series: LiveSeries[Any] = field(init=False)
    stage: Stage = Stage.WAITING
    seq: int = 0
    token: str = ""
    watermark_ms: int = -1
    missed: bool = False
    pending: OrderedDict[Hashable, StreamMessage] = field(default_factory=OrderedDict)

    def ready(self) -> None:
        self.client.wake(self)

    def push(self, message: StreamMessage) -> None:
        about = message.about
        if self.stage in (Stage.WAITING, Stage.CLOSED) or (message.seq <= self.seq and about != "health"):
            return
        # To the end, so that the last cursor the client has got covers everything it has got.
        known = message.known_final(self.watermark_ms).from_commit(self.seq, self.token)
        self.pending[about] = known.after(self.pending.get(about))
        self.pending.move_to_end(about)
        if len(self.pending) > MAX_PENDING:
            self._overflow()
        elif self.stage is Stage.LIVE:
            self.client.wake(self)

    def restart(self) -> None:
        self._wait(OpenRequest(request_id=self.wish.request_id, reset=True))

    def move(self, series: LiveSeries[Any]) -> None:
        self.series = series
        self.restart()

    def end(self, error: FleetError) -> None:
        self.client.end(self, error)

    def opened(self, opening: Opening) -> None:
        """From now on it is the news that follows the opening."""
        self.seq, self.token, self.watermark_ms = opening.seq, opening.token, opening.watermark_ms
        collected = list(self.pending.items())
        self.pending.clear()
        for about, message in collected:
            if message.seq > opening.seq:
                self.pending[about] = message.known_final(opening.watermark_ms).from_commit(opening.seq, opening.token)
        self.stage, self.wish = Stage.LIVE, OpenRequest()

    def _overflow(self) -> None:
        if self.stage is Stage.READING:
            self.pending.clear()
            self.missed = True
        else:
            self.client.metrics.lags.inc()
            self._wait(OpenRequest(reset=True, lagged=True))

    def _wait(self, wish: OpenRequest) -> None:
        if self.stage is not Stage.CLOSED:
            self.stage, self.wish = Stage.WAITING, wish
            self.seq, self.token, self.watermark_ms = 0, "", -1
            self.pending.clear()
            self.client.wake(self)


class Client:
    """`send` and `send_frame` write one message, and wait while the client does not read those before it."""

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        send_frame: Callable[[bytes], Awaitable[None]],
        hub: Hub,
        metrics: StreamCounts,
    ) -> None:
        self.metrics = metrics
        self.subscriptions: dict[tuple[str, Topic], Subscription] = {}
        self._send_text = send
        self._send_frame = send_frame
        self._hub = hub
        self._replies: deque[Reply] = deque()
        self._awake: OrderedDict[Subscription, None] = OrderedDict()
        self._work = asyncio.Event()
        self._room = asyncio.Event()

    def focus(self, market: Market, topic: Topic, limit: int, wish: OpenRequest) -> None:
        """Subscribe to this, which is looked at, and to nothing else."""
        others = [held for held in self.subscriptions if held != (market.symbol, topic)]
        self.subscribe(market, topic, limit, wish)
        self._hub.focus(self.subscriptions[market.symbol, topic], market)
        # After: of what both are made of nothing is let go.
        for symbol, other in others:
            self.unsubscribe(symbol, other)

    def subscribe(self, market: Market, topic: Topic, limit: int, wish: OpenRequest) -> None:
        """Begin, or begin again."""
        self.unsubscribe(market.symbol, topic)
        subscription = Subscription(self, limit, wish)
        subscription.series = self._hub.join(subscription, market, topic)
        self.subscriptions[market.symbol, topic] = subscription
        self.metrics.subscriptions.inc()
        self.wake(subscription)

    def unsubscribe(self, symbol: str, topic: Topic) -> bool:
        subscription = self.subscriptions.pop((symbol, topic), None)
        if subscription is None:
            return False
        subscription.stage = Stage.CLOSED
        self._awake.pop(subscription, None)
        self._hub.leave(subscription, subscription.series)
        self.metrics.subscriptions.dec()
        return True

    def end(self, subscription: Subscription, error: FleetError) -> None:
        """Give the subscription up and say why."""
        self._tell(subscription, error)
        self.unsubscribe(subscription.series.market.symbol, subscription.series.topic)

    def leave(self) -> None:
        for symbol, topic in list(self.subscriptions):
            self.unsubscribe(symbol, topic)

    def reply(self, reply: Reply) -> None:
        """Send it before any news that waits."""
        self._replies.append(reply)
        self._work.set()

    async def replied(self) -> None:
        """Wait until not too many replies wait any more, or the connection ends."""
        while len(self._replies) >= MAX_REPLIES:
            self._room.clear()
            await self._room.wait()

    def wake(self, subscription: Subscription) -> None:
        """There is something to do for the subscription."""
        if subscription.stage is not Stage.CLOSED:
            self._awake[subscription] = None
            self._work.set()

    async def run(self) -> None:
        """Send until the connection ends."""
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                while self._replies or self._awake:
                    await self._next()
        finally:
            self._replies.clear()
            self._room.set()

    async def _next(self) -> None:
        if self._replies:
            reply = self._replies.popleft()
            self._room.set()
            await self._send(reply)
        else:
            await self._serve(self._awake.popitem(last=False)[0])

    async def _serve(self, subscription: Subscription) -> None:
        """Open the subscription, or send what waits now: what comes meanwhile has to wait for the others' turn."""
        if subscription.stage is Stage.WAITING and subscription.series.live:
            await self._open(subscription)
        await self._pass_on(subscription)

    async def _pass_on(self, subscription: Subscription) -> None:
        """Send what waits of it, if it is live."""
        for _ in range(len(subscription.pending)):
            if subscription.stage is not Stage.LIVE:
                return
            _, message = subscription.pending.popitem(last=False)
            await self._send(message)
        if subscription.pending:
            self.wake(subscription)

    async def _open(self, subscription: Subscription) -> None:
        series, wish = subscription.series, subscription.wish
        assert series.live
        epoch, known = series.epoch, series.live.at
        subscription.stage, subscription.missed = Stage.READING, False
        subscription.pending.clear()
        try:
            opening = await self._opening(subscription)
        except FleetError as error:
            self._failed(subscription, error)
            return
        if subscription.stage is not Stage.READING:
            return
        # Read again if news is missing between the opening and what has been collected: too much of it, an answer
        # from before we began to collect, or a writer that lost commits, some of which may be in the opening.
        early = opening.token == known.token and opening.seq < known.seq
        crossed = series.epoch != epoch and opening.token != series.live.at.token
        if subscription.missed or early or crossed:
            subscription.stage = Stage.WAITING
            self.wake(subscription)
            return
        if wish.lagged:
            opening.messages.insert(0, Notice(series.names, opening.seq, "lag", f"{opening.seq}-{opening.token}"))
        subscription.opened(opening)
        await self._begin_with(subscription, opening)

    async def _opening(self, subscription: Subscription) -> Opening:
        wish = subscription.wish
        return await open_series(
            subscription.series, subscription.limit, wish.cursor, reset=wish.reset, request_id=wish.request_id
        )

    async def _begin_with(self, subscription: Subscription, opening: Opening) -> None:
        for message in opening.messages:
            await self._send(message)

    def _failed(self, subscription: Subscription, error: FleetError) -> None:
        """While the store is away it is tried again, and the client told once. Any other error is the end."""
        if subscription.stage is not Stage.READING:
            return
        if isinstance(error, InstrumentChanged):
            # Its series hears of it as well, and is replaced.
            subscription.series.read_again("changed")
            subscription.stage = Stage.WAITING
            return
        if not isinstance(error, StoreUnavailable):
            self.end(subscription, error)
            return
        if not subscription.wish.failed:
            self._tell(subscription, error)
        subscription.wish.failed = True
        subscription.stage = Stage.WAITING
        asyncio.get_running_loop().call_later(RETRY_S, self.wake, subscription)

    def _tell(self, subscription: Subscription, error: FleetError) -> None:
        series = subscription.series
        self.reply(Reply.error(failure_of(error), **series.topic.told(series.market.symbol)))

    async def _send(self, what: Sent) -> None:
        await self._send_text(what.text)
        if what.frame is not None:
            # Right behind it, so that nothing else has to say whose it is.
            await self._send_frame(what.frame)
        self.metrics.sent.inc()
