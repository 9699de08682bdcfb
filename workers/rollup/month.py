"""The roll-up of a month's sealed days, 15m candles: made of what is sealed, and of the roll-up that there is.

Rows of days that are sealed as they were stay; those of all others are made of their blocks. So it does not matter what
was missed meanwhile, and by whom: whoever makes a month next, makes all of it.

It is made by the last of its days that is to be rolled up, in the step that takes the day in (workers.rollup.day); and
once of all months that lack theirs, where an earlier release has written the store, or decimals were changed.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from redis.asyncio import Redis

from common.errors import Stale
from common.market.coding import blocks, quarter_hours
from common.market.coding.blocks import Columns
from common.market.scale import Scales
from common.market.timeframes.periods import MONTH
from common.market.timeframes.timeframe import DAY_MS
from common.series import CANDLES
from common.store.months import MonthReading, MonthsLook, MonthStore, RolledMonth, StagedMonth
from common.store.registry import Market
from common.store.rollups import SealFailed

log = logging.getLogger(__name__)


async def staged_month(
    store: MonthStore, reading: MonthReading, scales: Scales, fresh: Mapping[int, bytes]
) -> StagedMonth | None:
    """Lay the roll-up of a month down. None: it is as it should be.

    `fresh`: candles that are sealed in the same step, by day; empty where the day has none any more.
    """
    digests = {seal.day_ms: seal.digest(CANDLES) for seal in reading.seals}
    digests |= {day_ms: blocks.digest(block) if block else "" for day_ms, block in fresh.items()}
    rolled = reading.rolled
    known = rolled.days if rolled else {}
    same = {day_ms: digest for day_ms, digest in known.items() if digests.get(day_ms) == digest}
    lacking = {day_ms: digest for day_ms, digest in digests.items() if digest and day_ms not in same}
    if not lacking and len(same) == len(known):
        return None
    there, sealed = await _blocks(store, reading.month_ms if same else None, lacking, fresh)
    if rolled and same and blocks.digest(there) != rolled.digest:
        return await staged_month(store, reading._replace(rolled=None), scales, fresh)
    made, parts = _merged(sealed, scales)
    days = same | {day_ms: lacking[day_ms] for day_ms in made}
    kept = [quarter_hours.rows_of_days(there, same, scales)] if same else []
    return await _stage(store, reading.month_ms, [*kept, *parts], days, scales)


def _merged(sealed: Mapping[int, bytes], scales: Scales) -> tuple[list[int], list[Columns]]:
    """Return the days that can be merged, and their rows."""
    days = sorted(sealed)
    rows = quarter_hours.merged_days([sealed[day_ms] for day_ms in days], scales) if days else None
    if rows:
        return days, [rows]
    alone = {day_ms: quarter_hours.merged_days([sealed[day_ms]], scales) for day_ms in days}
    return [day_ms for day_ms, each in alone.items() if each], [each for each in alone.values() if each]


async def _blocks(
    store: MonthStore, month_ms: int | None, lacking: Mapping[int, str], fresh: Mapping[int, bytes]
) -> tuple[bytes, dict[int, bytes]]:
    """Return the month's block, and the sealed candles of the days that it lacks.

    A day that is not there as its seal says is left out: it was sealed again meanwhile, and is due, or it is damaged.
    """
    asked = [day_ms for day_ms in lacking if day_ms not in fresh]
    if month_ms is None and not asked:
        there, found = b"", list[bytes | None]()
    else:
        there, found = await store.blocks(month_ms, asked)
    sealed: dict[int, bytes | None] = {**dict(zip(asked, found, strict=True)), **fresh}
    return there, {
        day_ms: block
        for day_ms, digest in lacking.items()
        if (block := sealed[day_ms]) is not None and blocks.digest(block) == digest
    }


async def _stage(
    store: MonthStore, month_ms: int, parts: list[Columns], days: Mapping[int, str], scales: Scales
) -> StagedMonth:
    """See that the block reads as what it was made of."""
    rows = quarter_hours.rows_in_order(parts) if parts else None
    block = quarter_hours.pack_rows(rows, scales) if rows else None
    if not rows or not block:
        return StagedMonth(month_ms, None)
    if not quarter_hours.reads_as(await store.stage(month_ms, block), rows, scales):
        raise SealFailed(f"the 15m roll-up of {store.keys.symbol}, month {month_ms}, read otherwise")
    made = RolledMonth.made(month_ms, len(rows["open_ms"]), blocks.digest(block), dict(sorted(days.items())))
    return StagedMonth(month_ms, made)


async def make_months(client: Redis, market: Market, stopping: Callable[[], bool]) -> None:
    """Make the months that lack their roll-up, the newest first, until `stopping`.

    Those of which days are due are left to these. Where something changes meanwhile, the next job goes on.
    """
    store = MonthStore(client, market.symbol)
    if await store.are_made() or await store.form() is None:
        return
    look = await store.look()
    if look is None:
        return
    look.state.check(market.instrument)
    scales = look.state.scales(market.instrument)
    with suppress(Stale):
        for month in _settled(look):
            if stopping():
                return
            staged = await staged_month(store, month, scales, {})
            if staged:
                await store.put(look.mark, staged)
                log.info("month rolled up", extra={"symbol": market.symbol, "month_ms": month.month_ms})
        await store.note_made(look.mark)


def _settled(look: MonthsLook) -> Iterable[MonthReading]:
    """Months of which no day is to be sealed."""
    first_ms, end_ms = look.state.candle_floor_ms, look.state.watermark_ms - DAY_MS
    due = {MONTH.open_of(day_ms) for day_ms in look.dirty if first_ms <= day_ms <= end_ms}
    return (month for month in look.months if month.month_ms not in due)
