"""A heatmap on the stream: a text message that names it, and right behind it a grid frame as a binary one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from common.frames.grid_columns import GridColumn, GridShape, GridState, pack_grid
from common.store.registry import Market
from feed.wire.answers import SymbolAnswer
from feed.wire.heatmaps import told_grid
from feed.wire.messages import News, StreamMessage


@dataclass(frozen=True, slots=True)
class GridPatch:
    """Columns as they are told, from the first that changed to the newest. `after`: what its reader must hold."""

    shape: GridShape
    columns: Mapping[int, GridColumn]
    state: GridState
    after: int

    def over(self, older: "GridPatch") -> "GridPatch":
        """Both as one: of the columns that are held still."""
        columns = dict(older.columns)
        for open_ms, column in self.columns.items():
            columns[open_ms] = column.over(columns[open_ms]) if open_ms in columns else column
        first_ms = max(columns) - (self.shape.cols - 1) * self.shape.bucket_ms
        return replace(self, columns={at: columns[at] for at in columns if at >= first_ms}, after=older.after)


@dataclass(eq=False, slots=True)
class GridMessage(News):
    patch: GridPatch
    _frame: bytes | None = field(default=None, init=False)

    @property
    def frame(self) -> bytes:
        """Packed once, for all who are sent it."""
        if self._frame is None:
            self._frame = pack_grid(self.patch.shape, self.patch.columns, self.patch.state, self.patch.after)
        return self._frame

    def from_commit(self, seq: int, token: str) -> "GridMessage":
        """Who was opened at a later one than this leads on from holds all of it up to there."""
        return self if self.patch.after >= seq else replace(self, patch=replace(self.patch, after=seq))

    def after(self, older: StreamMessage | None) -> StreamMessage:
        return replace(self, patch=self.patch.over(older.patch)) if isinstance(older, GridMessage) else self

    def _written(self) -> str:
        told = f'"seq":{self.seq},"after":{self.patch.after},"cursor":"{self.cursor}"'
        return f'{{"type":"heatmap",{self.names},{told}}}'


def told_snapshot(
    market: Market, shape: GridShape, newest_ms: int, cols: int, state: GridState, more: Mapping[str, object]
) -> SymbolAnswer:
    """What a full frame is of."""
    told = told_grid(shape.times(newest_ms, cols), market.instrument)
    return SymbolAnswer(market, {"kind": shape.kind.name.lower(), **told, "knownTo": state.known_ms, **more})
