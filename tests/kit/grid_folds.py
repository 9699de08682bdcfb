"""A client that holds a heatmap's grid and puts patches into it, as docs/protocol.md says."""

from decimal import Decimal
from typing import Any

import numpy as np

from common.frames.grid import COUNTED, GridFlags, GridFrame, GridKind
from common.frames.grid_columns import KnownSpan, joined
from tests.kit.channel_folds import ChannelFolding
from tests.kit.served import Served

Cells = dict[tuple[int, int], tuple[int, ...]]


class HeldFrames:
    """Cells by open and lowest price, in lots; what is known; the best prices by open. `cols`: held at most."""

    def __init__(self, cols: int, full: GridFrame) -> None:
        self.cols, self.head = cols, full.head
        self.first_ms, self.end_ms = full.head.t0_ms, _end(full)
        self.cells: Cells = cells_of(full)
        self.spans = _spans(full)
        self.best = _best(full)

    def patch(self, frame: GridFrame) -> None:
        held, head = self.head, frame.head
        assert (head.after, head.token) == (held.seq, held.token), (head, held)
        same = ("p0_ticks", "rows", "row_ticks", "bucket_ms", "kind")
        assert all(getattr(head, name) == getattr(held, name) for name in same)
        # It lies in what is held or follows it; or it is of as many columns as are held, and all others are too old.
        assert _end(frame) >= self.end_ms and (head.t0_ms <= self.end_ms or head.cols == self.cols)
        self.head, self.end_ms = head, _end(frame)
        self.first_ms = max(self.first_ms, self.end_ms - self.cols * head.bucket_ms)
        before = [(a, min(b, head.t0_ms), low, high) for a, b, low, high in self.spans if a < head.t0_ms]
        self.spans = _cut([*before, *_spans(frame)], self.first_ms)
        cells = {at: cell for at, cell in (self.cells | cells_of(frame)).items() if at[0] >= self.first_ms}
        self.cells = {at: cell for at, cell in cells.items() if any(cell)}
        self.best = {at: best for at, best in (self.best | _best(frame)).items() if at >= self.first_ms}

    def canonical(self) -> dict[str, Any]:
        return {"cells": self.cells, "spans": self.spans, "best": self.best, "known": self.head.known_ms}


def canonical(frame: GridFrame) -> dict[str, Any]:
    spans = _cut(_spans(frame), frame.head.t0_ms)
    cells = {at: cell for at, cell in cells_of(frame).items() if any(cell)}
    return {"cells": cells, "spans": spans, "best": _best(frame), "known": frame.head.known_ms}


def cells_of(frame: GridFrame) -> Cells:
    """Sparse or dense: those of which something is told."""
    head, channels = frame.head, sorted(frame.values)
    steps = [1 if channel in COUNTED[GridKind(head.kind)] else head.lot_step for channel in channels]
    columns = [frame.values[channel].astype(object) * step for channel, step in zip(channels, steps, strict=True)]
    if GridFlags.DENSE in head.flags:
        unknown = np.iinfo(frame.values[channels[0]].dtype).max
        places = np.flatnonzero(frame.values[channels[0]] != unknown).tolist()
        where = [(at // head.rows, at % head.rows) for at in places]
    else:
        places = list(range(len(frame.row)))
        cols = np.repeat(np.arange(head.cols), np.diff(frame.col_start)).tolist()
        where = list(zip(cols, frame.row.tolist(), strict=True))
    return {
        (head.t0_ms + col * head.bucket_ms, head.p0_ticks + row * head.row_ticks): tuple(
            int(column[at]) for column in columns
        )
        for (col, row), at in zip(where, places, strict=True)
    }


def _end(frame: GridFrame) -> int:
    return frame.head.t0_ms + frame.head.cols * frame.head.bucket_ms


def _spans(frame: GridFrame) -> list[KnownSpan]:
    head = frame.head
    inside = [(max(a, head.t0_ms), min(b, _end(frame)), low, high) for a, b, low, high in frame.spans.tolist()]
    return joined(span for span in inside if span[0] < span[1])


def _cut(spans: list[KnownSpan], from_ms: int) -> list[KnownSpan]:
    return joined((max(a, from_ms), b, low, high) for a, b, low, high in spans if b > from_ms)


def _best(frame: GridFrame) -> dict[int, tuple[int, ...]]:
    head = frame.head
    return {head.t0_ms + at * head.bucket_ms: tuple(each) for at, each in enumerate(frame.best.tolist())}


def _rest(one: Any, other: Any) -> Any:
    """What one has and the other has not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return dict(one.items() - other.items())
    return one


class GridFolding(ChannelFolding):
    """`bars`: the canonical form of what it holds."""

    bars: dict[Any, Any]

    def __init__(self, feed: Served, symbol: str, **asked: Any) -> None:
        super().__init__(feed, "heatmap", symbol, "", 0, **asked)
        self.grid: HeldFrames | None = None
        self._next: dict[str, Any] | None = None

    def request(self) -> dict[str, Any]:
        request = super().request()
        del request["timeframe"], request["limit"]
        return request

    def join(self) -> None:
        self._next = None
        super().join()

    async def expected(self) -> dict[Any, Any]:
        """A fresh answer of just what it holds."""
        if self.grid is None:
            return {"cells": None}
        head, scale = self.grid.head, Decimal(1).scaleb(-self.grid.head.price_decimals)
        asked = {name: self.asked[name] for name in ("kind", "bucket", "cell", "channels") if name in self.asked}
        response = await self.feed.get(
            f"/v1/heatmap/{self.symbol}",
            format="grid",
            start=self.grid.first_ms,
            end=self.grid.end_ms,
            row=head.row_ticks * scale,
            price_min=head.p0_ticks * scale,
            price_max=(head.p0_ticks + head.rows * head.row_ticks - 1) * scale,
            **asked,
        )
        assert response.status_code == 200, response.text
        return canonical(GridFrame.unpack(response.content))

    def differences(self, expected: dict[Any, Any]) -> dict[Any, Any]:
        if self._task and self._task.done():
            self._task.result()
        return {
            name: (_rest(self.bars.get(name), expected[name]), _rest(expected[name], self.bars.get(name)))
            for name in expected
            if self.bars.get(name) != expected[name]
        }

    def hear(self, message: dict[str, Any]) -> None:
        assert self._next is None, (self._next, message)
        kind = message["type"]
        if kind in ("snapshot", "heatmap"):
            self.heard.append(kind)
            self._next = message
            assert kind == "heatmap" or self.cursor is None or message["reset"], message
        else:
            super().hear(message)

    def hear_frame(self, frame: bytes) -> None:
        message, self._next = self._next, None
        assert message is not None
        found = GridFrame.unpack(frame)
        assert found.head.is_patch == (message["type"] == "heatmap") and found.head.seq == message["seq"]
        if found.head.is_patch:
            assert self.grid and message["after"] == found.head.after
            self.grid.patch(found)
        else:
            self.grid = HeldFrames(self.asked.get("cols", 600), found)
        self.cursor, self.bars = message["cursor"], self.grid.canonical()
