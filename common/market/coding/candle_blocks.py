"""A day's candles as one sealed block (common.market.coding.blocks), and blocks of them as columns."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import zstandard

from common.market.coding import int128, planes
from common.market.coding.blocks import BlockKind, Columns, ColumnTypes, ascending, rows_at, step_of
from common.market.coding.codec import UNKNOWN_LOTS
from common.market.coding.int128 import Unsigned, Wide
from common.market.coding.named import Values, named, rescaling_of, split
from common.market.coding.packed import PACKED_CANDLE, Ints, candle_members, candles_of
from common.market.coding.planes import PlanePart
from common.market.scale import Scale, Scales
from common.market.timeframes.timeframe import MINUTE_MS

# The minute's open, the close and the last id before the first of them, price step, lot step.
_HEAD = struct.Struct("<8x3q2Q")
# Of a block that knows of no candle the range of its running delta, and of others.
_COLUMNS, _ALL_COLUMNS = 17, 19
_TAG, _TAG_WITH_DELTA = b"FMB\x11", b"FMB\x21"
_LOW_64 = (1 << 64) - 1

# What `columns` gives: the fields of a Candle, the turnover in two halves.
TYPES: ColumnTypes = {
    **dict.fromkeys(("open_ms", "open_ticks", "high_ticks", "low_ticks", "close_ticks"), np.int64),
    **dict.fromkeys(("volume_lots", "buy_lots", "sell_lots"), np.int64),
    "turnover_low": np.uint64,
    "turnover_high": np.int64,
    **dict.fromkeys(("trades", "first_ts_ms", "first_id", "last_ts_ms", "last_id", "rev"), np.int64),
    "sources": np.uint8,
    # UNKNOWN_LOTS where they are not known.
    **dict.fromkeys(("delta_min_lots", "delta_max_lots"), np.int64),
}
ORDER_KEYS = frozenset(("first_ts_ms", "first_id", "last_ts_ms", "last_id"))
DELTA_RANGE = frozenset(("delta_min_lots", "delta_max_lots"))


def pack(members: Sequence[bytes], name: Scale | None = None) -> bytes:
    """Seal packed candles: at least one, ascending by open. `name`: the scale that the block is to name."""
    packed = candles_of(members)
    assert ascending(packed["open_ms"])
    is_known = packed["delta_min_lots"] != UNKNOWN_LOTS
    prices, lots, turnover, price_step, lot_step = _in_steps(packed, _beyond_delta(packed, is_known))
    (open_, high, low, close), (volume, buy, sell, below, above) = prices, lots
    before_ms = planes.before(packed["open_ms"], packed["open_ms"][:1] - MINUTE_MS)
    before_close = planes.before(close, open_[:1])
    before_id = planes.before(packed["last_id"], packed["first_id"][:1] - 1)
    turnover_low, turnover_high = _turnover_left(turnover, volume, _typical(high, low))
    encoded = [
        planes.zigzag(packed["open_ms"] - before_ms - MINUTE_MS),
        planes.zigzag(open_ - before_close),
        planes.zigzag(close - open_),
        planes.zigzag(high - np.maximum(open_, close)),
        planes.zigzag(np.minimum(open_, close) - low),
        buy,
        sell,
        planes.zigzag((volume - buy - sell).view(np.int64)),
        turnover_low,
        turnover_high,
        packed["trades"],
        packed["first_after_ms"],
        planes.zigzag(MINUTE_MS - 1 - packed["last_after_ms"].astype(np.int64)),
        planes.zigzag(packed["first_id"] - before_id - 1),
        planes.zigzag(packed["last_id"] - packed["first_id"] - packed["trades"] + 1),
        packed["rev"],
        packed["sources"],
    ]
    kind = _KIND if is_known.any() else _WITHOUT_DELTA
    if kind is _KIND:
        encoded += [(below + np.uint64(1)) * is_known, above]
    before = int(before_ms[0]), int(before_close[0]), int(before_id[0])
    head = _HEAD.pack(*before, price_step, lot_step)
    return named(kind.seal(len(packed), head, encoded), name)


def columns(blocks: Sequence[bytes], names: Sequence[str] = tuple(TYPES), scales: Scales | None = None) -> Columns:
    """Return all candles of the blocks, in their order, by the names of Candle's fields, or only those `names`.

    `scales`: None where a symbol has never had another scale: then no block may name one.
    Columns of 64-bit integers, the sources of 8; the turnover is two, its unsigned low half and its signed high half.
    Columns and not records of 120 bytes: a column is written once, a record's cache lines once per field.
    """
    types = {name: TYPES[name] for name in names}
    return _KIND.decode(blocks, types, partial(_columns_of, names=names), scales)


class CandleContent(NamedTuple):
    """One block of candles as it was sealed."""

    rows: int
    # The open (ms) of the minute before the first, the close and the last id before it, price step, lot step.
    head: tuple[int, ...]
    # Bytes of a number, per column of `pack` but the last two.
    widths: bytes
    # A line for each byte of each column.
    planes: npt.NDArray[np.uint8]


def contents(blocks: Sequence[bytes], scales: Scales | None = None) -> list[CandleContent] | None:
    """Open blocks; None where one of them is to be brought to another scale, as only decoding does."""
    names, blocks = zip(*map(split, blocks), strict=True)
    if any(rescaling_of(name, scales) for name in names):
        return None
    decompressor = zstandard.ZstdDecompressor()
    return [_content(_KIND.opened(decompressor, block)) for block in blocks]


def _content(part: PlanePart) -> CandleContent:
    """Without what is told of the running delta: bars that are shown need none of it."""
    rows, widths = part.rows[0], part.widths[:_COLUMNS]
    lines = np.frombuffer(part.content, np.uint8, rows * sum(widths), part.starts[0])
    return CandleContent(rows, part.head, widths, lines.reshape(-1, rows))


def members(block: bytes, scales: Scales | None = None) -> list[bytes]:
    return members_of(columns([block], scales=scales))


def at(block: bytes, open_ms: int, scales: Scales | None = None) -> bytes | None:
    """Return the packed candle of one minute, if the block has it."""
    found = columns([block], scales=scales)
    minute = members_of(found, rows_at(found, open_ms))
    return minute[0] if minute else None


def count(block: bytes) -> int:
    """How many candles a block holds, without opening it."""
    return _KIND.rows(split(block)[1])


def closes(blocks: Sequence[bytes], scales: Scales | None = None) -> list[tuple[Ints, Ints]]:
    """Of each block, when its minutes open and what they close at. Many are decoded in one go, whosever they are."""
    found = columns(blocks, ("open_ms", "close_ticks"), scales)
    ends = np.cumsum([count(block) for block in blocks])[:-1]
    return list(zip(np.split(found["open_ms"], ends), np.split(found["close_ticks"], ends), strict=True))


def _part(rows: int, content: bytes) -> PlanePart:
    return PlanePart.of(content, _HEAD, (rows,) * _ALL_COLUMNS)


def _part_without_delta(rows: int, content: bytes) -> PlanePart:
    """The last two columns, of which the first says that nothing is known, take no bytes."""
    part = PlanePart.of(content, _HEAD, (rows,) * _COLUMNS)
    lacking = _ALL_COLUMNS - _COLUMNS
    return replace(
        part,
        rows=(rows,) * _ALL_COLUMNS,
        widths=part.widths + bytes(lacking),
        starts=[*part.starts, *[part.starts[-1]] * lacking],
    )


_WITHOUT_DELTA = BlockKind(_TAG, _part_without_delta)
_KIND = BlockKind(_TAG_WITH_DELTA, _part, (_WITHOUT_DELTA,))


def _columns_of(parts: list[PlanePart], names: Sequence[str]) -> Iterator[Values]:
    """The columns of `pack`, put together again: those asked for.

    The order keys are a fourth of the work, and no other column needs them: they are made only where one is asked
    for. All others hang together, by the turnover.
    """
    counts = [part.rows[0] for part in parts]
    before_ms, before_close, before_id, price_steps, lot_steps = zip(*(part.head for part in parts), strict=True)
    price_step, lot_step = planes.spread(price_steps, counts), planes.spread(lot_steps, counts)

    def unsigned(at: int) -> Ints:
        return planes.column(parts, at).astype(np.int64)

    def signed(at: int) -> Ints:
        return planes.unzigzag(planes.column(parts, at))

    open_ms = planes.chain(signed(0) + MINUTE_MS, counts, before_ms)
    gap, body = signed(1), signed(2)
    close = planes.chain(gap + body, counts, before_close)
    open_ = close - body
    high = np.maximum(open_, close) + signed(3)
    low = np.minimum(open_, close) - signed(4)
    buy, sell, unknown = unsigned(5), unsigned(6), signed(7)
    volume = buy + sell + unknown
    turnover_low, turnover_high = _turnover(volume, _typical(high, low), signed(8), signed(9), price_step * lot_step)
    trades = unsigned(10)
    made: dict[str, Values] = {
        "open_ms": open_ms,
        "open_ticks": open_ * price_step,
        "high_ticks": high * price_step,
        "low_ticks": low * price_step,
        "close_ticks": close * price_step,
        "volume_lots": volume * lot_step,
        "buy_lots": buy * lot_step,
        "sell_lots": sell * lot_step,
        "turnover_low": turnover_low,
        "turnover_high": turnover_high,
        "trades": trades,
        "rev": unsigned(15),
        "sources": unsigned(16),
    }
    if not ORDER_KEYS.isdisjoint(names):
        more = signed(14)
        last_id = planes.chain(signed(13) + trades + more, counts, before_id)
        made |= {
            "first_ts_ms": open_ms + unsigned(11),
            "first_id": last_id - more - trades + 1,
            "last_ts_ms": open_ms + (MINUTE_MS - 1) - signed(12),
            "last_id": last_id,
        }
    if not DELTA_RANGE.isdisjoint(names):
        made |= _delta_range(buy - sell, unsigned(17), unsigned(18), lot_step)
    return (made[name] for name in names)


def _delta_range(delta: Ints, below: Ints, above: Ints, lot_step: Ints) -> dict[str, Values]:
    """`below`: how far it went below what it came to, and 1; 0 where it is not known."""
    if not below.any():
        return dict.fromkeys(sorted(DELTA_RANGE), np.full(1, UNKNOWN_LOTS))
    least, greatest = (delta - (below - 1)) * lot_step, (delta + above) * lot_step
    return {
        "delta_min_lots": np.where(below == 0, UNKNOWN_LOTS, least),
        "delta_max_lots": np.where(below == 0, UNKNOWN_LOTS, greatest),
    }


def members_of(columns: Columns, span: slice = planes.ALL) -> list[bytes]:
    """Pack those rows of columns as the codec does."""
    some = {name: column[span] for name, column in columns.items()}
    some["first_after_ms"] = some["first_ts_ms"] - some["open_ms"]
    some["last_after_ms"] = some["last_ts_ms"] - some["open_ms"]
    packed = np.zeros(len(some["open_ms"]), PACKED_CANDLE)
    for name in PACKED_CANDLE.names or ():
        if name != "padding":
            packed[name] = some[name]
    return candle_members(packed)


def _typical(high: Ints, low: Ints) -> Ints:
    """The price that volume x price is nearest to the turnover with, of those that are cheap to have."""
    return (high + low) >> 1


def _beyond_delta(packed: npt.NDArray[np.void], is_known: npt.NDArray[np.bool_]) -> list[Unsigned]:
    """How far the running delta went below and above what it came to; 0 where that is not known."""
    delta = packed["buy_lots"].view(np.int64) - packed["sell_lots"].view(np.int64)
    below, above = delta - packed["delta_min_lots"], packed["delta_max_lots"] - delta
    return [np.where(is_known, each, 0).view(np.uint64) for each in (below, above)]


def _in_steps(
    packed: npt.NDArray[np.void], beyond: Sequence[Unsigned]
) -> tuple[list[Ints], list[Unsigned], list[int], int, int]:
    """Prices, lots and turnover of the candles in the steps they share, and the steps of prices and lots.

    `beyond`: numbers of lots that come after those of the candles.
    A venue whose sizes have 3 decimals may be kept with 8: that is 17 bits of each size saved.
    """
    prices = [packed[name] for name in ("open_ticks", "high_ticks", "low_ticks", "close_ticks")]
    lots = [*(packed[name] for name in ("volume_lots", "buy_lots", "sell_lots")), *beyond]
    limbs = zip(packed["turnover_low"].tolist(), packed["turnover_high"].tolist(), strict=True)
    turnover = [(high << 64) | low for low, high in limbs]
    price_step, lot_step = step_of(prices), step_of(lots)
    step = price_step * lot_step
    if step >= 1 << 63 or any(value % step for value in turnover):
        return prices, lots, turnover, 1, 1
    return (
        [price // price_step for price in prices],
        [lot // np.uint64(lot_step) for lot in lots],
        [value // step for value in turnover],
        price_step,
        lot_step,
    )


def _turnover_left(turnover: list[int], volume: Unsigned, price: Ints) -> tuple[Unsigned, Unsigned]:
    """What volume x price leaves, as two columns: a signed 64-bit number, and how many 2**64 are to be added."""
    rows = zip(turnover, volume.tolist(), price.tolist(), strict=True)
    left = [value - lots * ticks for value, lots, ticks in rows]
    low = np.array([value & _LOW_64 for value in left], np.uint64)
    high = np.array([(value >> 64) & _LOW_64 for value in left], np.uint64) + (low >> np.uint64(63))
    return planes.zigzag(low.view(np.int64)), planes.zigzag(high.view(np.int64))


def _turnover(volume: Ints, price: Ints, left: Ints, left_high: Ints, step: Ints) -> Wide:
    """The inverse, as the two halves of 128 bits: (volume x price + what is left) x step."""
    lots = volume.view(np.uint64)
    most = int(lots.max()) * int(price.view(np.uint64).max()) + max(int(left.max()), -int(left.min()))
    if most * int(step.max()) < 1 << 63 and not left_high.any():
        # Nearly always, and in a third of the time.
        turnover = (volume * price + left) * step
        return turnover.view(np.uint64), turnover >> 63
    return int128.scale(int128.add(int128.multiply(lots, price), left, left_high), step.view(np.uint64))
