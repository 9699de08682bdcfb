"""What a subscription begins with: a snapshot, or what changed since the client's cursor."""

from collections.abc import Iterator
from dataclasses import dataclass

from feed.bars.changes import BarChanges, Cursor
from feed.bars.live import At
from feed.queries.queries import Queries
from feed.reading.bounds import Window
from feed.stream.series import LiveSeries


@dataclass(frozen=True, slots=True)
class Opening:
    """The messages, and the commit they lead to."""

    seq: int
    token: str
    watermark_ms: int
    texts: list[str]


async def open_series(
    series: LiveSeries, queries: Queries, limit: int, cursor: Cursor | None, *, reset: bool, extra: str
) -> Opening:
    """`reset`: what the client holds is to be replaced. `extra`: more of the first message, as `,"name":value`."""
    if cursor:
        changes = await series.source.changes(cursor)
        if changes:
            at = changes.live.at
            return Opening(at.seq, at.token, at.watermark_ms, list(_resumed(series, cursor, changes, extra)))
    window = Window(None, None, limit)
    page, view, cover = await queries.page(series.market, series.timeframe, window)
    body = b"".join(await queries.body(series.market, page, view, cover)).decode()
    at = At.of(view.state, series.market.instrument.ids, -1)
    mark = ',"reset":true' if reset or cursor else ""
    text = f'{{"type":"snapshot",{series.names},"seq":{at.seq}{mark}{extra}{body}}}'
    return Opening(at.seq, at.token, at.watermark_ms, [text])


def _resumed(series: LiveSeries, cursor: Cursor, changes: BarChanges, extra: str) -> Iterator[str]:
    """Only the last message carries the new cursor: who is cut off before it must resume from the old one."""
    at, before = changes.live.at, f"{cursor.seq}-{cursor.token}"
    yield series.message("resumed", at.seq, before if changes.updates else at.cursor, extra)
    yield from series.bar_messages(before, at, changes.updates)
