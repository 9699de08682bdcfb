"""What `/v1/trades` must say of trades, of the tests' writer's instrument."""

from typing import Any

from common.market.trade import SIDE_NAMES, Trade


def told_trades(trades: list[Trade]) -> list[dict[str, Any]]:
    return [
        {"t": ts_ms, "id": trade_id, "p": ticks / 100, "q": lots / 1_000, "side": SIDE_NAMES[side]}
        for ts_ms, trade_id, ticks, lots, side in trades
    ]


def newest(trades: list[Trade], start_ms: int = 0, end_ms: int = 1 << 60, limit: int = 500) -> list[dict[str, Any]]:
    inside = sorted(trade for trade in trades if start_ms <= trade.ts_ms < end_ms)
    return told_trades(inside[-limit:])
