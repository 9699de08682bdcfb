"""What tests of every part share: a clock they move, and waiting for conditions."""

import time
from collections.abc import Awaitable, Callable

import anyio

POLL_S = 0.005
# Only a test that fails waits that long; others share the machine with it.
PATIENCE_S = 15.0


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = 0
        self._suspended_ms = 0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_ms(self) -> int:
        return self._monotonic_ms

    def boot_ms(self) -> int:
        return self._monotonic_ms + self._suspended_ms

    async def sleep_ms(self, ms: int) -> None:
        """To sleep is to move time."""
        self.advance(ms)

    def advance(self, span_ms: int) -> None:
        """Time passes."""
        self._now_ms += span_ms
        self._monotonic_ms += span_ms

    def jump(self, span_ms: int) -> None:
        """The wall clock is set; no time passes."""
        self._now_ms += span_ms

    def suspend(self, span_ms: int) -> None:
        """The machine sleeps: time passes, and nothing runs."""
        self._now_ms += span_ms
        self._suspended_ms += span_ms


def wait_until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Return as soon as the condition holds; fail the test if it never does."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {condition}"
        time.sleep(POLL_S)


async def wait_until_async(condition: Callable[[], object | Awaitable[object]], timeout_s: float = PATIENCE_S) -> None:
    """The same inside a running event loop. The condition may be a coroutine function."""
    deadline_s = time.monotonic() + timeout_s
    while not await _value(condition()):
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {condition}"
        await anyio.sleep(POLL_S)


async def _value(found: object | Awaitable[object]) -> object:
    return await found if isinstance(found, Awaitable) else found
