"""All channels of one symbol, for as long as the right to publish it is ours: a client of the hub like any other.

What waits, what is read again and what a channel begins with are those of any client (feed.stream.client); here they
are written into Redis. It ends with the first word that is refused or unanswered: then what was in memory counts no
more, and whoever has the right next goes on from what the store says has been told.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence

from common.errors import BadInput, FleetError
from common.store.publishing import SymbolPublishing, ToldTo
from common.store.registry import Market
from feed.bars.changes import Cursor
from feed.publishing.publication import Publication
from feed.publishing.wishes import Wish
from feed.stream.client import Client, OpenRequest, Stage, StreamCounts, Subscription
from feed.stream.hub import Hub
from feed.stream.opening import Opening
from feed.stream.series import ToldAtOnce
from feed.stream.topic import Topic
from feed.wire.messages import Notice, StreamMessage

log = logging.getLogger(__name__)


class SymbolPublisher(Client):
    """`progress`: how far others have told its channels, by their names without the symbol."""

    def __init__(
        self, store: SymbolPublishing, hub: Hub, counts: StreamCounts, market: Market, progress: Mapping[str, ToldTo]
    ) -> None:
        super().__init__(_never_sent, _never_sent, hub, counts)
        self._store = store
        self._market = market
        self._before = dict(progress)
        self._publications: dict[Topic, Publication] = {}
        # Channels without subscribers, to be forgotten, and topics that can't be listened to.
        self._left: list[str] = []
        self._refused: set[Topic] = set()
        self._failure: FleetError | None = None

    def want(self, wishes: Collection[Wish]) -> None:
        """Publish these from now on, and no others."""
        by_topic = {wish.topic: wish for wish in wishes if wish.topic}
        for topic in self._publications.keys() - by_topic.keys():
            self._stop(topic)
        for topic, wish in by_topic.items():
            if topic not in self._publications and topic not in self._refused:
                self._begin(topic, wish)
        self._refused &= by_topic.keys()

    @property
    def channels(self) -> list[str]:
        return [each.wish.channel for each in self._publications.values()]

    def _begin(self, topic: Topic, wish: Wish) -> None:
        _, _, name = wish.channel.partition("}:")
        known = self._before.pop(name, None)
        self._publications[topic] = Publication.of(wish, self._market.instrument, known)
        log.info("publication begins", extra={"channel": wish.channel, "told_up_to": str(known or "")})
        try:
            self.subscribe(self._market, topic, 0, OpenRequest())
        except BadInput as error:
            self._refuse(topic, error)

    def _stop(self, topic: Topic) -> None:
        self.unsubscribe(self._market.symbol, topic)
        channel = self._publications.pop(topic).wish.channel
        log.info("publication ends", extra={"channel": channel})
        self._left.append(channel)
        self._work.set()

    def _refuse(self, topic: Topic, error: FleetError) -> None:
        channel = self._publications.pop(topic).wish.channel
        log.warning("channel can't be published", extra={"channel": channel, "error": str(error)})
        self._refused.add(topic)

    def end(self, subscription: Subscription, error: FleetError) -> None:
        topic = subscription.series.topic
        self.unsubscribe(self._market.symbol, topic)
        if isinstance(error, BadInput):
            self._refuse(topic, error)
        else:
            self._failure = error
            self._work.set()

    def _tell(self, subscription: Subscription, error: FleetError) -> None:
        log.warning("publication waits", extra={"series": subscription.series.names, "error": str(error)})

    async def run(self) -> None:
        """Publish until the right is lost, or the store does not answer. Raises why."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._left or self._awake or self._failure:
                await self._next()

    async def forget(self) -> None:
        """Nobody listens any more."""
        for channel in [*self.channels, *self._left]:
            await self._store.publish(channel)

    async def _next(self) -> None:
        if self._failure:
            raise self._failure
        if self._left:
            await self._store.publish(self._left.pop())
        else:
            await self._serve(self._awake.popitem(last=False)[0])

    async def _opening(self, subscription: Subscription) -> Opening:
        """What changed since the channel was told last; else as many bars as may be missing."""
        series, publication = subscription.series, self._publications[subscription.series.topic]
        assert series.live
        told = publication.progress
        if told and publication.wish.is_told and isinstance(series, ToldAtOnce):
            # What was covered then is not known. That is told of bars as they are now, and no bar's trades hang on it.
            found = await series.changes_since(Cursor(told.seq, told.token), series.live.at.cover)
            if found:
                return Opening(found.seq, found.token, found.watermark_ms, list(found.messages))
        subscription.limit = publication.first_bars(series.live.at.watermark_ms)
        return await super()._opening(subscription)

    async def _begin_with(self, subscription: Subscription, opening: Opening) -> None:
        at = ToldTo(opening.seq, opening.token, opening.watermark_ms)
        await self._publish(subscription, opening.messages, at)

    async def _pass_on(self, subscription: Subscription) -> None:
        """All that waits at once: it was told by the series up to where that is."""
        live = subscription.series.live
        if subscription.stage is Stage.LIVE and live:
            news = [each for each in subscription.pending.values() if not isinstance(each, Notice)]
            subscription.pending.clear()
            await self._publish(subscription, news, ToldTo(live.at.seq, live.at.token, live.at.watermark_ms))

    async def _publish(self, subscription: Subscription, news: Sequence[StreamMessage], at: ToldTo) -> None:
        publication = self._publications[subscription.series.topic]
        now_s = asyncio.get_running_loop().time()
        messages = publication.tell(news, at) if news else []
        latest = publication.due_latest(now_s)
        if messages or latest:
            progress = publication.progress if publication.wish.is_told else None
            await self._store.publish(publication.wish.channel, messages, progress, latest)
            self.metrics.sent.inc(len(messages))
        if publication.waiting:
            asyncio.get_running_loop().call_later(publication.due_in_s(now_s), self.wake, subscription)


async def _never_sent(message: str | bytes) -> None:
    raise AssertionError("a publisher has no connection of its own")
