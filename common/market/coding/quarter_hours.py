"""Minutes of sealed days as candles of 15 minutes, and blocks of these: what longer bars are made of.

They are what Candle.merge makes of the minutes in the order of their opens, without the order keys: bars that are shown
need none. A block has numbers in their place that cost nothing (common.market.coding.candle_blocks).
"""

from collections.abc import Container, Sequence

import numpy as np

from common.market.coding import candle_blocks
from common.market.coding.blocks import Columns
from common.market.coding.candle_blocks import ORDER_KEYS, TYPES, members_of
from common.market.coding.codec import UNKNOWN_LOTS
from common.market.coding.limbs import Scratch
from common.market.coding.opened import MAX_COUNT, opened
from common.market.coding.packed import Ints
from common.market.scale import Scales
from common.market.timeframes.periods import QUARTER_HOUR
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS

QUARTER_HOUR_MS = QUARTER_HOUR.longest_ms
MINUTES_A_ROW = QUARTER_HOUR_MS // MINUTE_MS
NAMES = tuple(name for name in TYPES if name not in ORDER_KEYS)

_LOTS = ("volume_lots", "buy_lots", "sell_lots")
_COUNTS = ("trades", "rev")
_HALF = np.int64(32)
_LOW_HALF = np.int64((1 << 32) - 1)


def merged_days(days: Sequence[bytes], scales: Scales | None) -> Columns | None:
    """Merge the minutes of sealed days, at least one, ascending: in a sixth of the time that each alone would take.

    None where a turnover, or a sum, is wider than what is read of a block.
    """
    return merged(candle_blocks.columns(days, NAMES, scales))


def merged(minutes: Columns) -> Columns | None:
    """The same of minutes that are opened, at least one, ascending; columns of NAMES."""
    opens = minutes["open_ms"] // QUARTER_HOUR_MS * QUARTER_HOUR_MS
    starts = np.flatnonzero(np.diff(opens, prepend=opens[:1] - 1))
    ends = np.append(starts[1:], len(opens)) - 1
    turnover = minutes["turnover_low"].view(np.int64)
    summed = {name: minutes[name].astype(np.int64) for name in (*_LOTS, *_COUNTS)} | {"turnover": turnover}
    sums = {name: _sums(values, starts) for name, values in summed.items()}
    found = {name: column for name, column in sums.items() if column is not None}
    if len(found) < len(sums) or not np.array_equal(minutes["turnover_high"], turnover >> 63):
        return None
    if any(int(found[name].max()) > MAX_COUNT for name in _COUNTS) or any((minutes[name] < 0).any() for name in _LOTS):
        return None
    return {
        "open_ms": opens[starts],
        "open_ticks": minutes["open_ticks"][starts],
        "high_ticks": np.maximum.reduceat(minutes["high_ticks"], starts),
        "low_ticks": np.minimum.reduceat(minutes["low_ticks"], starts),
        "close_ticks": minutes["close_ticks"][ends],
        **{name: found[name] for name in _LOTS},
        "turnover_low": found["turnover"].view(np.uint64),
        "turnover_high": found["turnover"] >> 63,
        **{name: found[name] for name in _COUNTS},
        "sources": np.bitwise_or.reduceat(minutes["sources"], starts),
        **_delta_ranges(minutes, starts),
    }


def _delta_ranges(minutes: Columns, starts: Ints) -> Columns:
    """Of each run, whose minutes follow each other; UNKNOWN_LOTS where that of one is not known."""
    delta = minutes["buy_lots"] - minutes["sell_lots"]
    before = np.cumsum(delta) - delta
    before -= np.repeat(before[starts], np.diff(starts, append=len(delta)))
    unknown = np.logical_or.reduceat(minutes["delta_min_lots"] == UNKNOWN_LOTS, starts)
    least = np.minimum.reduceat(before + minutes["delta_min_lots"], starts)
    greatest = np.maximum.reduceat(before + minutes["delta_max_lots"], starts)
    return {
        "delta_min_lots": np.where(unknown, UNKNOWN_LOTS, least),
        "delta_max_lots": np.where(unknown, UNKNOWN_LOTS, greatest),
    }


def rows_of_days(block: bytes, days: Container[int], scales: Scales | None) -> Columns:
    """The rows of some days out of a block of such candles. `days`: opens of UTC days."""
    rows = candle_blocks.columns([block], NAMES, scales)
    some = np.array([day_ms in days for day_ms in (rows["open_ms"] // DAY_MS * DAY_MS).tolist()], np.bool_)
    return {name: column[some] for name, column in rows.items()}


def rows_in_order(parts: Sequence[Columns]) -> Columns:
    """Put rows of several days, in any order and at least of one, together."""
    rows = {name: np.concatenate([part[name] for part in parts]) for name in NAMES}
    order = np.argsort(rows["open_ms"], kind="stable")
    return {name: column[order] for name, column in rows.items()}


def pack_rows(rows: Columns, scales: Scales) -> bytes | None:
    """Seal rows, ascending. None without any, and where bars could be made of their block by decoding it only."""
    if not len(rows["open_ms"]):
        return None
    block = candle_blocks.pack(members_of(rows | _made_keys(rows)), scales.name)
    return block if opened([block], scales, Scratch()) else None


def reads_as(block: bytes, rows: Columns, scales: Scales) -> bool:
    found = candle_blocks.columns([block], NAMES, scales)
    return all(np.array_equal(found[name], rows[name]) for name in NAMES)


def _made_keys(rows: Columns) -> Columns:
    """Order keys whose columns are empty in a block: ids that count up from 0, times at the ends of the minute."""
    ends = np.cumsum(rows["trades"])
    return {
        "first_ts_ms": rows["open_ms"],
        "first_id": ends - rows["trades"],
        "last_ts_ms": rows["open_ms"] + (MINUTE_MS - 1),
        "last_id": ends - 1,
    }


def _sums(values: Ints, starts: Ints) -> Ints | None:
    """The exact sum of each run. None where one leaves 64 bits."""
    # Half of the bits at a time: neither sum leaves them, however many rows there are.
    low, high = (np.add.reduceat(half, starts) for half in (values & _LOW_HALF, values >> _HALF))
    high += low >> _HALF
    if int(high.max()) >= 1 << 31 or int(high.min()) < -1 << 31:
        return None
    return (high << _HALF) | (low & _LOW_HALF)
