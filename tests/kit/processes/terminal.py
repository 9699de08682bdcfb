"""A process on a terminal of 80 columns, as a user sees it."""

import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fcntl import ioctl

from infra.paths import ROOT

COLUMNS, LINES = 80, 24
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`text`: all that was shown so far, without colours and movements."""

    def __init__(self, process: "subprocess.Popen[bytes]", ours: int) -> None:
        self.process, self._ours, self._read = process, ours, bytearray()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    @property
    def text(self) -> str:
        return _CONTROL.sub("", self._read.decode(errors="replace")).replace("\r", "")

    def join(self) -> None:
        self._thread.join()

    def _listen(self) -> None:
        # An error is the end: the other side is closed.
        try:
            while block := os.read(self._ours, 1 << 16):
                self._read += block
        except OSError:
            pass


@contextmanager
def terminal(command: Sequence[str], **environ: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=known | {"TERM": "xterm"} | environ
    )
    os.close(theirs)
    found = Terminal(process, ours)
    try:
        yield found
    finally:
        process.kill()
        process.wait()
        found.join()
        os.close(ours)
