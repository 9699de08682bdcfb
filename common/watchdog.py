"""A process whose event loop hangs is ended: its lease is lost by then, and only a new process can take it again.

A thread looks whether the loop still turns. It counts its own looks, not time: a process that was paused as a whole has
had none either. Nor do those count in which the loop's thread mostly waited for a core, on a machine that has too few:
the watchdog itself needs hardly any.
"""

import asyncio
import logging
import os
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

# "An internal software error has been detected" (sysexits.h).
EXIT_CODE = 70
# So many leases without a turn; and no less than that, in seconds, however short a lease is.
LEASES, MIN_SILENCE_S = 3, 3.0
LOOKS = 12
# What hangs may be the log itself: then it is not waited for.
LAST_WORDS_S = 2.0


@dataclass(slots=True)
class Watchdog:
    """`on_hang` is called in the thread, with the stack of the one whose loop it is."""

    silence_s: float
    on_hang: Callable[[str], None]
    # How often it has looked.
    looks: int = 0
    _turned: bool = True
    _over: threading.Event = field(default_factory=threading.Event)
    _turning: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """To be called in the loop."""
        watched = threading.get_ident(), threading.get_native_id()
        threading.Thread(target=self._watch, args=watched, name="watchdog", daemon=True).start()
        self._turn(asyncio.get_running_loop())

    def stop(self) -> None:
        self._over.set()
        if self._turning:
            self._turning.cancel()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turned = True
        self._turning = loop.call_later(self.silence_s / LOOKS, self._turn, loop)

    def _watch(self, watched: int, native_id: int) -> None:
        silent, waited_s = 0, _waited_s(native_id)
        while silent < LOOKS and not self._over.wait(self.silence_s / LOOKS):
            before_s, waited_s = waited_s, _waited_s(native_id)
            is_starved = waited_s - before_s > self.silence_s / LOOKS / 2
            silent = 0 if self._turned else silent + (not is_starved)
            self._turned = False
            self.looks += 1
        if not self._over.is_set():
            self.on_hang("".join(traceback.format_stack(sys._current_frames().get(watched))))


def _waited_s(native_id: int) -> float:
    """For how long in all a thread of this process has waited for a core; 0 where the kernel does not tell."""
    try:
        return int(Path(f"/proc/self/task/{native_id}/schedstat").read_text("ascii").split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


@asynccontextmanager
async def watched(lease_ttl_ms: int) -> AsyncIterator[None]:
    """End the process if the running loop hangs inside the block."""
    silence_s = max(LEASES * lease_ttl_ms / 1_000, MIN_SILENCE_S)
    watchdog = Watchdog(silence_s, lambda stack: _die(silence_s, stack))
    watchdog.start()
    try:
        yield
    finally:
        watchdog.stop()


def _die(silence_s: float, stack: str) -> None:
    what = {"silent_s": silence_s, "stack": stack}
    words = threading.Thread(target=lambda: log.critical("event loop hangs, process ends", extra=what), daemon=True)
    words.start()
    words.join(LAST_WORDS_S)
    os._exit(EXIT_CODE)
