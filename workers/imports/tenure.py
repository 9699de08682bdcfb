"""Holding a symbol while something that takes long is done."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from common.store.health import BACKFILLING
from common.store.symbol import SymbolStore
from workers.symbol.heartbeat import BEATS_PER_LEASE, beating

SOURCE = "import"
T = TypeVar("T")


@dataclass(slots=True)
class Tenure:
    """`seq`: of the last commit."""

    store: SymbolStore
    token: str
    seq: int
    lease_ttl_ms: int

    async def meanwhile(self, work: Callable[..., T], *arguments: object) -> T:
        """Run it in a thread, with signs of life while it lasts."""
        return await self.alive(asyncio.create_task(asyncio.to_thread(work, *arguments)))

    async def alive(self, task: "asyncio.Task[T]") -> T:
        return await beating(task, self.beat, self.lease_ttl_ms / BEATS_PER_LEASE / 1_000)

    async def beat(self) -> None:
        await self.store.beat(self.token, self.seq, {"mode": BACKFILLING, "source": SOURCE})
