"""Many candles as columns: what a sealed day is opened into, and its merge without an object per minute.

Columns by the names of Candle's fields, the turnover in two halves, `turnover_low` and `turnover_high`.
"""

from collections.abc import Sequence
from itertools import accumulate
from operator import add, sub

import numpy as np

from common.market.candle import Candle
from common.market.coding import candle_blocks
from common.market.coding.blocks import Columns
from common.market.coding.codec import UNKNOWN_LOTS
from common.market.coding.int128 import total
from common.market.coding.named import Values
from common.market.coding.packed import candles_of
from common.market.scale import Scales


def opened(blocks: Sequence[bytes], members: Sequence[bytes], scales: Scales | None = None) -> Columns:
    """Return sealed and open minutes as one, ascending: of a minute in both the open one counts.

    `scales`: of the blocks, as of candle_blocks.columns.
    """
    sealed, fresh = candle_blocks.columns(blocks, scales=scales), _unpacked(members)
    if not members:
        return sealed
    kept = ~np.isin(sealed["open_ms"], fresh["open_ms"])
    both = {name: np.concatenate([sealed[name][kept], fresh[name]]) for name in candle_blocks.TYPES}
    order = np.argsort(both["open_ms"], kind="stable")
    return {name: column[order] for name, column in both.items()}


def merged(columns: Columns, from_ms: int, end_ms: int) -> Candle | None:
    """Merge those that open in `[from_ms, end_ms)`, as Candle.merge does, into one named `from_ms`. None without any.

    The columns ascend by open.
    """
    first, end = np.searchsorted(columns["open_ms"], (from_ms, end_ms)).tolist()
    if first >= end:
        return None
    some = {name: column[first:end] for name, column in columns.items()}
    delta_min_lots, delta_max_lots = _delta_range(some)
    opening, closing = _first(some["first_ts_ms"], some["first_id"]), _last(some["last_ts_ms"], some["last_id"])
    return Candle(
        open_ms=from_ms,
        open_ticks=int(some["open_ticks"][opening]),
        high_ticks=int(some["high_ticks"].max()),
        low_ticks=int(some["low_ticks"].min()),
        close_ticks=int(some["close_ticks"][closing]),
        volume_lots=total(some["volume_lots"]),
        buy_lots=total(some["buy_lots"]),
        sell_lots=total(some["sell_lots"]),
        turnover=(total(some["turnover_high"]) << 64) + total(some["turnover_low"]),
        trades=total(some["trades"]),
        first_ts_ms=int(some["first_ts_ms"][opening]),
        first_id=int(some["first_id"][opening]),
        last_ts_ms=int(some["last_ts_ms"][closing]),
        last_id=int(some["last_id"][closing]),
        rev=total(some["rev"]),
        sources=int(np.bitwise_or.reduce(some["sources"])),
        delta_min_lots=delta_min_lots,
        delta_max_lots=delta_max_lots,
    )


def _delta_range(minutes: Columns) -> tuple[int, int] | tuple[None, None]:
    """That of all, which follow each other; None, both, where that of one is not known."""
    if (minutes["delta_min_lots"] == UNKNOWN_LOTS).any():
        return None, None
    names = ("buy_lots", "sell_lots", "delta_min_lots", "delta_max_lots")
    bought, sold, lows, highs = (minutes[name].tolist() for name in names)
    # Numbers of Python: a year's sum may leave 64 bits.
    before = list(accumulate(map(sub, bought, sold), initial=0))
    return min(map(add, before, lows)), max(map(add, before, highs))


def _first(times: Values, ids: Values) -> int:
    """Where the least (time, id) is; the first of equal ones."""
    places = np.flatnonzero(times == times.min())
    return int(places[ids[places].argmin()])


def _last(times: Values, ids: Values) -> int:
    """Where the greatest (time, id) is; the first of equal ones."""
    places = np.flatnonzero(times == times.max())
    return int(places[ids[places].argmax()])


def _unpacked(members: Sequence[bytes]) -> Columns:
    packed = candles_of(members)
    times = {f"{end}_ts_ms": packed["open_ms"] + packed[f"{end}_after_ms"] for end in ("first", "last")}
    fields = {name: packed[name] for name in candle_blocks.TYPES if name not in times}
    return {name: {**fields, **times}[name].astype(kind) for name, kind in candle_blocks.TYPES.items()}
