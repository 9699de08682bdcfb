"""The grid frame: its layout byte by byte, and back."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.frames.grid import (
    HEAD,
    NO_PRICE,
    DepthChannel,
    GridCells,
    GridFlags,
    GridFrame,
    GridHead,
    GridKind,
    TradedChannel,
)
from infra.paths import ROOT
from tests.kit.strategies import LAW, START_MS

TOKEN = "0123456789abcdef" * 2


def _example() -> GridFrame:
    """Two columns; cells (0, row 3: 5 / 0), (1, row 3: 1 / 2), (1, row 4: 0 / 7)."""
    bought, sold = (np.zeros((2, 8), np.int64) for _ in "bs")
    bought[0, 3], bought[1, 3], sold[1, 3], sold[1, 4] = 5, 1, 2, 7
    cells = GridCells.of({TradedChannel.BUY: bought, TradedChannel.SELL: sold})
    values, step = cells.stepped()
    head = GridHead(GridKind.TRADED, 1_000, START_MS, 100, 2, 8, 5, step, 2, 3, seq=42, known_ms=7, token=TOKEN)
    return GridFrame(head, values, cells.col_start(2), cells.rows)


def test_the_example_of_the_documentation_byte_by_byte() -> None:
    packed = _example().pack()
    assert (len(packed), HEAD.size) == (168, 112)
    assert packed[:8] == b"FMG\x01" + struct.pack("<HBB", 112, 1, 0)
    assert struct.unpack_from("<IHBBB", packed, 8) == (0, 0b11, 4, 2, 3)
    assert struct.unpack_from("<IqqIIIIQII", packed, 20) == (1_000, START_MS, 100, 2, 8, 5, 3, 1, 0, 0)
    assert struct.unpack_from("<QqQ", packed, 72) == (42, 7, 0)
    assert packed[96:112] == bytes.fromhex(TOKEN)
    assert struct.unpack_from("<III4xHHH2x", packed, 112) == (0, 1, 3, 3, 3, 4)
    assert struct.unpack_from("<III4xIII4x", packed, 136) == (5, 1, 0, 0, 2, 7)


def test_the_hexdump_of_the_protocol_is_that_frame() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text().partition("```hexdump\n")[2].partition("```")[0]
    lines = [line.split(maxsplit=1) for line in text.splitlines()]
    assert b"".join(bytes.fromhex(part) for _, part in lines) == _example().pack()
    assert [int(at) for at, _ in lines] == list(range(0, 168, 16))


def _same(one: GridFrame, other: GridFrame) -> None:
    assert one.head == other.head
    for name in ("col_start", "row", "spans", "best"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert {at: column.tolist() for at, column in one.values.items()} == {
        at: column.tolist() for at, column in other.values.items()
    }


@LAW
@given(
    st.lists(st.lists(st.one_of(st.just(0), st.integers(1, 1 << 62)), min_size=3, max_size=3), min_size=1, max_size=5),
    st.booleans(),
    st.lists(st.tuples(*[st.integers(-(1 << 63), (1 << 63) - 1)] * 4), max_size=3),
)
def test_a_frame_comes_back_as_it_went(cells: list[list[int]], wide: bool, spans: list[tuple[int, ...]]) -> None:
    bids = np.array(cells, np.int64)
    known = np.full_like(bids, 1_000)
    there = GridCells.of({DepthChannel.BID_SIZE_MS: bids, DepthChannel.KNOWN_MS: known}, (DepthChannel.KNOWN_MS,))
    values, step = there.stepped()
    best = np.full((len(cells), 4), NO_PRICE)
    flags = GridFlags.WIDE_ROWS | GridFlags.PARTIAL if wide else GridFlags(0)
    head = GridHead(GridKind.DEPTH, 50, 1, -5, len(cells), 3, 2, step, 1, 8, True, flags, 0, 9, 8, TOKEN)
    col_start = there.col_start(len(cells))
    frame = GridFrame(head, values, col_start, there.rows, np.array(spans, np.int64).reshape(-1, 4), best)
    packed = frame.pack()
    assert len(packed) % 8 == 0
    found = GridFrame.unpack(packed)
    _same(found, frame)
    assert found.pack() == packed
    # Each cell is where it was.
    again = np.zeros_like(bids)
    for col in range(len(cells)):
        some = slice(found.col_start[col], found.col_start[col + 1])
        again[col, found.row[some]] = found.values[DepthChannel.BID_SIZE_MS][some].astype(np.int64) * step
    assert again.tolist() == cells


def test_a_dense_frame_comes_back_too() -> None:
    head = GridHead(GridKind.DEPTH, 50, 1, 5, 2, 3, 2, flags=GridFlags.DENSE)
    frame = GridFrame(head, {DepthChannel.BID_MAX: np.arange(6, dtype=np.uint64)})
    _same(GridFrame.unpack(frame.pack()), frame)


@LAW
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=1, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.sampled_from([1, 1 << 40]),
)
def test_the_shorter_form_is_taken_and_says_the_same(cells: list[list[int]], known: list[bool], unit: int) -> None:
    bought = np.array(cells, np.int64) * np.array(known[: len(cells)])[:, None]
    # A size that has no step in common with the others, so that it stays as wide as it is.
    bought[0, 0] = bought[0, 0] * unit + 1
    known[0] = True
    head = GridHead(GridKind.TRADED, 50, 0, 0, len(cells), 4, 1)
    there = GridCells.of({TradedChannel.BUY: bought})
    nothing = np.zeros((0, 4), np.int64)
    packed = there.frame(head, np.array(known[: len(cells)])[:, None], nothing, nothing).pack()
    frame = GridFrame.unpack(packed)
    values = frame.values[TradedChannel.BUY]
    if GridFlags.DENSE in frame.head.flags:
        unknown = np.iinfo(values.dtype).max
        dense = [[None if v == unknown else int(v) * frame.head.lot_step for v in row] for row in values.reshape(-1, 4)]
        assert dense == [[v if known[at] else None for v in row] for at, row in enumerate(bought.tolist())]
    else:
        assert np.array_equal(there.cols, np.repeat(np.arange(len(cells)), np.diff(frame.col_start)))
        assert np.array_equal(values.astype(np.int64) * frame.head.lot_step, there.values[TradedChannel.BUY])
    assert len(packed) <= len(there.frame(head, np.array(True), nothing, nothing).pack())


@pytest.mark.parametrize("damaged", [b"", b"FMG\x01", b"FMG\x02" + bytes(200), _example().pack()[:-8], bytes(200)])
def test_what_is_no_frame_is_refused(damaged: bytes) -> None:
    with pytest.raises(ValueError, match="grid frame"):
        GridFrame.unpack(damaged)
