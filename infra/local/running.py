"""What runs for a data folder: each launcher writes down itself and the processes it has started.

    <data_dir>/run/<pid>.json    of the launcher with this pid; removed when it has stopped everything

A launcher that was killed leaves its record behind, and may leave processes. A pid is given to another process sooner
or later, so each is written down with its birth, and whoever stops one looks at that first.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common.errors import OperatorError
from infra import private

FOLDER = "run"
POLL_S = 0.02
# Of the fields behind a process's state in /proc/<pid>/stat: when it was born, in ticks since the machine was started.
_BORN_FIELD = 18


@dataclass(frozen=True, slots=True)
class Running:
    """A process: who had that pid, at that birth. `since_ms`: when it was first seen, UTC."""

    pid: int
    birth: str
    since_ms: int

    @classmethod
    def of(cls, pid: int) -> "Running | None":
        """None if there is no such process."""
        birth = birth_of(pid)
        return cls(pid, birth, now_ms()) if birth else None

    @property
    def is_alive(self) -> bool:
        return birth_of(self.pid) == self.birth

    def signal(self, number: signal.Signals, *, group: bool) -> None:
        """`group`: it, and what it has started: a launcher's processes lead groups of their own."""
        with suppress(ProcessLookupError):
            if self.is_alive:
                (os.killpg if group else os.kill)(self.pid, number)

    def await_end(self, timeout_s: float) -> bool:
        """Whether it ended in that time."""
        deadline_s = time.monotonic() + timeout_s
        while self.is_alive:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(POLL_S)
        return True


@dataclass(frozen=True, slots=True)
class Launch:
    """A launcher, and what it has started, by name. `feed`, `store`: their addresses."""

    launcher: Running
    feed: str
    store: str
    children: dict[str, Running] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Launch":
        found: dict[str, Any] = json.loads(text)
        children = {str(name): Running(**each) for name, each in found.pop("children").items()}
        return cls(launcher=Running(**found.pop("launcher")), children=children, **found)

    @property
    def left_behind(self) -> dict[str, Running]:
        """What runs on without its launcher."""
        return {} if self.launcher.is_alive else {name: each for name, each in self.children.items() if each.is_alive}


class LaunchRecord:
    """That of this process. A disk that does not take it costs the fleet nothing but the record."""

    def __init__(self, data_folder: Path, feed: str, store: str) -> None:
        launcher = Running.of(os.getpid())
        assert launcher, "it is us"
        self._path = _place(data_folder) / f"{launcher.pid}.json"
        self._launch = Launch(launcher, feed, store)

    def note(self, pids: Mapping[str, int]) -> None:
        """`pids`: of the processes that run now, by name."""
        known, running = self._launch.children, dict[str, Running]()
        for name, pid in pids.items():
            before = known.get(name)
            if found := before if before and before.pid == pid else Running.of(pid):
                running[name] = found
        known.clear()
        known.update(running)
        draft = self._path.with_suffix(".draft")
        with suppress(OSError):
            with open(draft, "w", opener=private.opener) as file:
                json.dump(asdict(self._launch), file)
            os.replace(draft, self._path)

    def remove(self) -> None:
        with suppress(OSError):
            self._path.unlink()


@contextmanager
def recorded(data_folder: Path, feed: str, store: str) -> Iterator[LaunchRecord]:
    """Keep the record of this launcher for the length of the block."""
    with suppress(OperatorError):
        private.make(_place(data_folder))
    record = LaunchRecord(data_folder, feed, store)
    record.note({})
    try:
        yield record
    finally:
        record.remove()


def launches(data_folder: Path) -> list[tuple[Path, Launch]]:
    """All that are written down, the oldest first, each with the place of its record."""
    found = []
    with suppress(OSError):
        for path in sorted(_place(data_folder).glob("*.json")):
            # One that is being replaced, or of another release.
            with suppress(OSError, ValueError, TypeError, KeyError):
                found.append((path, Launch.parse(path.read_text())))
    return sorted(found, key=lambda pair: pair[1].launcher.since_ms)


def now_ms() -> int:
    return int(time.time() * 1_000)


def birth_of(pid: int) -> str:
    """What tells a process from every other that had or will have its pid; "" if there is none, or it has ended."""
    if sys.platform != "linux":
        shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return shown.stdout.strip()
    try:
        # Its name, in brackets, may hold anything.
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # One that has ended waits for its parent to hear of it.
    return "" if state in "ZX" else f"{boot}:{fields[_BORN_FIELD]}"


def _place(data_folder: Path) -> Path:
    return data_folder / FOLDER
