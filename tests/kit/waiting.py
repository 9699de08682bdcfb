"""Waiting for conditions instead of for time."""

import time
from collections.abc import Awaitable, Callable

import anyio

POLL_S = 0.005
# Only a test that fails waits that long; others share the machine with it.
PATIENCE_S = 15.0


def wait_until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Return as soon as the condition holds; fail the test if it never does."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {condition}"
        time.sleep(POLL_S)


async def wait_until_async(
    condition: Callable[[], object | Awaitable[object]], timeout_s: float = PATIENCE_S, poll_s: float = POLL_S
) -> None:
    """The same inside a running event loop. The condition may be a coroutine function."""
    deadline_s = time.monotonic() + timeout_s
    while not await _value(condition()):
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {condition}"
        await anyio.sleep(poll_s)


async def _value(found: object | Awaitable[object]) -> object:
    return await found if isinstance(found, Awaitable) else found
