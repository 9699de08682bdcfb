"""Changes that a worker makes of symbols it serves itself, beside the terms."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from workers.change.request import Request


@dataclass(slots=True)
class OwnChanges:
    """`make(symbol, request)` changes one. It takes the symbol from our own term, so it must not end with that."""

    make: Callable[[str, Request], Awaitable[object]]
    _tasks: "dict[str, asyncio.Task[object]]" = field(default_factory=dict)

    async def change(self, symbol: str, request: Request) -> None:
        """Return once it is done, or raise why it can't be. Cancelling the caller leaves it alone."""
        task = self._tasks.get(symbol)
        if task is None:
            task = self._tasks[symbol] = asyncio.ensure_future(self.make(symbol, request))
            task.add_done_callback(lambda _: self._tasks.pop(symbol))
        await asyncio.shield(task)

    async def close(self) -> None:
        """End those under way. Nothing has been changed, or all has: a change may be cut off at any moment."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
