"""Columns of numbers as bytes: all lowest bytes, then all second bytes, as many as the widest number needs."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from common.market.coding.int128 import Unsigned
from common.market.coding.packed import Ints

# Bytes per number that a column of this width (0 to 8) is read into.
_ROOM = (1, 1, 2, 4, 4, 8, 8, 8, 8)

ALL = slice(None)


@dataclass(frozen=True, slots=True)
class PlanePart:
    """One block's content. `head`: the numbers of its struct; per column its rows, width and where it starts."""

    content: bytes
    head: tuple[int, ...]
    rows: Sequence[int]
    widths: bytes
    starts: Sequence[int]

    @classmethod
    def of(cls, content: bytes, head: struct.Struct, rows: Sequence[int]) -> "PlanePart":
        widths = content[head.size : head.size + len(rows)]
        sizes = (count * width for count, width in zip(rows, widths, strict=True))
        starts = list(accumulate(sizes, initial=head.size + len(rows)))
        return cls(content, head.unpack_from(content), rows, widths, starts)

    def plane(self, column: int, byte: int, some: slice = ALL) -> bytes:
        first, end, _ = some.indices(self.rows[column])
        start = self.starts[column] + byte * self.rows[column]
        return self.content[start + first : start + end] if byte < self.widths[column] else bytes(end - first)

    def sum(self, column: int, some: slice) -> int:
        """Of some rows, however many: no column is made of them."""
        found = (np.frombuffer(self.plane(column, byte, some), np.uint8) for byte in range(self.widths[column]))
        return sum(int(plane.sum(dtype=np.uint64)) << 8 * byte for byte, plane in enumerate(found))


def split(column: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """A line per byte that any of the numbers needs, the lowest first."""
    whole = column.astype("<u8")
    width = (int(whole.max(initial=0)).bit_length() + 7) // 8
    return np.ascontiguousarray(whole.view(np.uint8).reshape(-1, 8)[:, :width].T)


def column(parts: list[PlanePart], at: int, some: slice = ALL) -> npt.NDArray[np.unsignedinteger]:
    """One column of several blocks, as narrow as the widest of them allows; a single 0 where all numbers are 0.

    `some`: these rows of each.
    """
    width = max(part.widths[at] for part in parts)
    if not width:
        return np.zeros(1, np.uint8)
    found = [b"".join([part.plane(at, byte, some) for part in parts]) for byte in range(width)]
    numbers = np.zeros((len(found[0]), _ROOM[width]), np.uint8)
    for byte, plane in enumerate(found):
        numbers[:, byte] = np.frombuffer(plane, np.uint8)
    return numbers.view(f"<u{_ROOM[width]}")[:, 0]


def zigzag(values: Ints) -> Unsigned:
    return ((values << 1) ^ (values >> 63)).view(np.uint64)


def unzigzag(values: npt.NDArray[np.unsignedinteger]) -> Ints:
    """In the width they have: a narrow column is a fraction of the work."""
    signed = (values >> 1) ^ -(values & 1)
    return signed.view(f"<i{values.itemsize}").astype(np.int64)


def before(values: Ints, first: Ints) -> Ints:
    """What comes before each value; `first`: before the first."""
    return np.concatenate([first, values[:-1]])


def chain(steps: Ints, counts: Sequence[int], begins: Sequence[int]) -> Ints:
    """Running sums, each block's from its own number on."""
    ends = np.cumsum(counts)
    sums = np.cumsum(np.broadcast_to(steps, int(ends[-1])))
    so_far = np.concatenate([np.zeros(1, np.int64), sums[ends[:-1] - 1]])
    sums += np.repeat(np.array(begins, np.int64) - so_far, counts)
    return sums


def spread(values: Sequence[int], counts: Sequence[int]) -> Ints:
    """A number per block as a number per row; as one number where it is the same in all."""
    if len(set(values)) == 1:
        return np.array(values[:1], np.int64)
    return np.repeat(np.array(values, np.int64), counts)
