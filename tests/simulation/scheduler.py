"""Coroutines driven by hand: virtual time, one seeded order of events, processes that pause and die.

Every await of the simulated code ends in `suspend`: it hands the scheduler a function that arranges the task's
wake-up. Nothing else decides what runs next, so a seed is a schedule, and the same seed is the same run.
"""

import heapq
import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any


@dataclass(slots=True)
class Process:
    """`paused_until_ms`: as under SIGSTOP, nothing of it runs before; what it has sent is under way all the same."""

    name: str
    alive: bool = True
    paused_until_ms: int = 0


@dataclass(slots=True)
class World:
    """Virtual time in ms, and what happens when. Events of the same moment come in random order."""

    random: Random
    now_ms: int = 0
    trace: Callable[[str], None] = lambda line: None
    _events: list[tuple[int, float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)
    _tasks: "list[Task]" = field(default_factory=list)

    def at(self, time_ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time_ms, self.random.random(), next(self._numbers), action))

    def run(self, done: Callable[[], bool], limit_ms: int) -> bool:
        """Let events happen until `done`. False if that has not come by `limit_ms`, or if nothing happens any more."""
        while self._events and self.now_ms < limit_ms:
            if done():
                return True
            time_ms, _, _, action = heapq.heappop(self._events)
            self.now_ms = max(self.now_ms, time_ms)
            action()
        return done()

    def spawn(self, process: Process, coroutine: Coroutine[Any, Any, None]) -> "Task":
        task = Task(self, process, coroutine)
        self._tasks.append(task)
        self.at(self.now_ms, task.wake)
        return task

    def close(self) -> None:
        """Drop what is still under way."""
        for task in self._tasks:
            task.coroutine.close()


@dataclass(slots=True)
class Task:
    """A coroutine of a process."""

    world: World
    process: Process
    coroutine: Coroutine[Any, Any, None]

    def wake(self, value: object = None, error: Exception | None = None) -> None:
        """Go on with the result of what was awaited, unless the process is dead; once it is not paused."""
        if not self.process.alive:
            return
        if self.process.paused_until_ms > self.world.now_ms:
            self.world.at(self.process.paused_until_ms, lambda: self.wake(value, error))
            return
        try:
            arrange = self.coroutine.throw(error) if error else self.coroutine.send(value)
        except StopIteration:
            return
        arrange(self)

    def __await__(self) -> Generator["Arrange", Any, None]:
        raise NotImplementedError("nobody waits for a simulated task to end")


Arrange = Callable[[Task], None]


@types.coroutine
def suspend(arrange: Arrange) -> Generator[Arrange, Any, Any]:
    """Wait until `task.wake` is called by what `arrange(task)` has set off."""
    return (yield arrange)


@dataclass(slots=True)
class VirtualClock:
    """One process's clocks: its wall clock is off by `skew_ms`, which may change at any time."""

    world: World
    skew_ms: int = 0

    def now_ms(self) -> int:
        return self.world.now_ms + self.skew_ms

    def monotonic_ms(self) -> int:
        return self.world.now_ms

    def boot_ms(self) -> int:
        return self.world.now_ms

    async def sleep_ms(self, ms: int) -> None:
        await suspend(lambda task: self.world.at(self.world.now_ms + ms, task.wake))
