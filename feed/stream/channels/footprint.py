"""Bars with what was bought and sold at each price."""

from dataclasses import replace

from common.frames.orderflow.footprint_json import FOOTPRINT_FIELDS, WITH_STATES, FootprintField
from feed.queries import footprint
from feed.queries.flow_parameters import ALIGN, ROW, RULES, refuse_rules
from feed.queries.footprint import FIELDS, AnyFootprintQuery
from feed.queries.stated_pages import StatedPage
from feed.reading.bounds import Window
from feed.stream.channels.channel import Channel
from feed.stream.channels.fixed_rows import FixedRowTicks
from feed.stream.channels.rows import RowSeries
from feed.stream.requests import BARS
from feed.stream.series import SeriesHost, SnapshotRead
from feed.stream.topic import Topic
from feed.wire.parameter_types import SomeOf
from feed.wire.params import Given

HEIGHT = replace(ROW, type=FixedRowTicks())
# What became of a price is told with a later bar, which does not touch the bar it is told of.
OF_A_BAR: tuple[FootprintField, ...] = tuple(each for each in FOOTPRINT_FIELDS if each not in WITH_STATES)
LIVE_FIELDS = replace(FIELDS, type=SomeOf(OF_A_BAR))
# Of a topic: each question has its own.
_ANY = Window(None, None, 1)


class FootprintSeries(RowSeries):
    def __init__(self, host: SeriesHost, topic: Topic, query: AnyFootprintQuery) -> None:
        super().__init__(host, topic, query.timeframe)
        self._query = query

    async def snapshot(self, limit: int) -> SnapshotRead:
        query = replace(self._query, window=Window(None, None, limit))
        answer = await footprint.answer(self.host.symbol, query)
        return SnapshotRead(answer, answer.view)

    async def page(self, window: Window) -> StatedPage:
        return await footprint.page(self.host.symbol, replace(self._query, window=window))


def _query(given: Given) -> AnyFootprintQuery:
    if given[FIELDS] is None:
        refuse_rules(given, "fields")
    return footprint.query_of(given, _ANY, given[FIELDS])


CHANNEL = Channel("footprint", (BARS, HEIGHT, ALIGN, LIVE_FIELDS, *RULES), _query, FootprintSeries)
