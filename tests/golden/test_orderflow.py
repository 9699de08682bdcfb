"""Order flow of recorded trades over HTTP: the exchange's own volumes, and what counting trades one by one makes."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS, Timeframe
from common.market.trade import Trade
from tests.golden import recordings
from tests.kit import orderflow_oracle as oracle
from tests.kit.flow_asked import answered
from tests.kit.served import Served, served
from tests.kit.writer import Writer

# A commit each.
BATCH = 2_000


@pytest.fixture(params=["btc_usdt", "eth", "gold"])
async def recorded(
    request: pytest.FixtureRequest, client: Redis, redis_url: str
) -> AsyncIterator[tuple[Served, Instrument, list[Trade]]]:
    instrument, trades = getattr(recordings, request.param)()
    writer = await Writer.begun(client, instrument=instrument)
    rows = list(trades.rows())
    for at in range(0, len(rows), BATCH):
        writer.now_ms = max(writer.now_ms, rows[min(at + BATCH, len(rows)) - 1].ts_ms)
        await writer.commit(*rows[at : at + BATCH])
    async with served(redis_url) as feed:
        yield feed, instrument, sorted(rows, key=lambda trade: (trade.ts_ms, trade.id))


def by_bar(trades: list[Trade], timeframe: str) -> dict[int, list[Trade]]:
    bars: dict[int, list[Trade]] = {}
    for trade in trades:
        bars.setdefault(Timeframe.parse(timeframe).open_of(trade.ts_ms), []).append(trade)
    return bars


@pytest.mark.parametrize(("timeframe", "row"), [("1m", "auto"), ("5m", "auto"), ("1h", "auto"), ("1h", None)])
async def test_rows_and_all_that_is_said_of_them(
    recorded: tuple[Served, Instrument, list[Trade]], timeframe: str, row: str | None
) -> None:
    feed, instrument, trades = recorded
    height = {"row": row} if row else {"row": instrument.price_text(7)}
    asked: dict[str, Any] = {"timeframe": timeframe, "align": "floor", "stats": 1, "limit": 50_000, **height}
    answer = await answered(feed, f"/v1/footprint/{instrument.symbol}", **asked)
    ticks = instrument.price_ticks(str(answer["row"]))
    bars = by_bar(trades, timeframe)
    assert [bar["t"] for bar in answer["bars"]] == list(bars)
    for bar, of_bar in zip(answer["bars"], bars.values(), strict=True):
        rows = oracle.rows_of(of_bar, ticks)
        totals = oracle.totals_of(rows)
        told_rows = {
            instrument.price_ticks(str(each["p"])): each["bv"] + each["sv"] + each.get("uv", 0) for each in bar["rows"]
        }
        assert told_rows == {each: _size(lots, instrument) for each, lots in totals.items()}
        poc, area = oracle.poc(totals), oracle.value_area(totals, 7_000, "standard", ticks)
        found = [
            None if bar[name] is None else instrument.price_ticks(str(bar[name])) for name in ("poc", "val", "vah")
        ]
        assert found == [poc, *(area or (None, None))]
        flagged = oracle.imbalances(rows, 300, 0, "count", ticks)
        for side, at in (("buy", 0), ("sell", 1)):
            marked = {
                instrument.price_ticks(str(each["p"])) for each in bar["rows"] if each.get("imb") in (side, "both")
            }
            assert marked == flagged[at]
        assert "missing" not in bar


async def test_the_deltas_are_those_of_the_exchange(client: Redis, redis_url: str) -> None:
    instrument, trades = recordings.btc_usdt()
    writer = await Writer.begun(client, instrument=instrument)
    rows = list(trades.rows())
    for at in range(0, len(rows), BATCH):
        writer.now_ms = max(writer.now_ms, rows[min(at + BATCH, len(rows)) - 1].ts_ms)
        await writer.commit(*rows[at : at + BATCH])
    klines = recordings.btc_usdt_klines()
    async with served(redis_url) as feed:
        answer = await answered(feed, f"/v1/orderflow/{instrument.symbol}", anchor=int(klines["open_ms"][0]))
    by_open = {bar["t"]: bar for bar in answer["bars"]}
    cvd = Decimal(0)
    for kline in klines.iter_rows(named=True):
        bar, delta = by_open[kline["open_ms"]], _size(2 * kline["buy_lots"] - kline["volume_lots"], instrument)
        cvd += delta
        assert (bar["delta"], bar["cvd"], bar["n"]) == (delta, cvd, kline["trades"])
        assert bar["bn"] + bar["sn"] == bar["n"] and "missing" not in bar
    assert len(klines) == 5 and klines["open_ms"][-1] == klines["open_ms"][0] + 4 * MINUTE_MS


def _size(lots: int, instrument: Instrument) -> Decimal:
    return Decimal(lots).scaleb(-instrument.size_decimals)
