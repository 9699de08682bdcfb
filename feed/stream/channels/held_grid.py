"""The grid that all listeners of a heatmap hold, and what they are told of it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from common.frames.grid_columns import GridColumn, GridShape, GridState, pack_grid
from feed.bars.changes import Cursor
from feed.wire.grid_messages import GridPatch

# Of a full frame. One that would be larger has higher rows.
MAX_FRAME_BYTES = 1 << 20
# Of a cursor: the lowest price and the height of rows that its reader holds, and the first column that may change.
_PLACE = re.compile(r"(-?[0-9]{1,19})\.([0-9]{1,19})\.([0-9]{1,16})", re.ASCII)


@dataclass(slots=True)
class HeldGrid:
    """`columns`: by their opens, all up to the newest. `told_seq`: what a reader holds that has all that was told.

    `changed`: by their opens, the commit, or picture, at which they changed here.
    """

    shape: GridShape
    columns: dict[int, GridColumn]
    state: GridState
    told_seq: int = field(init=False)
    changed: dict[int, int] = field(default_factory=dict)
    _full: bytes | None = None

    def __post_init__(self) -> None:
        self.told_seq = self.state.seq

    @property
    def newest_ms(self) -> int:
        return max(self.columns)

    @property
    def oldest_ms(self) -> int:
        return min(self.columns)

    def full(self) -> bytes:
        if self._full is None:
            self._full = pack_grid(self.shape, self.columns, self.state)
        return self._full

    def take(self, read: Mapping[int, GridColumn], state: GridState) -> GridPatch | None:
        """Put columns in the place of those that are held, and return what changed; None: nothing that shows."""
        nothing = GridColumn({}, ())
        held = {open_ms: self.columns.get(open_ms) for open_ms in read}
        patches = {at: column.since(held[at] or nothing) for at, column in read.items() if held[at] != column}
        self.columns.update(read)
        last_ms = self.newest_ms - self.shape.cols * self.shape.bucket_ms
        for open_ms in [at for at in self.columns if at <= last_ms]:
            del self.columns[open_ms]
            self.changed.pop(open_ms, None)
        before, self.state, self._full = self.state, state, None
        if not patches and (state.known_ms, state.flags) == (before.known_ms, before.flags):
            return None
        self.changed |= dict.fromkeys(patches, state.seq)
        told = patches or {self.newest_ms: replace(self.columns[self.newest_ms], cells={})}
        patch = GridPatch(self.shape, self._through(told), state, self.told_seq)
        self.told_seq = state.seq
        return patch

    def whole(self, opens: Iterable[int], after: int) -> GridPatch | None:
        """All of these columns, whatever their reader holds of them; None of none."""
        width = len(self.shape.channels)
        found = {at: self.columns[at].whole(self.shape.rows, width) for at in opens if at in self.columns}
        return GridPatch(self.shape, self._through(found), self.state, after) if found else None

    def changed_after(self, seq: int) -> set[int]:
        return {open_ms for open_ms, at_seq in self.changed.items() if at_seq > seq and open_ms in self.columns}

    def cursor(self, growing_ms: int) -> str:
        """Of a reader that has all that was told: also whose columns from which on may change without a commit."""
        place = f"{self.shape.p0_ticks}.{self.shape.row_ticks}.{growing_ms}"
        return str(Cursor(self.state.seq, self.state.token, place))

    def growing_at(self, cursor: Cursor) -> int | None:
        """From which column on who stands there may lack anything; None: it holds no grid such as this one."""
        found = _PLACE.fullmatch(cursor.held)
        place = self.state.token, self.shape.p0_ticks, self.shape.row_ticks
        if not found or (cursor.token, int(found[1]), int(found[2])) != place:
            return None
        return int(found[3]) if int(found[3]) >= self.oldest_ms else None

    def _through(self, patches: Mapping[int, GridColumn]) -> dict[int, GridColumn]:
        """From the first to the newest column; of those that did not change what is known, which a reader replaces."""
        first_ms = min(patches)
        unchanged = {at: replace(column, cells={}) for at, column in self.columns.items() if at >= first_ms}
        return unchanged | dict(patches)
