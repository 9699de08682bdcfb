"""How many queries are under way at once, by how much they read: light, large and heavy ones.

How much a query reads is known only as it goes on. It begins as a light one; before it reads more than such a one may,
it takes a place among those that may. If none is free, it lets go of all it has read and begins again when its turn
comes: so one that waits holds nothing, and no light query is behind a large one.

Only heavy ones are ever refused. Who reads less waits for its turn, however long. While clients have yet to read much
of what was answered, no large one begins.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeVar

from common.errors import FleetError

# Minutes, levels or trades up to which a query is a light one, and a large one.
MAX_LIGHT_ROWS = 1 << 17
MAX_LARGE_ROWS = 1_000_000
LIGHT_PLACES = 8
# Heavy queries that may wait, and for how long.
MAX_WAITING = 16
MAX_WAIT_S = 10.0
# Of answers that clients have yet to read, for each place.
MAX_UNSENT_BYTES = 8 << 20
LOOK_EVERY_S = 0.05

T = TypeVar("T")


class Weight(IntEnum):
    LIGHT = 0
    LARGE = 1
    HEAVY = 2


class Busy(FleetError):
    """The user must act: as many heavy queries are under way, or wait, as may."""


class Beyond(Exception):
    """The query needs a place that is taken: it is to begin again once it has one."""

    def __init__(self, weight: Weight) -> None:
        super().__init__(f"no place is free for a {weight.name.lower()} query")
        self.weight = weight


def weight_of(rows: int) -> Weight:
    return Weight((rows > MAX_LIGHT_ROWS) + (rows > MAX_LARGE_ROWS))


class Lanes:
    """`large_places`: of large and heavy queries together. One of several is not for heavy ones."""

    def __init__(
        self,
        large_places: int,
        on_refused: Callable[[], None] = lambda: None,
        unsent_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        self._on_refused, self._unsent_bytes = on_refused, unsent_bytes
        self._max_unsent_bytes = large_places * MAX_UNSENT_BYTES
        self._waiting = 0
        self._lanes = {
            Weight.LIGHT: asyncio.Semaphore(LIGHT_PLACES),
            Weight.LARGE: asyncio.Semaphore(large_places),
            Weight.HEAVY: asyncio.Semaphore(max(1, large_places - 1)),
        }

    async def run(self, ask: Callable[["LanePlace"], Awaitable[T]]) -> T:
        """Return what `ask` does, which tells its place what it is about to read. Raises Busy."""
        weight = Weight.LIGHT
        while True:
            try:
                async with self._place(weight) as place:
                    return await ask(place)
            except Beyond as beyond:
                weight = beyond.weight

    def _has_memory(self) -> bool:
        return self._unsent_bytes() <= self._max_unsent_bytes

    async def _until_read(self) -> None:
        # A transport does not tell what it has sent.
        while not self._has_memory():  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY_S)

    def has_place(self, weight: Weight) -> bool:
        return not self._lanes[weight].locked()

    @asynccontextmanager
    async def _place(self, weight: Weight) -> AsyncIterator["LanePlace"]:
        place = LanePlace(self)
        try:
            if weight is Weight.HEAVY:
                await self._wait_as_heavy(place)
            await place.take(self._lanes[min(weight, Weight.LARGE)])
            if weight > Weight.LIGHT:
                await self._until_read()
            place.weight = weight
            yield place
        finally:
            place.leave()

    async def _wait_as_heavy(self, place: "LanePlace") -> None:
        if self._waiting >= MAX_WAITING:
            self._refuse()
        self._waiting += 1
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                await place.take(self._lanes[Weight.HEAVY])
        except TimeoutError:
            self._refuse()
        finally:
            self._waiting -= 1

    def _refuse(self) -> None:
        self._on_refused()
        raise Busy(
            f"the feed works on as many queries of more than {MAX_LARGE_ROWS:,} rows or levels as it may, "
            "try again, or ask for less"
        )

    async def promote(self, place: "LanePlace", weight: Weight) -> None:
        """Give a place what a heavier query needs, if that is free at once. Raises Beyond."""
        needed = [lane for lane in Weight if place.weight < lane <= weight]
        if not (all(map(self.has_place, needed)) and self._has_memory()):
            raise Beyond(weight)
        light = place.leave if place.weight is Weight.LIGHT else None
        if light:
            light()
        for lane in needed:
            await place.take(self._lanes[lane])
        place.weight = weight


@dataclass(slots=True)
class LanePlace:
    """Of one query under way."""

    lanes: Lanes
    weight: Weight = Weight.LIGHT
    _held: list[asyncio.Semaphore] = field(default_factory=list)

    async def reads(self, rows: int) -> None:
        """Tell, before it reads on, how many rows the query will then have read. Raises Beyond."""
        weight = weight_of(rows)
        if weight > self.weight:
            await self.lanes.promote(self, weight)

    async def take(self, lane: asyncio.Semaphore) -> None:
        await lane.acquire()
        self._held.append(lane)

    def leave(self) -> None:
        while self._held:
            self._held.pop().release()
