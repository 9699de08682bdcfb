"""Columns of numbers as an Arrow IPC stream of one record batch, written straight into one buffer.

Polars writes the same, and first makes a table of what is to be written: three times the work. Its is the schema, which
is the same for every batch; what is written here is the batch.
"""

import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np
import numpy.typing as npt

from common.market.coding.packed import Ints

Bytes = npt.NDArray[np.uint8]

# Of each buffer, as Arrow recommends.
_ALIGNED = 64
# What goes before the metadata of each message; a message of none ends the stream.
_CONTINUED = 0xFFFFFFFF
_FRAME, _END = struct.Struct("<II"), struct.pack("<II", _CONTINUED, 0)


class ArrowColumn(Protocol):
    """Without nulls: it has no buffer of validity."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each of its buffers."""

    def write(self, *buffers: Bytes) -> None: ...


class Ints64:
    """`int64`."""

    def __init__(self, values: Ints) -> None:
        self.values, self.sizes = values, (8 * len(values),)

    def write(self, *buffers: Bytes) -> None:
        buffers[0].view(np.int64)[:] = self.values


class Decimals128:
    """`decimal128`: numbers of 64 bits in units of the least digit, each with the 64 bits of its sign above."""

    def __init__(self, values: Ints) -> None:
        self.values, self.sizes = values, (16 * len(values),)

    def write(self, *buffers: Bytes) -> None:
        halves = buffers[0].view(np.int64).reshape(-1, 2)
        halves[:, 0] = self.values
        np.right_shift(self.values, 63, out=halves[:, 1])


class Flags:
    """`bool`: a bit each."""

    def __init__(self, values: npt.NDArray[np.bool_]) -> None:
        self.values, self.sizes = values, ((len(values) + 7) // 8,)

    def write(self, *buffers: Bytes) -> None:
        buffers[0][:] = np.packbits(self.values, bitorder="little")


class Words:
    """`large_string`: of a few words, by the number of each."""

    def __init__(self, words: Sequence[str], numbers: npt.NDArray[np.uint8]) -> None:
        self._words = [np.frombuffer(word.encode(), np.uint8) for word in words]
        self._numbers = numbers
        self._lengths = np.array([len(word) for word in self._words])[numbers]
        self.sizes = 8 * (len(numbers) + 1), int(self._lengths.sum())

    def write(self, *buffers: Bytes) -> None:
        offsets = buffers[0].view(np.int64)
        offsets[0] = 0
        np.cumsum(self._lengths, out=offsets[1:])
        buffers[1][:] = self._text()

    def _text(self) -> Bytes:
        used = np.unique(self._numbers)
        if len(used) == 1:
            return np.tile(self._words[used[0]], len(self._numbers))
        longest = max(map(len, self._words))
        table = np.array([np.pad(word, (0, longest - len(word))) for word in self._words])
        return table[self._numbers][np.arange(longest) < self._lengths[:, None]]


def schema_message(stream: bytes) -> bytes:
    """The beginning of a stream: the message that tells its schema."""
    _, size = _FRAME.unpack_from(stream)
    return stream[: _FRAME.size + size]


def stream(schema: bytes, rows: int, columns: Sequence[ArrowColumn]) -> memoryview:
    """Return a stream of one batch of these columns, as `schema` (a message) tells them."""
    sizes = [size for column in columns for size in column.sizes]
    *starts, end = accumulate((-size % _ALIGNED + size for size in sizes), initial=0)
    head = schema + _batch_message(rows, _places(columns, starts), end)
    whole = np.empty(len(head) + end + len(_END), np.uint8)
    whole[: len(head)] = np.frombuffer(head, np.uint8)
    whole[len(head) + end :] = np.frombuffer(_END, np.uint8)
    body = whole[len(head) : len(head) + end]
    buffers = iter([_buffer(body, start, size) for start, size in zip(starts, sizes, strict=True)])
    for column in columns:
        column.write(*(next(buffers) for _ in column.sizes))
    return whole.data


def _buffer(body: Bytes, start: int, size: int) -> Bytes:
    """Its bytes, with nothing behind them that the memory had before."""
    body[start + size : start + size + -size % _ALIGNED] = 0
    return body[start : start + size]


def _places(columns: Sequence[ArrowColumn], starts: Sequence[int]) -> list[list[tuple[int, int]]]:
    """Where each column's buffers begin in the body, and how long they are; the first, of validity, is none."""
    places, following = list[list[tuple[int, int]]](), iter(starts)
    for column in columns:
        found = [(next(following), size) for size in column.sizes]
        places.append([(found[0][0], 0), *found])
    return places


def _batch_message(rows: int, places: Sequence[Sequence[tuple[int, int]]], body_bytes: int) -> bytes:
    """The framed metadata of a record batch: a FlatBuffer (Message.fbs of Arrow) of a fixed layout.

    A table begins with the distance back to its vtable, which has its own size, the table's, and where each field lies;
    a reference is the distance to what it names. All that has 8 bytes lies at a multiple of 8.
    """
    nodes = struct.pack("<qq", rows, 0) * len(places)
    buffers = b"".join(struct.pack("<qq", *place) for column in places for place in column)
    # Message: version (V5) at 4, type (RecordBatch) at 6, header at 8, bytes of the body at 16.
    message = struct.pack("<I6H", 16, 12, 24, 4, 6, 8, 16) + struct.pack("<ihBxI4xq", 12, 4, 3, 32, body_bytes)
    # RecordBatch: length at 8, nodes at 4, buffers at 16; nothing of compression.
    batch = struct.pack("<5H6x", 10, 20, 8, 4, 16) + struct.pack("<iIqI", 16, 16, rows, 12 + len(nodes))
    vectors = b"".join(struct.pack("<I", len(vector) // 16) + vector + b"\0\0\0\0" for vector in (nodes, buffers))
    metadata = message + batch + vectors
    metadata += bytes(-len(metadata) % 8)
    return _FRAME.pack(_CONTINUED, len(metadata)) + metadata
