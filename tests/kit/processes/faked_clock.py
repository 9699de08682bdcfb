"""A process whose wall clock a test sets while it runs; nobody else's moves, and CLOCK_MONOTONIC and BOOTTIME don't."""

import os
from pathlib import Path

import libfaketime

_LIBRARY = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"

# As libfaketime writes them.
STEPS = {"-3s": -3_000, "-2h": -7_200_000, "+1h": 3_600_000, "+24h": 86_400_000, "+500d": 500 * 86_400_000}
RIGHT = "+0"


class FakedClock:
    """`environ`: what the process is to be started with."""

    def __init__(self, folder: Path) -> None:
        self._stamp = folder / "clock"
        self.set(RIGHT)
        self.environ = {
            "LD_PRELOAD": str(_LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._stamp),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, step: str) -> None:
        """The machine's clock is off by so much from now on."""
        written = self._stamp.with_suffix(".new")
        written.write_text(step)
        # At once: a file that is read half is no time at all.
        os.replace(written, self._stamp)
