"""Everything that is due, of every symbol."""

from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest

from redis.asyncio import Redis

from common.store.registry import Registry
from common.store.rollups import RollupStore
from workers.rollup.work import ROLL, Work


async def due_work(client: Redis) -> list[Work]:
    """One of each symbol in turn, so that one with years to do does not keep the others waiting."""
    symbols = await Registry(client).symbols()
    return in_turn([await _due_of(client, symbol) for symbol in symbols])


async def _due_of(client: Redis, symbol: str) -> list[Work]:
    due = await RollupStore(client, symbol).due()
    return [Work(ROLL, symbol, day_ms) for day_ms in due.days]


def in_turn(groups: Iterable[Sequence[Work]]) -> list[Work]:
    """The first of each group, then the second of each, and so on."""
    return [work for work in chain.from_iterable(zip_longest(*groups)) if work is not None]
