"""Where the events of several sockets wait for the one who reads them."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from typing import Any

from workers.venues.shared.base import Event

# Puts events for as long as it is read: from one connection to the next. With its name, for its task.
Keeper = tuple[str, Callable[[], Coroutine[Any, Any, None]]]

# Events waiting for their reader, beyond which sockets wait; the venue then cuts us, and that is noticed.
MAILBOX_EVENTS = 4_096


class Mailbox:
    """Events from sockets to one reader, in order. Bounded by those who put, who wait while it is `full`."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._filled, self._room = asyncio.Event(), asyncio.Event()
        self._error: BaseException | None = None

    def put(self, events: Iterable[Event]) -> None:
        self._events.extend(events)
        self._filled.set()

    @property
    def full(self) -> bool:
        return len(self._events) >= MAILBOX_EVENTS

    async def room(self) -> None:
        while self.full:
            self._room.clear()
            await self._room.wait()

    async def take(self) -> list[Event]:
        """All there is; waits for the first. Raises what ended a keeper."""
        while not self._events:
            if self._error is not None:
                raise self._error
            self._filled.clear()
            await self._filled.wait()
        events = list(self._events)
        self._events.clear()
        self._room.set()
        return events

    async def events(self, keepers: Sequence[Keeper]) -> AsyncGenerator[Event, None]:
        """Run the keepers, and yield what they put, for ever. Close it (contextlib.aclosing), and they have ended."""
        tasks = [asyncio.create_task(run(), name=name) for name, run in keepers]
        for task in tasks:
            task.add_done_callback(self._watch)
        try:
            while True:
                for event in await self.take():
                    yield event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _watch(self, keeper: "asyncio.Task[None]") -> None:
        """A keeper runs for ever; should it end by an error of ours, its reader is to know."""
        if not keeper.cancelled():
            self._error = keeper.exception()
            self._filled.set()
