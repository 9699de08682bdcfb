"""What bars must be, worked out one by one in plain Python, of what is in the store or of all that was ever written.

Shares no code with the feed.
"""

from dataclasses import replace
from typing import Any

import orjson
from redis.asyncio import Redis

from common.market.candle import LIVE, Candle
from common.market.coding import candle_blocks, codec
from common.market.coding.bar_json import bar_json
from common.market.timeframes.timeframe import MINUTE, Timeframe
from common.market.trade import UNKNOWN
from common.store.keys import SymbolKeys
from common.store.reads import SymbolReader
from tests.kit.writer import Applied, Writer

Bars = dict[int, dict[str, Any]]


async def expected(client: Redis, writer: Writer, timeframe: Timeframe) -> Bars:
    """All bars there are, by their open."""
    keys = SymbolKeys(writer.instrument.symbol)
    state: Any = await client.hgetall(keys.state)
    if not state:
        return {}
    minutes = await _minutes(client, keys, state)
    floor_ms = int(state.get(b"candle_floor_ms", -1))
    if timeframe.of_days:
        # What was made of minutes stays when they are dropped.
        days: Any = await client.zrangebyscore(keys.rolled("1d"), "-inf", f"({floor_ms}")
        minutes = [*map(codec.unpack_candle, days), *minutes]
    bars = of_minutes(minutes, timeframe) if timeframe.of_minutes else of_trades(writer.applied, timeframe, minutes)
    view = await SymbolReader(client, writer.instrument.symbol).view()
    assert view.state
    coverage = view.state.coverage(writer.instrument.ids)
    found = {}
    for open_ms, bar in sorted(bars.items()):
        end_ms = timeframe.next_open(open_ms)
        # Trades are kept, or not, whatever becomes of their minutes.
        dropped = open_ms < floor_ms and timeframe.of_minutes and not timeframe.of_days
        partial = dropped or not coverage.covers(open_ms, end_ms)
        is_final = end_ms <= int(state[b"watermark_ms"])
        found[open_ms] = orjson.loads(bar_json(bar, writer.instrument, is_final=is_final, partial=partial))
    return found


def of_applied(writer: Writer, timeframe: Timeframe) -> list[dict[str, Any]]:
    """All bars there ever were, ascending, wherever their minutes are now."""
    timeframe, builder = writer.instrument.anchored(timeframe), writer.builder
    bars = of_minutes([one for one in minutes_applied(writer) if timeframe.holds(one.open_ms)], timeframe)
    found = []
    for open_ms, bar in sorted(bars.items()):
        end_ms = timeframe.next_open(open_ms)
        partial, is_final = not builder.coverage.covers(open_ms, end_ms), end_ms <= builder.watermark_ms
        found.append(orjson.loads(bar_json(bar, writer.instrument, is_final=is_final, partial=partial)))
    return found


def minutes_applied(writer: Writer) -> list[Candle]:
    """Of all trades that were ever written, ascending."""
    return [minute for _, minute in sorted(of_trades(writer.applied, MINUTE, []).items())]


async def _minutes(client: Redis, keys: SymbolKeys, state: dict[bytes, bytes]) -> list[Candle]:
    """Sealed days first; an open minute counts instead of the sealed one."""
    sealed: Any = await client.hgetall(keys.sealed("candles"))
    members = [member for _, block in sorted(sealed.items()) for member in candle_blocks.members(block)]
    unsealed: Any = await client.zrange(keys.candles, 0, -1)
    members += unsealed
    members += [state[b"candle"]] if state[b"candle"] else []
    minutes = {codec.candle_open(member): codec.unpack_candle(member) for member in members}
    return [minute for _, minute in sorted(minutes.items())]


def of_minutes(minutes: list[Candle], timeframe: Timeframe) -> dict[int, Candle]:
    bars: dict[int, Candle] = {}
    for minute in minutes:
        bar = minute.rename(timeframe.open_of(minute.open_ms))
        bars[bar.open_ms] = bars[bar.open_ms].merge(bar) if bar.open_ms in bars else bar
    return bars


def of_trades(applied: list[Applied], timeframe: Timeframe, minutes: list[Candle]) -> dict[int, Candle]:
    bars: dict[int, Candle] = {}
    # In order, which how the delta ran goes by.
    for one in sorted(applied, key=lambda one: one.trade):
        bar = _of_trade(one, timeframe, minutes[-1].sources if minutes else LIVE)
        bars[bar.open_ms] = bars[bar.open_ms].merge(bar) if bar.open_ms in bars else bar
    return bars


def _of_trade(one: Applied, timeframe: Timeframe, sources: int) -> Candle:
    ts_ms, trade_id, ticks, lots, side = one.trade
    open_ms = timeframe.open_of(ts_ms)
    candle = Candle(
        open_ms=open_ms,
        open_ticks=ticks,
        high_ticks=ticks,
        low_ticks=ticks,
        close_ticks=ticks,
        volume_lots=lots,
        buy_lots=lots if side == 0 else 0,
        sell_lots=lots if side not in (0, UNKNOWN) else 0,
        turnover=ticks * lots,
        trades=1,
        first_ts_ms=ts_ms,
        first_id=trade_id,
        last_ts_ms=ts_ms,
        last_id=trade_id,
        sources=sources,
        delta_min_lots=_signed(lots, side),
        delta_max_lots=_signed(lots, side),
    )
    return replace(candle, rev=int(timeframe.next_open(open_ms) <= one.before_ms))


def _signed(lots: int, side: int) -> int:
    return (lots, -lots, 0)[side]
