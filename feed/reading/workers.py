"""Threads in which queries are worked out, so that the event loop answers others meanwhile.

Polars, numpy and zstd let go of the interpreter while they work; what is left of Python is a few calls for some ten
thousand rows. Those of large queries have threads of their own, or light ones would wait for them. They are of the same
priority: one that is kept from the processor while it has the interpreter keeps the event loop from it, too.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

# More threads only take the memory and the interpreter from each other.
THREADS = 2

T = TypeVar("T")


class QueryThreads:
    """`run` works something out for a query of whichever weight."""

    def __init__(self) -> None:
        self._quick = ThreadPoolExecutor(THREADS, "quick")
        self._patient = ThreadPoolExecutor(THREADS, "patient")

    async def run(self, work: Callable[[], T], *, patient: bool) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._patient if patient else self._quick, work)

    def close(self) -> None:
        for pool in (self._quick, self._patient):
            pool.shutdown(wait=False, cancel_futures=True)
