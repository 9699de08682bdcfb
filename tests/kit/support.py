"""What tests of every part share: clocks, waiting for conditions, and what a busy machine must not change."""

import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from common.clock import SystemClock

POLL_S = 0.005
# Only a test that fails waits that long; others share the machine with it.
PATIENCE_S = 15.0
# Between two looks at a clock no more time passes than this.
MAX_LOOK_MS = 20


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


@dataclass(slots=True)
class AttentiveClock(SystemClock):
    """The machine's, for who looks every few ms: time in which this process had to wait for a core does not pass.

    So what is silent only because both ends of it are in a process that could not run, is not found silent.
    """

    _looked_ms: int = field(default_factory=SystemClock().monotonic_ms)
    _passed_ms: int = 0

    def monotonic_ms(self) -> int:
        now_ms = SystemClock.monotonic_ms(self)
        self._passed_ms += min(now_ms - self._looked_ms, MAX_LOOK_MS)
        self._looked_ms = now_ms
        return self._passed_ms


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port of loopback for a process that is yet to start: it may listen there, and no one else is given it.

    Bound and not listened on, so that any server that reuses addresses, as all do, may.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


def waited_s(*pids: int) -> float:
    """How long these processes and this one have been ready to run, and waited for a core: the machine's delay.

    Of a process that has ended only as long as it is not reaped. 0 where the kernel does not tell.
    """
    waited_ns = 0
    for pid in ("self", *pids):
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError):
                waited_ns += int(path.read_text().split()[1])
    return waited_ns / 1e9


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
