"""What a subscription begins with: a snapshot, or what changed since the client's cursor."""

from collections.abc import Iterator
from dataclasses import dataclass

from feed.bars.changes import BarChanges, Cursor
from feed.bars.live import At
from feed.queries.candles import bars_answer, read_page
from feed.queries.queries import Queries
from feed.reading.bounds import Window
from feed.stream.series import LiveSeries
from feed.wire.messages import Notice, RequestId, Snapshot, StreamMessage, echoed


@dataclass(frozen=True, slots=True)
class Opening:
    """The messages, and the commit they lead to."""

    seq: int
    token: str
    watermark_ms: int
    messages: list[StreamMessage]


async def open_series(
    series: LiveSeries, queries: Queries, limit: int, cursor: Cursor | None, *, reset: bool, request_id: RequestId
) -> Opening:
    """`reset`: what the client holds is to be replaced. `request_id`: echoed in the first message."""
    if cursor:
        changes = await series.source.changes(cursor)
        if changes:
            at = changes.live.at
            return Opening(at.seq, at.token, at.watermark_ms, list(_resumed(series, cursor, changes, request_id)))
    window = Window(None, None, limit)
    symbol = queries.of(series.market)
    answer = await bars_answer(symbol, series.timeframe, await read_page(symbol, series.timeframe, window))
    at = At.of(answer.view.state, series.market.instrument.ids, -1)
    snapshot = Snapshot(series.names, at.seq, "snapshot", answer, reset or cursor is not None, request_id)
    return Opening(at.seq, at.token, at.watermark_ms, [snapshot])


def _resumed(series: LiveSeries, cursor: Cursor, changes: BarChanges, request_id: RequestId) -> Iterator[StreamMessage]:
    """Only the last message carries the new cursor: who is cut off before it must resume from the old one."""
    at, before = changes.live.at, f"{cursor.seq}-{cursor.token}"
    known = before if changes.updates else at.cursor
    yield Notice(series.names, at.seq, "resumed", known, echoed(request_id))
    yield from series.bar_messages(before, at, changes.updates)
