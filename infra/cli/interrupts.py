"""Ctrl-C: until a command has something to give back it ends the process at once, as it ends any other."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process, until a command begins."""
    if not _is_handled_by(signal.default_int_handler):
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def begin() -> None:
    """A command begins: from now on Ctrl-C lets it clean up."""
    if _is_handled_by(signal.SIG_DFL):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_handled_by(handler: object) -> bool:
    # Who ignores it, as a shell has what runs in the background do, goes on doing so. No other thread may ask.
    return threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is handler
