"""The packed forms of common.market.coding.codec as numpy sees them: many members at once, whole columns."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from common.market.coding import codec
from common.market.coding.codec import UNKNOWN_LOTS
from common.market.footprint import TRADES_AT, Footprint

# The structs of the codec, of candles the longer one; a test holds them equal, field by field.
PACKED_CANDLE = np.dtype(
    [
        ("open_ms", "<i8"),
        ("open_ticks", "<i8"),
        ("high_ticks", "<i8"),
        ("low_ticks", "<i8"),
        ("close_ticks", "<i8"),
        ("volume_lots", "<u8"),
        ("buy_lots", "<u8"),
        ("sell_lots", "<u8"),
        ("turnover_low", "<u8"),
        ("turnover_high", "<i8"),
        ("first_id", "<i8"),
        ("last_id", "<i8"),
        ("first_after_ms", "<u4"),
        ("last_after_ms", "<u4"),
        ("trades", "<u4"),
        ("rev", "<u4"),
        ("sources", "u1"),
        ("padding", "V7"),
        ("delta_min_lots", "<i8"),
        ("delta_max_lots", "<i8"),
    ]
)
FOOTPRINT_HEAD = np.dtype(
    [
        ("shape", "<u4"),
        ("levels", "<u4"),
        ("open_ms", "<i8"),
        ("lowest", "<i8"),
        ("price_step", "<u8"),
        ("lot_step", "<u8"),
    ]
)

Ints = npt.NDArray[np.int64]


def candles_of(members: Sequence[bytes]) -> npt.NDArray[np.void]:
    """Packed candles as one array of PACKED_CANDLE."""
    joined = b"".join(members)
    if len(joined) != PACKED_CANDLE.itemsize * len(members):
        joined = b"".join(map(codec.widened_candle, members))
    packed = np.frombuffer(joined, PACKED_CANDLE)
    assert len(packed) == len(members)
    return packed


def candle_members(packed: npt.NDArray[np.void]) -> list[bytes]:
    """The inverse: each as the codec packs it."""
    members: list[bytes] = packed.view(f"V{PACKED_CANDLE.itemsize}").tolist()
    for at in np.flatnonzero(packed["delta_min_lots"] == UNKNOWN_LOTS).tolist():
        members[at] = members[at][: codec.CANDLE.size]
    return members


def levels_of(members: Sequence[bytes]) -> Ints:
    """Decode packed footprints: a line per field (open_ms, then footprint.Row), a column per level.

    Levels come in the order of the members, each from its lowest price up.
    """
    if not members:
        return np.zeros((2 + 2 * TRADES_AT, 0), np.int64)
    size = FOOTPRINT_HEAD.itemsize
    heads = np.frombuffer(b"".join([member[:size] for member in members]), FOOTPRINT_HEAD)
    parts, positions = [], []
    for shape in np.unique(heads["shape"]):
        chosen = np.flatnonzero(heads["shape"] == shape)
        rows = b"".join([members[at][size:] for at in chosen.tolist()])
        parts.append(_levels_of_shape(int(shape), heads[chosen], rows))
        positions.append(np.repeat(chosen, heads["levels"][chosen]))
    order = np.argsort(np.concatenate(positions), kind="stable")
    return np.concatenate(parts, axis=1)[:, order]


def pack_footprint(open_ms: int, footprint: Footprint) -> bytes:
    """The same bytes as codec.pack_footprint makes. Every number is below 2**63."""
    prices = np.fromiter(footprint.levels, np.int64, len(footprint.levels))
    levels = np.column_stack([prices, np.array(list(footprint.levels.values()), np.int64)])
    return pack_levels(open_ms, levels[np.argsort(prices)])


def pack_levels(open_ms: int, levels: Ints) -> bytes:
    """The same of at least one level; a line for each, as a footprint.Row, ascending by price."""
    lowest = int(levels[0, 0])
    steps, sums = levels[:, 0] - lowest, levels[:, 1:]
    sides = np.flatnonzero(sums[:, TRADES_AT:].any(axis=0)).tolist()
    lots, trades = sums[:, sides], sums[:, [side + TRADES_AT for side in sides]]
    price_step, lot_step = (int(np.gcd.reduce(values, axis=None)) or 1 for values in (steps, lots))
    steps, lots = steps // price_step, lots // lot_step
    shape = codec.footprint_shape(sides, int(steps[-1]), int(lots.max()), int(trades.max()))
    rows = np.empty(len(levels), _row_type(shape))
    for at, column in enumerate((steps, *lots.T, *trades.T)):
        rows[f"f{at}"] = column
    return codec.FOOTPRINT_HEAD.pack(shape, len(levels), open_ms, lowest, price_step, lot_step) + rows.tobytes()


@lru_cache
def _row_type(shape: int) -> np.dtype[np.void]:
    return np.dtype([(f"f{at}", f"<{code}") for at, code in enumerate(codec.row_format(shape))])


def _levels_of_shape(shape: int, heads: npt.NDArray[np.void], rows: bytes) -> Ints:
    sides = codec.sides_of(shape)
    packed = np.frombuffer(rows, _row_type(shape))
    of_level = np.repeat(heads, heads["levels"])
    assert len(packed) == len(of_level)
    levels = np.zeros((2 + 2 * TRADES_AT, len(packed)), np.int64)
    levels[0] = of_level["open_ms"]
    levels[1] = of_level["lowest"] + _signed(packed["f0"] * of_level["price_step"])
    for at, side in enumerate(sides, start=1):
        levels[2 + side] = _signed(packed[f"f{at}"] * of_level["lot_step"])
        levels[2 + TRADES_AT + side] = packed[f"f{at + len(sides)}"]
    return levels


def _signed(values: npt.NDArray[np.unsignedinteger]) -> Ints:
    """Every packed value is below 2**63 (common.market.builder.builder refuses more), so nothing is lost."""
    return values.astype(np.int64)
