"""Bars with rows as text: cut out of a page, and told as what changed of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

# Only a bar begins so: what else is in one has no `t`, or not as its first member.
_NEXT_BAR = b'},{"t":'
_NEXT_ROW, _ROWS = b"},{", b'"rows":['
# Of a row beyond its text: two objects, and their places in a dict.
_ROW_OVERHEAD = 200


@dataclass(frozen=True, slots=True)
class RowBar:
    """A bar as JSON: what stands before its rows and after them, and its rows by their prices.

    A bar without rows, as of a table, has all of it in `before`.
    """

    open_ms: int
    before: bytes
    rows: dict[bytes, bytes]
    after: bytes

    @classmethod
    def of(cls, json: bytes) -> "RowBar":
        open_ms = int(json[len(b'{"t":') : json.index(b",")])
        before, mark, rest = json.partition(_ROWS)
        rows, bracket, after = rest.partition(b"]")
        texts = rows[1:-1].split(_NEXT_ROW) if rows else []
        return cls(open_ms, before + mark, {text[: text.index(b",")]: text for text in texts}, bracket + after)

    def since(self, older: "RowBar | None") -> "RowBar":
        """With only the rows that are not what they were."""
        if older is None:
            return self
        return replace(self, rows={at: row for at, row in self.rows.items() if older.rows.get(at) != row})

    def over(self, older: "RowBar") -> "RowBar":
        """With the rows that an older one has and this one has not."""
        return replace(self, rows=older.rows | self.rows)

    @property
    def json(self) -> bytes:
        rows = b",".join(b"{%b}" % row for row in self.rows.values())
        return self.before + rows + self.after

    @property
    def size(self) -> int:
        """Bytes, near enough for a limit."""
        return len(self.before) + len(self.after) + sum(len(row) + _ROW_OVERHEAD for row in self.rows.values())


def row_bars(runs: Sequence[bytes]) -> list[RowBar]:
    """The bars of a page's runs."""
    return [RowBar.of(bar) for bar in single_bars(runs)]


def single_bars(runs: Sequence[bytes]) -> list[bytes]:
    """The JSON of each bar of a page's runs."""
    text = b",".join(runs)
    if not text:
        return []
    first, *rest = text[1:-1].split(_NEXT_BAR)
    return [b"{%b}" % first, *(b'{"t":%b}' % each for each in rest)]
