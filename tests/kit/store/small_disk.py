"""A disk that can be full: a small one of memory, or, where nobody may mount one, a bound on the size of files."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SIZE_MB = 16
# Left when it is full: some writes still fit.
LEFT_BYTES = 100_000


@dataclass(frozen=True)
class SmallDisk:
    """`fill` and `free` are told the process that writes; others on a disk of memory meet the same."""

    folder: Path
    is_mounted: bool

    def fill(self, pid: int) -> None:
        if not self.is_mounted:
            largest = max(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
            _limit(pid, largest + LEFT_BYTES)
            return
        with suppress(OSError), open(self._filler, "wb", buffering=0) as file:
            while file.write(b"x" * 4_096):
                pass
        with open(self._filler, "r+b") as file:
            file.truncate(max(0, self._filler.stat().st_size - LEFT_BYTES))

    def free(self, pid: int) -> None:
        if self.is_mounted:
            self._filler.unlink()
        else:
            _limit(pid, resource.RLIM_INFINITY)

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"


def _limit(pid: int, size: int) -> None:
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, most))


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)]
    is_mounted = _succeeds(mount)
    try:
        yield SmallDisk(folder, is_mounted)
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
