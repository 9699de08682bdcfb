"""15m roll-ups put to the proof: their rows against what the sealed minutes of their days give."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import chain, zip_longest
from typing import NamedTuple

import numpy as np
from redis.asyncio import Redis

from common.market.coding import blocks, quarter_hours
from common.market.scale import Scales
from common.market.timeframes.periods import MONTH
from common.market.timeframes.timeframe import DAY_MS
from common.series import CANDLES
from common.store.months import MonthReading, MonthStore
from common.store.registry import Market
from infra.doctor.checks import BEHIND_TOLD, Finding, Level

# A month takes some 10 ms, and a fleet may have thousands.
MAX_LOOK_S = 2.0


class MonthsSeen(NamedTuple):
    """How many months have 15m candles, how many were looked at, and which of these are wrong: symbol and open (ms)."""

    all: int
    looked_at: int
    wrong: Sequence[tuple[str, int]] = ()


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
    expected = quarter_hours.merged_days([block for block in sealed if block], month.scales) if days else rows
    return expected is not None and all(np.array_equal(rows[name], expected[name]) for name in quarter_hours.NAMES)


async def _is_still(month: _Month) -> bool:
    look = await month.store.look()
    return look is not None and month.reading in look.months


def judged(seen: MonthsSeen) -> Finding:
    """The 15m roll-ups of sealed days."""
    looked_at = f"{seen.looked_at} of {seen.all} looked at" if seen.looked_at < seen.all else f"all {seen.all}"
    if not seen.wrong:
        return Finding(Level.OK, "months", f"15m candles of {looked_at} are those of their days")
    told = [f"{symbol} {_day(month_ms):%Y-%m}" for symbol, month_ms in seen.wrong[:BEHIND_TOLD]]
    more = [f"and {len(seen.wrong) - BEHIND_TOLD} more"] if len(seen.wrong) > BEHIND_TOLD else []
    found = f"15m candles that are not those of their days: {', '.join(told + more)} ({looked_at})"
    symbol, month_ms = seen.wrong[0]
    last_ms = MONTH.next_open(month_ms) - DAY_MS
    advice = f"fleet rebuild {symbol} --from {_day(month_ms)} --to {_day(last_ms)} makes them again."
    return Finding(Level.FAIL, "months", found, advice)


def _day(ts_ms: int) -> date:
    return datetime.fromtimestamp(ts_ms / 1_000, UTC).date()
