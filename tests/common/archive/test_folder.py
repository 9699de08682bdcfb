"""A folder: killed at every step, full, read-only, something else in its place."""

import contextlib
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.archive.archive import Archive
from common.archive.folder import Folder
from common.archive.series import CANDLE_ROWS
from common.errors import ArchiveUnavailable, Superseded
from infra.paths import ROOT
from tests.kit.archive.rows import BTC, FEBRUARY_MS, MARCH_MS, february, period, write
from tests.kit.waiting import wait_until

OBJECT = "candles/symbol=BTC/2024-02.parquet"

# Replaces an object again and again, each time in a child that kills itself before the line of folder.py that it comes
# to as the N-th, until one lives to the end. It loads no library: so it is fast, and may fork.
_DIES = """
import itertools, os, signal, sys
from pathlib import Path
from common.archive import folder

OBJECT, root, before, after = sys.argv[1], Path(sys.argv[2]), sys.argv[3].encode(), sys.argv[4].encode()

def replace(root, content):
    there = folder.Folder(root)
    found = there.read(OBJECT)
    there.replace(OBJECT, content, lambda data: None, found and found.tag)

def die_at(deadly):
    lines = itertools.count(1)

    def count(frame, event, argument):
        if frame.f_code.co_filename == folder.__file__:
            if event == "line" and next(lines) == deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            return count

    return count

for deadly in itertools.count(1):
    if before:
        replace(root / str(deadly), before)
    child = os.fork()
    if not child:
        sys.settrace(die_at(deadly))
        replace(root / str(deadly), after)
        os._exit(0)
    if os.waitpid(child, 0)[1] != signal.SIGKILL:
        break
"""


def content(folder: Folder) -> bytes | None:
    found = folder.read(OBJECT)
    return found.data if found else None


def fill(folder: Folder, content: bytes) -> None:
    found = folder.read(OBJECT)
    folder.replace(OBJECT, content, lambda data: None, found.tag if found else None)


def files(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]


@pytest.mark.process
@pytest.mark.parametrize("before", [b"old" * 1_000, None], ids=["replaced", "new"])
def test_killed_before_any_line_it_leaves_the_old_or_the_new(tmp_path: Path, before: bytes | None) -> None:
    after = b"new" * 1_000
    command = [sys.executable, "-c", _DIES, OBJECT, str(tmp_path), (before or b"").decode(), after.decode()]
    subprocess.run(command, cwd=ROOT, check=True)
    seen = []
    for root in sorted(tmp_path.iterdir(), key=lambda path: int(path.name)):
        folder = Folder(root)
        seen.append(content(folder))
        # Who comes next needs to know nothing of it, and clears up.
        fill(folder, b"next")
        assert files(root) == [OBJECT] and content(folder) == b"next"
    changed_at = seen.index(after)
    assert 20 < changed_at < len(seen) - 1
    assert seen == [before] * changed_at + [after] * (len(seen) - changed_at)


def test_a_draft_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    folder, another = Folder(tmp_path), "candles/symbol=BTC/2024-03.parquet"

    def meanwhile(data: bytes) -> None:
        folder.replace(another, b"other", lambda data: None, None)
        assert data == b"mine"

    folder.replace(OBJECT, b"mine", meanwhile, None)
    assert sorted(files(tmp_path)) == [OBJECT, another] and content(folder) == b"mine"


def test_while_one_looks_and_renames_no_other_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held up between the two, the first has the folder for itself: the other comes after it, and is refused."""
    folder, looked, go_on = Folder(tmp_path), threading.Event(), threading.Event()
    fill(folder, b"old")
    old = folder.read(OBJECT)
    assert old
    rename = Path.replace

    def held_up(self: Path, target: Path) -> Path:
        looked.set()
        assert go_on.wait(10)
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", held_up)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(folder.replace, OBJECT, b"first", lambda data: None, old.tag)
        assert looked.wait(10)
        second = pool.submit(folder.replace, OBJECT, b"second", lambda data: None, old.tag)
        # It waits for the lock: the kernel says so.
        wait_until(lambda: "-> FLOCK" in Path("/proc/locks").read_text())
        go_on.set()
        first.result()
        with pytest.raises(Superseded):
            second.result()
    assert files(tmp_path) == [OBJECT] and content(folder) == b"first"


def test_a_refused_draft_changes_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    fill(folder, b"old")
    old = folder.read(OBJECT)

    def refuse(data: bytes) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        folder.replace(OBJECT, b"new", refuse, old.tag if old else None)
    assert files(tmp_path) == [OBJECT] and content(folder) == b"old"


def check_a_failed_write(archive: Archive, root: Path, cause: str) -> None:
    """A write fails with its cause in a sentence; what was there is as it was."""
    old = february()
    with pytest.raises(ArchiveUnavailable) as caught:
        write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february(seed=1))
    assert str(caught.value) == f"archive {root / CANDLE_ROWS.path(BTC.symbol, FEBRUARY_MS)}: {cause}"
    assert old.equals(archive.read(CANDLE_ROWS, BTC, FEBRUARY_MS, MARCH_MS))
    assert files(root) == [CANDLE_ROWS.path(BTC.symbol, FEBRUARY_MS)]


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel refuses longer files: a full disk that anybody can have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room(tmp_path: Path) -> None:
    archive = Archive.open(str(tmp_path))
    write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february())
    with largest_file(4_096):
        check_a_failed_write(archive, tmp_path, "File too large")
    write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february(seed=1))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "fleet", str(tmp_path)]
    try:
        done = subprocess.run(command, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount here: the other tests have a full disk by a limit, a read-only one by a file")
    if done.returncode:
        pytest.skip(f"may not mount a small disk here: {done.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_full_disk_and_a_read_only_one(disk: Path) -> None:
    root = disk / "archive"
    archive = Archive.open(str(root))
    write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february())
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4_096))
    check_a_failed_write(archive, root, os.strerror(28))
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    check_a_failed_write(archive, root, os.strerror(30))
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february(seed=1))
    assert february(seed=1).equals(archive.read(CANDLE_ROWS, BTC, FEBRUARY_MS, MARCH_MS))


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "archive").touch()
    archive = Archive.open(str(tmp_path / "archive"))
    for call in (
        lambda: write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, period(CANDLE_ROWS)),
        lambda: archive.read_period(CANDLE_ROWS, BTC, FEBRUARY_MS),
        lambda: archive.periods(CANDLE_ROWS, BTC.symbol),
        lambda: archive.clear(CANDLE_ROWS, BTC, FEBRUARY_MS),
    ):
        with pytest.raises(ArchiveUnavailable, match=r"Not a directory|File exists"):
            call()
