"""Live bars for all clients of this process: one pub/sub connection, one channel per symbol in use."""

import asyncio
import logging
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from redis.asyncio import Redis

from common.errors import BadInput, FleetError, StoreUnavailable
from common.market.rescaling import Unfit
from common.store.book import NumberedBook
from common.store.demand import DEMAND_TTL_MS, Demand
from common.store.health import HealthRules, HealthSigns
from common.store.instrument import InstrumentChanged
from common.store.keys import SymbolKeys
from common.store.messages import WHOLE, CommitMessage
from common.store.reads import View
from common.store.registry import Market
from common.store.subscriber import Subscriber
from feed.bars.data import SymbolData
from feed.bars.frames import cover_of
from feed.metrics import Metrics
from feed.queries.queries import Queries
from feed.reading.coverage import EMPTY, KnownCoverage
from feed.stream.channels.table import CHANNELS
from feed.stream.series import Hears, LiveSeries, SeriesHost, SeriesListener
from feed.stream.topic import Topic
from feed.wire import answers
from feed.wire.errors import UnknownSymbol

log = logging.getLogger(__name__)

# How often health is looked at, in seconds. The same look finds a subscription that has silently stopped.
HEALTH_EVERY_S = 2.0
RESTART_S = 1.0
# Times the demand for a symbol is renewed before it would be forgotten.
RENEWALS = 3


@dataclass(slots=True)
class SymbolInUse:
    """A symbol in use. As of the last look: the store's seq, the newest one applied here, and what was told of it."""

    market: Market
    data: SymbolData
    series: dict[Topic, LiveSeries[Any]] = field(default_factory=dict)
    stored_seq: int = 0
    applied_seq: int = 0
    # Those of the listeners who have it in focus, and whether one of them has since demand was last told.
    focused_by: set[SeriesListener] = field(default_factory=set)
    is_newly_focused: bool = False
    # A commit was missed: its message was none that we understand. It is read with the next look.
    is_blind: bool = False
    # None before the first look.
    signs: HealthSigns | None = None
    _cover: tuple[bytes, KnownCoverage] = (b"", EMPTY)

    def that_hear(self, channel: Hears) -> list[LiveSeries[Any]]:
        return [series for series in self.series.values() if series.hears is channel]

    def take(self, message: CommitMessage) -> None:
        cover = self._cover_of(message)
        for series in self.that_hear(Hears.COMMITS):
            series.take(message, cover)

    def take_book(self, packed: bytes) -> None:
        message = NumberedBook.unpack(packed, self.market.instrument.scale)
        for series in self.that_hear(Hears.BOOK):
            series.take(message, None)

    def _cover_of(self, message: CommitMessage) -> KnownCoverage | None:
        """Its coverage, if it has all of it."""
        if message.version != WHOLE:
            return None
        if message.coverage_json != self._cover[0]:
            cover = KnownCoverage.load(message.coverage_json, self.market.instrument.ids)
            self._cover = (message.coverage_json, cover)
        return self._cover[1]

    def begin(self, view: View, rules: HealthRules) -> None:
        """The health that the first snapshots show."""
        if self.signs is None:
            self.signs = HealthSigns.of(view, self.market, rules)

    def end(self, error: FleetError) -> None:
        """The symbol is not what it was: its listeners have to ask again."""
        for series in list(self.series.values()):
            series.end(error)

    def look(self, view: View, rules: HealthRules) -> None:
        """Tell a change of health. Read again what is behind, or ahead, though a whole interval has passed."""
        stored_seq = view.state.seq if view.state else 0
        followed = self.that_hear(Hears.COMMITS)
        for series in followed:
            at_seq = series.live.at.seq if series.live else stored_seq
            if self.is_blind:
                series.read_again("unread")
            elif at_seq < self.stored_seq:
                series.read_again("behind")
            elif stored_seq < min(at_seq, self.applied_seq):
                series.read_again("rewound")
        self.stored_seq, self.is_blind = stored_seq, False
        self.applied_seq = max((each.live.at.seq for each in followed if each.live), default=0)
        signs = HealthSigns.of(view, self.market, rules)
        if self.signs not in (None, signs):
            health = answers.health(self.market, view, cover_of(self.market, view), rules)
            for series in self.series.values():
                series.tell("health", {"health": health})
        self.signs = signs


