"""Spans of trade ids, ascending, none touching the next: in chunks, so that one is put anywhere at the same cost.

A chunk is also how spans are stored: what changes is written, and not all there are. Chunks are told apart by numbers
that say nothing of their order: the ids in them do.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import NamedTuple

# A chunk is 8 kB at most, which a commit that changes one span of it writes.
MAX_CHUNK = 256
# Of a span in a packed chunk: four columns of int64.
SPAN_BYTES = 32


class IdSpan(NamedTuple):
    """Ids `first..last`, all applied, traded from `from_ms` (of the first) to `to_ms` (of the last)."""

    first: int
    last: int
    from_ms: int
    to_ms: int


class Hole(NamedTuple):
    """Ids `first..last` are missing; they were traded between `from_ms` and `to_ms`."""

    first: int
    last: int
    from_ms: int
    to_ms: int


@dataclass(slots=True, eq=False)
class SpanChunk:
    """Columns of equal length. `changed`: since it was last taken to be stored."""

    number: int
    first: "array[int]" = field(default_factory=lambda: array("q"))
    last: "array[int]" = field(default_factory=lambda: array("q"))
    from_ms: "array[int]" = field(default_factory=lambda: array("q"))
    to_ms: "array[int]" = field(default_factory=lambda: array("q"))
    changed: bool = True
    # The least and the greatest time in it, while they are known.
    _times: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[IdSpan]:
        return map(IdSpan, self.first, self.last, self.from_ms, self.to_ms)

    def at(self, position: int) -> IdSpan:
        return IdSpan(self.first[position], self.last[position], self.from_ms[position], self.to_ms[position])

    def touched(self) -> None:
        self.changed, self._times = True, None

    def insert(self, at: int, first: int, last: int, from_ms: int, to_ms: int) -> None:
        self.first.insert(at, first)
        self.last.insert(at, last)
        self.from_ms.insert(at, from_ms)
        self.to_ms.insert(at, to_ms)
        self.touched()

    def append(self, first: int, last: int, from_ms: int, to_ms: int) -> None:
        self.first.append(first)
        self.last.append(last)
        self.from_ms.append(from_ms)
        self.to_ms.append(to_ms)
        self.touched()

    def pop(self, at: int) -> IdSpan:
        self.touched()
        return IdSpan(self.first.pop(at), self.last.pop(at), self.from_ms.pop(at), self.to_ms.pop(at))

    def cut(self, at: int, number: int) -> "SpanChunk":
        """Move the spans from `at` on to a chunk of their own."""
        rest = SpanChunk(number, self.first[at:], self.last[at:], self.from_ms[at:], self.to_ms[at:])
        for column in self._columns():
            del column[at:]
        self.touched()
        return rest

    def holds_hole(self, start_ms: int, end_ms: int) -> bool:
        if self._times is None:
            times = self.from_ms + self.to_ms
            self._times = min(times), max(times)
        if self._times[0] >= end_ms or self._times[1] < start_ms:
            return False
        pairs = zip(self.to_ms, self.from_ms[1:], strict=False)
        return any(from_ms < end_ms and to_ms >= start_ms for from_ms, to_ms in pairs)

    def pack(self) -> bytes:
        return b"".join(column.tobytes() for column in self._columns())

    @classmethod
    def unpack(cls, number: int, packed: bytes) -> "SpanChunk":
        size = len(packed) // 4
        first, last, from_ms, to_ms = (array("q", packed[at : at + size]) for at in range(0, len(packed), size))
        return cls(number, first, last, from_ms, to_ms, changed=False)

    def _columns(self) -> "tuple[array[int], array[int], array[int], array[int]]":
        return self.first, self.last, self.from_ms, self.to_ms


class Spans:
    """Any number of spans."""

    __slots__ = ("_chunks", "_count", "_gone", "_next_number", "_starts")

    def __init__(self, chunks: Iterable[SpanChunk] = ()) -> None:
        self._chunks = sorted(chunks, key=lambda chunk: chunk.first[0])
        # The first id of each chunk.
        self._starts = [chunk.first[0] for chunk in self._chunks]
        self._count = sum(map(len, self._chunks))
        self._next_number = 1 + max((chunk.number for chunk in self._chunks), default=-1)
        # Numbers of chunks that are stored and have no span any more.
        self._gone: set[int] = set()

    @classmethod
    def of(cls, spans: Iterable[IdSpan]) -> "Spans":
        """None of them is stored by chunks yet."""
        made = cls()
        for span in spans:
            made.append(*span)
        return made

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[IdSpan]:
        return chain.from_iterable(self._chunks)

    def oldest(self) -> IdSpan | None:
        return next(iter(self._chunks[0])) if self._chunks else None

    def newest(self) -> IdSpan | None:
        return self._chunks[-1].at(-1) if self._chunks else None

    def append(self, first: int, last: int, from_ms: int, to_ms: int) -> None:
        """Put a span behind all others, which it does not touch."""
        if not self._chunks or len(self._chunks[-1].first) >= MAX_CHUNK:
            self._add_chunk(len(self._chunks), SpanChunk(self._number()), first)
        self._chunks[-1].append(first, last, from_ms, to_ms)
        self._count += 1

    def pop(self) -> IdSpan:
        """Take the newest span away."""
        chunk = self._chunks[-1]
        span = chunk.pop(-1)
        self._count -= 1
        if not chunk:
            self._drop_chunk(len(self._chunks) - 1)
        return span

    def put(self, first: int, last: int, from_ms: int, to_ms: int, most: int) -> bool:
        """Put a span where no id of it is, joined with the neighbours that it touches.

        False, and nothing is done, if it touches none and there are `most` of them already.
        """
        at, chunk, left = self._find(first)
        may_add = self._count < most
        if chunk is None:
            if may_add:
                self.append(first, last, from_ms, to_ms)
            return may_add
        next_at, right = (at, left + 1) if left + 1 < len(chunk.first) else (at + 1, 0)
        following = self._chunks[next_at] if next_at < len(self._chunks) else None
        joins_left = left >= 0 and chunk.last[left] + 1 == first
        joins_right = following is not None and following.first[right] == last + 1
        if joins_left:
            chunk.last[left], chunk.to_ms[left] = last, to_ms
            chunk.touched()
            if joins_right:
                self._join(chunk, left, next_at, right)
        elif joins_right:
            assert following is not None
            following.first[right], following.from_ms[right] = first, from_ms
            following.touched()
            self._starts[next_at] = following.first[0]
        elif may_add:
            self._insert(at, left + 1, IdSpan(first, last, from_ms, to_ms))
        return may_add or joins_left or joins_right

    def last_of(self, trade_id: int) -> int:
        """The last id of the newest span that begins with `trade_id` or before; -1 if there is none."""
        _, chunk, at = self._find(trade_id)
        return chunk.last[at] if chunk is not None and at >= 0 else -1

    def first_after(self, trade_id: int) -> int | None:
        """The first id of the oldest span that begins after `trade_id`; None if there is none."""
        at, chunk, left = self._find(trade_id)
        if chunk is not None and left + 1 < len(chunk.first):
            return chunk.first[left + 1]
        return self._starts[at + 1] if at + 1 < len(self._starts) else None

    def between(self, first: int, last: int) -> Iterator[IdSpan]:
        """Those that begin in `first..last`, the one before and the one after."""
        at, _, left = self._find(first)
        for chunk in self._chunks[at:]:
            for position in range(max(left, 0), len(chunk)):
                yield chunk.at(position)
                if chunk.first[position] > last:
                    return
            left = 0

    def holds_hole(self, start_ms: int, end_ms: int) -> bool:
        """Whether a trade that is missing between two of the spans may be of `[start_ms, end_ms)`."""
        for before, chunk in pairwise(self._chunks):
            if before.to_ms[-1] < end_ms and chunk.from_ms[0] >= start_ms:
                return True
        return any(chunk.holds_hole(start_ms, end_ms) for chunk in self._chunks)

    def latest_ms(self) -> int:
        """The greatest time of a span's end; -1 without one."""
        return max((max(chunk.to_ms) for chunk in self._chunks), default=-1)

    def columns(self) -> "tuple[array[int], array[int]]":
        """The first and the last ids."""
        firsts, lasts = array("q"), array("q")
        for chunk in self._chunks:
            firsts += chunk.first
            lasts += chunk.last
        return firsts, lasts

    def take_changed(self) -> dict[int, bytes]:
        """The chunks that changed since the last call, packed, by number; b"" where one is gone."""
        found = dict.fromkeys(self._gone, b"")
        for chunk in self._chunks:
            if chunk.changed:
                found[chunk.number] = chunk.pack()
                chunk.changed = False
        self._gone.clear()
        return found

    @classmethod
    def load(cls, packed: Mapping[int, bytes]) -> "Spans":
        return cls(SpanChunk.unpack(number, chunk) for number, chunk in packed.items())

    def _find(self, trade_id: int) -> tuple[int, SpanChunk | None, int]:
        """The chunk where `trade_id` has its place, and in it the last span that begins at or before it, or -1."""
        at = bisect_right(self._starts, trade_id) - 1
        if at < 0:
            return 0, self._chunks[0] if self._chunks else None, -1
        chunk = self._chunks[at]
        return at, chunk, bisect_right(chunk.first, trade_id) - 1

    def _insert(self, at: int, position: int, span: IdSpan) -> None:
        chunk = self._chunks[at]
        if len(chunk) >= MAX_CHUNK:
            if at + 1 == len(self._chunks) and position == len(chunk):
                # Ids that come in order fill their chunks.
                self.append(*span)
                return
            rest = chunk.cut(MAX_CHUNK // 2, self._number())
            self._add_chunk(at + 1, rest, rest.first[0])
            if position > len(chunk):
                at, position, chunk = at + 1, position - len(chunk), rest
        chunk.insert(position, *span)
        self._starts[at] = chunk.first[0]
        self._count += 1

    def _join(self, chunk: SpanChunk, left: int, next_at: int, right: int) -> None:
        """Let a span take in the next one, whose place is the second."""
        following = self._chunks[next_at]
        _, chunk.last[left], _, chunk.to_ms[left] = following.pop(right)
        self._count -= 1
        if not following.first:
            self._drop_chunk(next_at)
        elif right == 0:
            self._starts[next_at] = following.first[0]

    def _number(self) -> int:
        self._next_number += 1
        return self._next_number - 1

    def _add_chunk(self, at: int, chunk: SpanChunk, start: int) -> None:
        self._chunks.insert(at, chunk)
        self._starts.insert(at, start)

    def _drop_chunk(self, at: int) -> None:
        self._gone.add(self._chunks[at].number)
        del self._chunks[at], self._starts[at]


def holes_of(spans: Iterable[IdSpan]) -> Iterator[Hole]:
    """The holes between spans that ascend."""
    return (Hole(a.last + 1, b.first - 1, a.to_ms, b.from_ms) for a, b in pairwise(spans))
