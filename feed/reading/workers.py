"""Threads in which queries are worked out, so that the event loop answers others meanwhile.

Polars, numpy and zstd let go of the interpreter while they work; what is left of Python is a few calls for some ten
thousand rows. What large queries read is worked out at a lower priority: where a core is wanted by two, the event loop
has it.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

# More threads only take the memory and the interpreter from each other.
THREADS = 2
# Of the 19 there are to be lower.
NICE = 10

T = TypeVar("T")


class Workers:
    """`run` works something out for a query of whichever weight."""

    def __init__(self) -> None:
        self._quick = ThreadPoolExecutor(THREADS, "quick")
        self._patient = ThreadPoolExecutor(THREADS, "patient", _lower_priority)

    async def run(self, work: Callable[[], T], *, patient: bool) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._patient if patient else self._quick, work)

    def close(self) -> None:
        for pool in (self._quick, self._patient):
            pool.shutdown(wait=False, cancel_futures=True)


def _lower_priority() -> None:
    """Of this thread alone: to Linux each is a task of its own."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
