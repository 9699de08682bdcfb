"""Everything that is due, of every symbol."""

from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest

from redis.asyncio import Redis

from common.market.timeframe import Timeframe
from common.store.registry import Registry
from common.store.rollups import RollupStore
from workers.rollup.work import ARCHIVE, ROLL, Work

# As common.archive.series has it, which loads Polars.
ARCHIVED_BY = {"candles": Timeframe(1, "M"), "footprints": Timeframe(1, "d")}


async def due_work(client: Redis, *, archiving: bool) -> list[Work]:
    """One of each symbol in turn, so that one with years to do does not keep the others waiting."""
    symbols = await Registry(client).symbols()
    return in_turn([await _due_of(client, symbol, archiving) for symbol in symbols])


async def _due_of(client: Redis, symbol: str, archiving: bool) -> list[Work]:
    due = await RollupStore(client, symbol).due()
    works = [Work(ROLL, symbol, day_ms) for day_ms in due.days]
    if archiving:
        # Of all sealed days of a period, one job.
        periods = {(series, ARCHIVED_BY[series].open_of(day_ms)): None for series, day_ms in due.archive}
        works += [Work(ARCHIVE, symbol, period_ms, (series,)) for series, period_ms in periods]
    return works


def in_turn(groups: Iterable[Sequence[Work]]) -> list[Work]:
    """The first of each group, then the second of each, and so on."""
    return [work for work in chain.from_iterable(zip_longest(*groups)) if work is not None]
