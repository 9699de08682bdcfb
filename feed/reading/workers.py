"""Threads in which queries are worked out, so that the event loop answers others meanwhile.

Polars, numpy and zstd let go of the interpreter while they work; what is left of Python is a few calls for some ten
thousand rows.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

# More only take the memory and the interpreter from each other.
THREADS = 2

T = TypeVar("T")


class Workers:
    """Of a process. Made with the first work that there is to do."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "query")

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
