"""15m roll-ups put to the proof: their rows against what the sealed minutes of their days give."""

import time
from collections.abc import Mapping
from itertools import chain, zip_longest
from typing import NamedTuple

import numpy as np
from redis.asyncio import Redis

from common.market.coding import blocks, quarter_hours
from common.market.scale import Scales
from common.series import CANDLES
from common.store.months import MonthReading, MonthStore
from common.store.registry import Market
from infra.doctor.checks import MonthsSeen

# A month takes some 10 ms, and a fleet may have thousands.
MAX_LOOK_S = 2.0


class _Month(NamedTuple):
    market: Market
    store: MonthStore
    scales: Scales
    reading: MonthReading


async def look_at_months(client: Redis, markets: Mapping[str, Market]) -> MonthsSeen:
    """Look at as many as there is time for: the newest of each symbol, then the second of each, and so on."""
    groups = [await _months_of(client, market) for market in markets.values()]
    months = [each for each in chain.from_iterable(zip_longest(*groups)) if each]
    looked_at, wrong, until_s = 0, list[tuple[str, int]](), time.monotonic() + MAX_LOOK_S
    for each in months:
        if time.monotonic() >= until_s:
            break
        looked_at += 1
        # What changes while it is looked at is not wrong.
        if not await _is_right(each) and await _is_still(each):
            wrong.append((each.market.symbol, each.reading.month_ms))
    return MonthsSeen(len(months), looked_at, wrong)


async def _months_of(client: Redis, market: Market) -> list[_Month]:
    store = MonthStore(client, market.symbol)
    look = await store.look()
    if look is None:
        return []
    scales = look.state.scales(market.instrument)
    return [_Month(market, store, scales, month) for month in look.months if month.rolled]


async def _is_right(month: _Month) -> bool:
    """Whether the rows of all days that readers take are those of their minutes."""
    reading, rolled = month.reading, month.reading.rolled
    assert rolled, "others are not looked at"
    days = {seal.day_ms: seal.digest(CANDLES) for seal in reading.seals if rolled.has(seal)}
    there, sealed = await month.store.blocks(reading.month_ms, list(days))
    if [blocks.digest(block or b"") for block in (there, *sealed)] != [rolled.digest, *days.values()]:
        return False
    rows = quarter_hours.rows_of_days(there, days, month.scales)
    made = [quarter_hours.merged_day(block, month.scales) for block in sealed if block]
    parts = [part for part in made if part]
    if len(parts) < len(made) or not parts:
        return not days
    expected = quarter_hours.rows_in_order(parts)
    return all(np.array_equal(rows[name], expected[name]) for name in quarter_hours.NAMES)


async def _is_still(month: _Month) -> bool:
    look = await month.store.look()
    return look is not None and month.reading in look.months
