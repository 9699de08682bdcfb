"""Cells of what was traded, as a client asks for them, and as the trades themselves make them."""

from decimal import Decimal
from typing import Any

from common.market.trade import Trade
from tests.kit.flow_asked import answered, price
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT

PATH = f"/v1/heatmap/{INSTRUMENT.symbol}"
LOTS, COUNTS = ("bv", "sv", "uv"), ("bn", "sn", "un")
Cells = dict[tuple[int, int], list[int]]


async def cells(feed: Served, row_ticks: int = 1, **asked: Any) -> Cells:
    """By open and lowest tick: lots by side, then trades by side."""
    found = await answered(feed, PATH, kind="traded", row=price(row_ticks), **asked)
    told, p0 = found["cells"], int(Decimal(found["p0"]) * 100)
    lots = [[int(Decimal(value) * 1_000) for value in told[name]] for name in LOTS]
    places = zip(told["col"], told["row"], *lots, *(told[name] for name in COUNTS), strict=True)
    return {(found["t0"] + col * found["bucketMs"], p0 + row * row_ticks): list(values) for col, row, *values in places}


def of_trades(trades: list[Trade], bucket_ms: int, row_ticks: int) -> Cells:
    found: Cells = {}
    for trade in trades:
        key = trade.ts_ms // bucket_ms * bucket_ms, trade.price_ticks // row_ticks * row_ticks
        sums = found.setdefault(key, [0] * 6)
        sums[trade.side] += trade.size_lots
        sums[3 + trade.side] += 1
    return found
