"""Everything that is due, of every symbol."""

from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest

from redis.asyncio import Redis

from common.store.registry import Registry
from workers.rollup.work import Work


async def due_work(client: Redis) -> list[Work]:
    """One of each symbol in turn, so that one with years to do does not keep the others waiting."""
    symbols = await Registry(client).symbols()
    return in_turn([[] for _ in symbols])


def in_turn(groups: Iterable[Sequence[Work]]) -> list[Work]:
    """The first of each group, then the second of each, and so on."""
    return [work for work in chain.from_iterable(zip_longest(*groups)) if work is not None]
