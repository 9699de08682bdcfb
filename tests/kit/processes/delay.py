"""What a busy machine takes of the time in which a process must have done something."""

from contextlib import suppress
from pathlib import Path


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
