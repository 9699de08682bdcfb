"""What the tests of processes share."""

import io
from pathlib import Path

from infra.local.child import Backoff, Output

QUICK = Backoff(first_s=0.01, cap_s=0.02)


class Shown:
    """An output that can be read."""

    def __init__(self) -> None:
        self._stream = io.BytesIO()
        self.output = Output(self._stream)

    @property
    def text(self) -> str:
        return self._stream.getvalue().decode(errors="replace")

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
