"""To read again what was overtaken: what several reads found does not fit together where it was changed in between."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from common.errors import Overtaken, RetryableError, StoreUnavailable

# What changes under each of so many attempts is changed all the time: waiting is for the caller.
ATTEMPTS = 5

T = TypeVar("T")


async def retry_when_overtaken(
    attempt: Callable[[], Awaitable[T]],
    what: str,
    work: str = "read it",
    *,
    by: tuple[type[RetryableError], ...] = (Overtaken,),
    attempts: int = ATTEMPTS,
) -> T:
    """Return what the first attempt returns that raises none of `by`. Raises `always_changing` where each did."""
    for _ in range(attempts):
        with suppress(*by):
            return await attempt()
    raise always_changing(what, work)


def always_changing(what: str, work: str = "read it") -> StoreUnavailable:
    """`what`: a symbol, say; `work`: what was to be done with it."""
    return StoreUnavailable(f"{what} changed under every attempt to {work}")
