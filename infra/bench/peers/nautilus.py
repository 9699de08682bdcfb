"""nautilus_trader: its aggregator of bars, in C. It keeps no store and no footprints."""

import time
from pathlib import Path
from typing import Any

import polars as pl

from infra.bench.peers.absent import peer

_BARS = "BTCUSDT.BINANCE-1-MINUTE-LAST-INTERNAL"
_MINUTE_NS = 60_000_000_000


def intake(path: Path, count: int) -> float:
    """From its ticks on: to make them of columns takes it four times as long, and is left out."""
    aggregation, component = peer("nautilus_trader.data.aggregation"), peer("nautilus_trader.common.component")
    data, providers = peer("nautilus_trader.model.data"), peer("nautilus_trader.test_kit.providers")
    instrument = providers.TestInstrumentProvider.btcusdt_binance()
    ticks = _ticks(path, instrument)
    bars: list[Any] = []
    clock = component.TestClock()
    clock.set_time(ticks[0].ts_init)
    aggregator = aggregation.TimeBarAggregator(instrument, data.BarType.from_str(_BARS), bars.append, clock)
    due_ns = 0
    started_s = time.perf_counter()
    for tick in ticks:
        if tick.ts_init >= due_ns:
            for event in clock.advance_time(tick.ts_init):
                event.handle()
            due_ns = aggregator.next_close_ns
        aggregator.handle_trade_tick(tick)
    per_s = count / (time.perf_counter() - started_s)
    assert len(bars) == ticks[-1].ts_init // _MINUTE_NS - ticks[0].ts_init // _MINUTE_NS
    return per_s


def _ticks(path: Path, instrument: Any) -> list[Any]:
    wranglers, pandas = peer("nautilus_trader.persistence.wranglers"), peer("pandas")
    trades = pl.read_parquet(path)
    columns = {
        "price": trades["price"].to_numpy(),
        # Its instrument has six decimals.
        "quantity": trades["size"].round(6).clip(lower_bound=1e-6).to_numpy(),
        "buyer_maker": (trades["side"] == "sell").to_numpy(),
        "trade_id": trades["id"].cast(pl.String).to_list(),
    }
    index = pandas.to_datetime(trades["ts_ms"].to_numpy(), unit="ms", utc=True)
    found: list[Any] = wranglers.TradeTickDataWrangler(instrument).process(pandas.DataFrame(columns, index=index))
    return found