class Hub:
    """Keeps a LiveSeries for everything that has listeners, and nothing else."""

    def __init__(self, queries: Queries, pubsub: Redis, metrics: Metrics, demand_ms: int) -> None:
        """`demand_ms`: how long a symbol on demand is asked for after its last listener has left."""
        self._queries = queries
        self._demand_ms = demand_ms
        self._metrics = metrics
        # By their channels of commits.
        self._feeds: dict[str, SymbolInUse] = {}
        # Channels of books that are listened to, and those of the commits of their symbols.
        self._books: dict[str, str] = {}
        self._demand = Demand(queries.client)
        # What demand is to be told of at once, and symbols on demand that have lost their last listener since.
        self._demanded = asyncio.Event()
        self._left: set[str] = set()
        # Channels of symbols that have been changed.
        self._changed: set[str] = set()
        self._any_changed = asyncio.Event()
        self._subscriber = Subscriber(pubsub, self._on_message, self._on_subscribed, self._on_outage)

    @property
    def channels(self) -> frozenset[str]:
        return self._subscriber.channels

    @property
    def feeds(self) -> list[SymbolInUse]:
        return list(self._feeds.values())

    async def run(self) -> None:
        """Run until cancelled. After an error of ours everything is subscribed and read again."""
        while True:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._subscriber.run())
                    group.create_task(self._watch())
                    group.create_task(self._keep_demand())
                    group.create_task(self._follow_changes())
            except* Exception:
                log.exception("hub failed, begins again")
                await asyncio.sleep(RESTART_S)

    def join(self, listener: SeriesListener, market: Market, topic: Topic) -> LiveSeries[Any]:
        """Begin to push news to the listener; it is told when the series is ready, or finds it so."""
        channel = SymbolKeys(market.symbol).commits
        known = self._feeds.get(channel)
        feed = known or SymbolInUse(market, self._queries.of(market).data())
        series = feed.series.get(topic) or self._begun(feed, topic)
        if known is None:
            self._feeds[channel] = feed
            self._subscriber.add(channel)
            if market.on_demand:
                self._demanded.set()
        series.listeners.add(listener)
        return series

    def focus(self, listener: SeriesListener, market: Market) -> None:
        """One who has joined has the symbol in focus until it leaves."""
        feed = self._feeds[SymbolKeys(market.symbol).commits]
        feed.focused_by.add(listener)
        feed.is_newly_focused = True
        self._demanded.set()

    def _begun(self, feed: SymbolInUse, topic: Topic) -> LiveSeries[Any]:
        series = self._series(feed, topic)
        keys = SymbolKeys(feed.market.symbol)
        if series.hears is Hears.BOOK and keys.depth not in self._books:
            self._books[keys.depth] = keys.commits
            self._subscriber.add(keys.depth)
        elif len(feed.series) > 1:
            # The channel is subscribed, or its confirmation will read the series again.
            series.read_again("began")
        return series

    def _series(self, feed: SymbolInUse, topic: Topic) -> LiveSeries[Any]:
        begin = partial(feed.begin, rules=self._queries.rules)
        changed = partial(self._note_change, SymbolKeys(feed.market.symbol).commits)
        host = SeriesHost(self._queries.of(feed.market), feed.data, self._metrics, begin, changed)
        series = feed.series[topic] = CHANNELS[topic.channel].series(host, topic)
        return series

    def leave(self, listener: SeriesListener, series: LiveSeries[Any]) -> None:
        series.listeners.discard(listener)
        channel = SymbolKeys(series.market.symbol).commits
        feed = self._feeds.get(channel)
        if feed:
            feed.focused_by.discard(listener)
        if series.listeners or feed is None or feed.series.get(series.topic) is not series:
            return
        series.close()
        del feed.series[series.topic]
        self._forget_unused(channel)

    def _forget_unused(self, channel: str) -> None:
        feed = self._feeds.get(channel)
        if feed is None:
            return
        books = SymbolKeys(feed.market.symbol).depth
        if books in self._books and not feed.that_hear(Hears.BOOK):
            del self._books[books]
            self._subscriber.drop(books)
        if not feed.series:
            del self._feeds[channel]
            self._subscriber.drop(channel)
            if feed.market.on_demand:
                self._left.add(feed.market.symbol)
                self._demanded.set()

    def close(self) -> None:
        for feed in self._feeds.values():
            for series in feed.series.values():
                series.close()

    def _on_message(self, channel: str, packed: bytes) -> None:
        if channel in self._books:
            self._on_book(channel, packed)
            return
        feed = self._feeds.get(channel)
        if feed:
            self._metrics.commits.inc()
            try:
                feed.take(CommitMessage.unpack(packed))
            except Exception as error:
                # Of a worker of another release, mostly: what it has changed is read from the stream, at the next look.
                if not feed.is_blind:
                    known = isinstance(error, ValueError | struct.error)
                    what = {"channel": channel, "error": str(error)}
                    log.warning("message not understood", extra=what, exc_info=not known)
                feed.is_blind = True

    def _on_book(self, channel: str, packed: bytes) -> None:
        """A message that is not understood is left out; the next one has all of the book."""
        feed = self._feeds.get(self._books[channel])
        try:
            if feed:
                feed.take_book(packed)
        except (ValueError, struct.error, Unfit) as error:
            log.warning("book not understood", extra={"channel": channel, "error": str(error)})

    def _on_subscribed(self, channel: str) -> None:
        """Commits from before the subscription are not coming: read them."""
        feed = self._feeds.get(self._books.get(channel, channel))
        hears = Hears.BOOK if channel in self._books else Hears.COMMITS
        for series in feed.that_hear(hears) if feed else ():
            series.read_again("subscribed")

    def _on_outage(self) -> None:
        self._metrics.outages.inc()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(HEALTH_EVERY_S)
            for feed in self.feeds:
                try:
                    await self._look(feed)
                except InstrumentChanged:
                    self._note_change(SymbolKeys(feed.market.symbol).commits)
                except StoreUnavailable as error:
                    log.warning("health not known", extra={"symbol": feed.market.symbol, "error": str(error)})
                except FleetError as error:
                    feed.end(error)
                except Exception:
                    # Of this symbol: the others go on.
                    log.exception("look failed", extra={"symbol": feed.market.symbol})

    async def _keep_demand(self) -> None:
        """Ask for the symbols on demand that have listeners, and those in focus: at once, and again before that is
        forgotten; and let go of those that have none any more."""
        while True:
            self._demanded.clear()
            try:
                await self._tell_demand()
            except StoreUnavailable as error:
                log.warning("demand not renewed", extra={"error": str(error)})
            with suppress(TimeoutError):
                async with asyncio.timeout(DEMAND_TTL_MS / 1_000 / RENEWALS):
                    await self._demanded.wait()

    async def _tell_demand(self) -> None:
        left, self._left = self._left, set()
        for feed in self.feeds:
            symbol = feed.market.symbol
            left.discard(symbol)
            if feed.focused_by:
                is_new, feed.is_newly_focused = feed.is_newly_focused, False
                await self._demand.focus(symbol, is_new=is_new)
            elif feed.market.on_demand:
                await self._demand.ask([symbol])
        await self._demand.release(left, self._demand_ms)

    async def _look(self, feed: SymbolInUse) -> None:
        market = await self._queries.market(feed.market.symbol)
        now, known = market.instrument, feed.market.instrument
        if now != known or now.exceptions != known.exceptions:
            self._note_change(SymbolKeys(market.symbol).commits)
            return
        # Its source may be another, and what is wrong with its entry.
        feed.market = market
        feed.look(await feed.data.history.view(), self._queries.rules)

    def _note_change(self, channel: str) -> None:
        self._changed.add(channel)
        self._any_changed.set()

    async def _follow_changes(self) -> None:
        """Begin changed symbols again, for all who listen: each is given a snapshot."""
        while True:
            await self._any_changed.wait()
            self._any_changed.clear()
            for channel in list(self._changed):
                try:
                    await self._replace(channel)
                    self._changed.discard(channel)
                except FleetError as error:
                    log.warning("change waits", extra={"channel": channel, "error": str(error)})
                    await asyncio.sleep(RESTART_S)
                    self._any_changed.set()

    async def _replace(self, channel: str) -> None:
        """Put a feed of the market as it is now in the place of one of what it was."""
        old = self._feeds.get(channel)
        if old is None:
            return
        self._queries.forget(old.market.symbol)
        try:
            market = await self._queries.market(old.market.symbol)
        except UnknownSymbol as error:
            old.end(error)
            return
        if self._feeds.get(channel) is not old:
            return
        new = self._feeds[channel] = SymbolInUse(market, self._queries.of(market).data(), focused_by=old.focused_by)
        for series in old.series.values():
            series.close()
            self._move(series, new)
        self._forget_unused(channel)

    def _move(self, series: LiveSeries[Any], feed: SymbolInUse) -> None:
        """To a feed that has taken the place of its own."""
        try:
            following = self._series(feed, series.topic)
        except BadInput as error:
            series.end(error)
            return
        following.listeners = series.listeners
        following.read_again("changed")
        for listener in list(following.listeners):
            listener.move(following)
