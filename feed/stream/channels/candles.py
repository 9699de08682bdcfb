"""Bars: each that is new, has grown or ended, or was amended."""

from collections.abc import Iterator, Sequence

from common.market.timeframes.timeframe import Timeframe
from feed.bars.live import At, Update
from feed.queries.candles import bars_answer, read_page
from feed.reading.bounds import Window
from feed.stream.channels.channel import Channel
from feed.stream.requests import BARS
from feed.stream.series import SeriesHost, SnapshotRead, ToldAtOnce, bar_source
from feed.stream.topic import CANDLES, Topic
from feed.wire.messages import BarMessage


class CandleSeries(ToldAtOnce[Update]):
    def __init__(self, host: SeriesHost, topic: Topic, timeframe: Timeframe) -> None:
        source = bar_source(host, timeframe)
        super().__init__(host, topic, source)
        self.timeframe = source.grid.timeframe

    async def snapshot(self, limit: int) -> SnapshotRead:
        symbol, timeframe = self.host.symbol, self.timeframe
        answer = await bars_answer(symbol, timeframe, await read_page(symbol, timeframe, Window(None, None, limit)))
        return SnapshotRead(answer, answer.view)

    def messages(self, before: At, at: At, updates: Sequence[Update]) -> Iterator[BarMessage]:
        """Messages of bars that changed together. A client that is cut off between two of them must resume before all
        of them, so only the last one carries the new cursor."""
        for update in updates:
            cursor = at.cursor if update is updates[-1] else before.cursor
            yield BarMessage(self.names, at.seq, update.open_ms, cursor, update, self.market.instrument)


CHANNEL = Channel(CANDLES, (BARS,), lambda given: given[BARS], CandleSeries)
