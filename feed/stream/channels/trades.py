"""Every trade, in the order in which it was applied: a late one comes behind newer ones. None is left out.

What was committed is a fact: a gap, an amendment or another writer changes nothing about it. So there is nothing to
work out, only to be told: of a commit its trades, from its message or, where that was missed, from the stream.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from common.market.coding import codec
from common.market.instrument import Ids
from common.store.messages import CommitMessage
from common.store.parts import Entries, TradeEntry
from common.store.reads import SymbolReader, View
from feed.bars.changes import Cursor
from feed.bars.live import At
from feed.queries import trades
from feed.queries.trades import TRADES_LIMIT
from feed.reading.coverage import KnownCoverage
from feed.stream.channels.channel import Channel
from feed.stream.series import SeriesHost, SnapshotRead, ToldAtOnce
from feed.stream.topic import Topic
from feed.wire.messages import TradesMessage

# Beyond that the newest ones are the shorter answer.
MAX_RESUMED = 10_000


@dataclass(slots=True)
class AppliedTrades:
    """`at`: the last commit whose trades are told."""

    at: At

    def apply(self, message: CommitMessage, cover: KnownCoverage | None) -> list[TradeEntry] | None:
        at = self.at.then(message, cover)
        if at is None:
            return None
        self.at = at
        entry = TradeEntry(message.seq, message.token, message.watermark_ms, message.trades)
        return [entry] if _count(entry) else []


@dataclass(frozen=True, slots=True)
class TradeChanges:
    live: AppliedTrades
    updates: list[TradeEntry]


@dataclass(frozen=True, slots=True)
class TradeCommits:
    """The commits of a symbol, as the trade stream has them."""

    store: SymbolReader
    ids: Ids

    async def live(self) -> tuple[AppliedTrades, View]:
        view = await self.store.view()
        return self._live(view), view

    async def changes(self, cursor: Cursor, known: KnownCoverage | None = None) -> TradeChanges | None:
        """None: the stream has not got the cursor's commit, or too much has been traded since."""
        view = await self.store.view(*Entries.since(cursor.seq))
        entries = [entry for entry in view.stream.entries if entry.seq >= cursor.seq]
        if view.state is None or not entries or (entries[0].seq, entries[0].token) != (cursor.seq, cursor.token):
            return None
        newer = [entry for entry in entries[1:] if _count(entry)]
        if sum(map(_count, newer)) > MAX_RESUMED:
            return None
        return TradeChanges(self._live(view), newer)

    def _live(self, view: View) -> AppliedTrades:
        return AppliedTrades(At.of(view.state, self.ids, -1))


def _count(entry: TradeEntry) -> int:
    count: int = codec.TRADES_HEAD.unpack_from(entry.trades)[0]
    return count


class TradeSeries(ToldAtOnce[TradeEntry]):
    async def snapshot(self, limit: int) -> SnapshotRead:
        return SnapshotRead(*await trades.newest(self.host.symbol, limit))

    def messages(self, before: At, at: At, updates: Sequence[TradeEntry]) -> Iterator[TradesMessage]:
        for entry in updates:
            about = ("trades", entry.seq, entry.token)
            yield TradesMessage(self.names, entry.seq, about, entry.cursor, entry.trades, self.market.instrument)


def begin(host: SeriesHost, topic: Topic, _: None) -> TradeSeries:
    return TradeSeries(host, topic, TradeCommits(host.data.store, host.market.instrument.ids))


CHANNEL = Channel("trades", (), lambda given: None, begin, TRADES_LIMIT)
