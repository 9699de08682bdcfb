"""Identical questions asked at the same time are answered once."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """A question asked while the same one is being answered gets that answer, error included."""

    def __init__(self) -> None:
        self._flying: dict[Hashable, asyncio.Task[T]] = {}

    async def run(self, key: Hashable, answer: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = self._flying.get(key)
        # One that has just ended answers those who waited. Who asks it again would get it at once, and may ask again,
        # for ever: nothing else runs meanwhile.
        if task is None or task.done():
            task = self._flying[key] = asyncio.create_task(answer())
            task.add_done_callback(lambda done: self._landed(key, done))
        # A client that goes away takes only itself away, not the answer of the others.
        return await asyncio.shield(task)

    def _landed(self, key: Hashable, task: asyncio.Task[T]) -> None:
        if self._flying.get(key) is task:
            del self._flying[key]
        if not task.cancelled():
            # Looked at, or an error that is not waited for any more is reported as forgotten.
            task.exception()
