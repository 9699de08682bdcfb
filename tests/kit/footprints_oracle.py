"""What footprints must be: sums over trades, one by one, of the tests' writer's instrument."""

from collections import defaultdict
from decimal import Decimal
from typing import Any

from common.market.orderflow.rows import row_at
from common.market.timeframes.timeframe import Timeframe
from tests.kit.writer import Applied

Sums = dict[int, dict[Decimal, list[int]]]


def summed(applied: list[Applied], timeframe: Timeframe, row_ticks: int) -> Sums:
    """Lots and trades by side, row and bar, counted one by one."""
    bars: Sums = defaultdict(lambda: defaultdict(lambda: [0] * 6))
    for one in applied:
        _, _, ticks, lots, side = one.trade
        row = bars[timeframe.open_of(one.trade.ts_ms)][Decimal(row_at(ticks, row_ticks, "nearest")).scaleb(-2)]
        row[side] += lots
        row[side + 3] += 1
    return bars


def told_sums(answer: dict[str, Any]) -> Sums:
    found: Sums = {}
    for bar in answer["bars"]:
        found[bar["t"]] = {
            Decimal(str(row["p"])): [
                *(round(row.get(name, 0) * 1_000) for name in ("bv", "sv", "uv")),
                *(row.get(name, 0) for name in ("bn", "sn", "un")),
            ]
            for row in bar["rows"]
        }
    return found
