"""Columns of unsigned numbers by limbs: as narrow as a block has them, and read some whole bytes at a time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from common.market.coding.packed import Ints

Numbers = npt.NDArray[np.unsignedinteger[Any]]
Signed = npt.NDArray[np.signedinteger[Any]]
Bytes = npt.NDArray[np.uint8]

Starts = Sequence[int] | Ints
# One group of all rows.
WHOLE: Starts = (0,)

# Bytes of the limbs of a column, the lowest first, by its width.
_LIMBS = ((), (1,), (2,), (2, 1), (4,), (4, 1), (4, 2), (4, 2, 1), (8,))


class Scratch:
    """Arrays that are written over, by name and type: memory that is in the processor's cache already.

    Of one thread. What was taken is gone when the same is taken again.
    """

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, np.dtype[Any]], npt.NDArray[Any]] = {}

    def take(self, name: str, kind: npt.DTypeLike, rows: int) -> npt.NDArray[Any]:
        key = name, np.dtype(kind)
        found = self._arrays.get(key)
        if found is None or len(found) < rows:
            found = self._arrays[key] = np.empty(rows, kind)
        return found[:rows]


class LimbColumn(NamedTuple):
    """Numbers by limbs, the lowest first; without a limb each is `constant`, which has a byte at most."""

    limbs: tuple[Numbers, ...]
    constant: int = 0

    @classmethod
    def of(cls, lines: Bytes) -> "LimbColumn":
        """`lines`: a line for each byte of the numbers, the lowest first."""
        if len(lines) == 1 and lines.min() == lines.max():
            return cls((), int(lines[0, 0]))
        limbs, at = list[Numbers](), 0
        for size in _LIMBS[len(lines)]:
            limbs.append(_limb(lines[at : at + size]))
            at += size
        return cls(tuple(limbs))

    @property
    def nbytes(self) -> int:
        return sum(limb.nbytes for limb in self.limbs)

    @property
    def width(self) -> int:
        """Bytes of a number."""
        return sum(limb.itemsize for limb in self.limbs)

    def greatest(self, starts: Starts = WHOLE) -> list[int]:
        """Per group of rows: none is greater. Of one limb it is the greatest, of several not much more."""
        if not self.limbs:
            return [self.constant] * len(starts)
        top = self.limbs[-1]
        shift = 8 * (self.width - top.itemsize)
        return [((most + 1) << shift) - 1 for most in np.maximum.reduceat(top, starts).tolist()]

    def furthest(self, starts: Starts = WHOLE) -> list[int]:
        """The same of what is zigzagged: none is further from 0."""
        return [(most + 1) >> 1 for most in self.greatest(starts)]

    def some(self, rows: slice) -> "LimbColumn":
        return self._replace(limbs=tuple(limb[rows] for limb in self.limbs))

    def numbers(self, out: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Write the numbers to `out`, which is as wide as they are, and return it."""
        if not self.limbs:
            out.fill(self.constant)
            return out
        *lower, top = self.limbs
        np.copyto(out, top, casting="unsafe")
        for limb in reversed(lower):
            np.left_shift(out, 8 * limb.itemsize, out=out)
            np.bitwise_or(out, limb, out=out)
        return out

    def signed(self, name: str, rows: int, scratch: Scratch) -> Signed:
        """Return what was zigzagged, in the width it has, as scratch of that name."""
        kind = np.dtype(f"u{8 if self.width > 4 else 4 if self.width > 2 else self.width or 1}")
        if len(self.limbs) == 1:
            zigzagged: npt.NDArray[Any] = self.limbs[0]
        else:
            zigzagged = self.numbers(scratch.take("zigzagged", kind, rows))
        sign = np.bitwise_and(zigzagged, 1, out=scratch.take("sign", kind, rows))
        np.negative(sign, out=sign)
        half = np.right_shift(zigzagged, 1, out=scratch.take(name, kind, rows))
        np.bitwise_xor(half, sign, out=half)
        signed: Signed = half.view(f"i{kind.itemsize}")
        return signed


def _limb(lines: Bytes) -> Numbers:
    made: Numbers = lines[-1].astype(f"<u{len(lines)}")
    for line in lines[-2::-1]:
        np.left_shift(made, 8, out=made)
        np.bitwise_or(made, line, out=made)
    return made


def chain(steps: Signed, counts: Ints, begins: Ints) -> None:
    """Make steps running sums, in place, each block's from its own number on. They wrap as their type does."""
    np.cumsum(steps, dtype=steps.dtype, out=steps)
    ends = np.cumsum(counts)
    so_far = np.concatenate([np.zeros(1, steps.dtype), steps[ends[:-1] - 1]])
    offsets = (begins - so_far).astype(steps.dtype)
    steps += offsets[0] if (offsets == offsets[0]).all() else np.repeat(offsets, counts)


def lines_of(planes: Sequence[Bytes], widths: Sequence[bytes]) -> list[Bytes]:
    """Join columns of several blocks: of each column the lines of bytes that the widest of them needs.

    `planes`: per block a line for each byte of each column; `widths`: per block how many of them a column has.
    """
    most = bytes(map(max, zip(*widths, strict=True)))
    joined = np.concatenate(planes, axis=1) if len({*widths}) == 1 else _padded(planes, widths, most)
    ends = np.cumsum(np.frombuffer(most, np.uint8), dtype=np.intp).tolist()
    return [joined[end - width : end] for end, width in zip(ends, most, strict=True)]


def _padded(planes: Sequence[Bytes], widths: Sequence[bytes], most: bytes) -> Bytes:
    """A line of a column that a block does not need is 0 there."""
    joined, at = np.zeros((sum(most), sum(block.shape[1] for block in planes)), np.uint8), 0
    places: dict[bytes, npt.NDArray[np.bool_]] = {}
    for block, width in zip(planes, widths, strict=True):
        if width not in places:
            there = [byte < needed for needed, room in zip(width, most, strict=True) for byte in range(room)]
            places[width] = np.array(there)
        joined[places[width], at : at + block.shape[1]] = block
        at += block.shape[1]
    return joined
