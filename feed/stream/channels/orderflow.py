"""Bars with what their trades say beyond their candles: a row a bar."""

from dataclasses import replace

from common.errors import BadInput
from common.frames.orderflow.table import OF_ANCHORS, OF_ROWS
from feed.bars.orderflow import FlowQuery
from feed.queries import orderflow
from feed.queries.flow_parameters import RULES
from feed.queries.orderflow import ANCHOR, FIELDS, FLOOR, HEIGHT
from feed.queries.stated_pages import StatedPage
from feed.reading.bounds import Window
from feed.stream.channels.channel import Channel
from feed.stream.channels.fixed_rows import FixedRowTicks
from feed.stream.channels.rows import RowSeries
from feed.stream.requests import BARS
from feed.stream.series import SeriesHost, SnapshotRead
from feed.stream.topic import Topic
from feed.wire.params import Given

LIVE_HEIGHT = replace(HEIGHT, type=FixedRowTicks())
# Of a topic: each question has its own.
_ANY = Window(None, None, 1)


class FlowSeries(RowSeries):
    def __init__(self, host: SeriesHost, topic: Topic, query: FlowQuery) -> None:
        super().__init__(host, topic, query.timeframe)
        self._query = query
        self.is_running = not query.fields.isdisjoint(OF_ANCHORS)

    async def snapshot(self, limit: int) -> SnapshotRead:
        query = replace(self._query, window=Window(None, None, limit))
        answer = await orderflow.json_answer(self.host.symbol, query)
        return SnapshotRead(answer, answer.view)

    async def page(self, window: Window) -> StatedPage:
        return await orderflow.page(self.host.symbol, replace(self._query, window=window))


def _query(given: Given) -> FlowQuery:
    query = orderflow.flow_query(given, _ANY)
    if query.anchor.word == "start":
        raise BadInput("anchor is 'start', expected session, day, week, month or ms: a stream has no first bar")
    if query.grid.height_ticks is None and not query.fields.isdisjoint(OF_ROWS):
        raise BadInput("row is missing, expected the height of a row, or fields that need no rows")
    return query


CHANNEL = Channel("orderflow", (BARS, LIVE_HEIGHT, FLOOR, ANCHOR, FIELDS, *RULES), _query, FlowSeries)
