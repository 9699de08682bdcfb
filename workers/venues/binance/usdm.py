"""Binance USD-M futures: what is particular to it.

Its sockets are routed by path since 2026-04: `/public` has books, quotes and raw trades, `/market` has aggregates; a
stream asked for on the wrong path is silent. `@trade` is documented nowhere and numbered with the ids of
historicalTrades, which needs a key. Without one the last 1,000 trades can be had, enough for a reconnect; a longer
hole is Unserved. To heal those too without a key, follow a symbol by `trades="aggTrade"` from its first day.
"""

from workers.venues.binance.client import BinanceApi, Weights

USDM = BinanceApi(
    name="BINANCE_USDM",
    rest_url="https://fapi.binance.com",
    socket_url="wss://fstream.binance.com",
    prefix="/fapi/v1",
    public_path="/public",
    market_path="/market",
    weights=Weights(exchange_info=1, raw_trades=20, recent_trades=5, agg_trades=20, klines=5, depth=20),
    depth_levels=1_000,
    raw_page=500,
    history_needs_key=True,
    # Fills within 100 ms at one price and side are one aggregate.
    aggregate_ms=100,
)
