"""What a subscription begins with: a snapshot, or what changed since the client's cursor."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from feed.bars.changes import Cursor
from feed.bars.live import At
from feed.stream.series import LiveSeries, ReadAgain
from feed.wire.messages import Notice, RequestId, Snapshot, StreamMessage, echoed


@dataclass(frozen=True, slots=True)
class Opening:
    """The messages, and the commit they lead to."""

    seq: int
    token: str
    watermark_ms: int
    messages: list[StreamMessage]


async def open_series(
    series: LiveSeries[Any], limit: int, cursor: Cursor | None, *, reset: bool, request_id: RequestId
) -> Opening:
    """`reset`: what the client holds is to be replaced. `request_id`: echoed in the first message."""
    if cursor:
        found = await series.changes_since(cursor)
        if found:
            told = list(_resumed(series, cursor, found, request_id))
            return Opening(found.seq, found.token, found.watermark_ms, told)
    read = await series.snapshot(limit)
    at = read.at or At.of(read.view.state, series.market.instrument.ids, -1)
    is_reset = reset or cursor is not None
    snapshot = Snapshot(series.names, at.seq, "snapshot", read.told, is_reset, request_id, read.frame)
    return Opening(at.seq, at.token, at.watermark_ms, [snapshot])


def _resumed(
    series: LiveSeries[Any], cursor: Cursor, found: ReadAgain, request_id: RequestId
) -> Iterator[StreamMessage]:
    """Only the last message carries the new cursor: who is cut off before it must resume from the old one."""
    known = str(cursor) if found.messages else found.cursor
    yield Notice(series.names, found.seq, "resumed", known, echoed(request_id))
    yield from found.messages
