"""A copy of a data folder, taken while its fleet runs; itself a data folder, as of one moment.

The server only ever appends to its files, until a rewrite puts others in their place, which a manifest names. So all
that the manifest names are opened, and if it still says the same then, they are one whole store, for as long as the
copy takes: an open file stays, deleted or not. The server is told nothing, and a backup that is killed leaves a draft
beside its target, which the next one clears.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from common.errors import BadInput, OperatorError
from infra import private, settings_file

# Copied at once, and then on disk: so the server's own fsync never waits for a whole copy to be written.
CHUNK = 4 << 20
# Where the server keeps what it appends to; one before 7.0 has a single file instead.
APPENDED, MANIFEST, SINGLE = "appendonlydir", "appendonly.aof.manifest", "appendonly.aof"
# Of the manifest's types of files: one that a rewrite has replaced, and that goes at any time.
_REPLACED = "h"
# A rewrite that ends between two looks is rare; two in a row do not happen.
ATTEMPTS = 5
# What else a data folder holds that another run goes on with.
OTHERS = ("exchange", settings_file.NAME)
_LOCK = "backup.lock"


@dataclass(frozen=True, slots=True)
class Backup:
    folder: Path
    size_bytes: int
    took_s: float


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file of the store: where it is to lie in the copy, and as much of it as there was at one moment."""

    place: str
    fd: int
    size: int


def back_up(data_dir: Path, target: Path, tell: Callable[[int, int], None] = lambda done, size: None) -> Backup:
    """Copy the store of a data folder to a folder that is not there yet. `tell`: bytes copied, bytes in all.

    Raises BadInput where there is nothing to copy or something in the way, OperatorError where the disk refuses.
    """
    source = data_dir.resolve() / "store"
    if not source.is_dir():
        raise BadInput(f"{data_dir} has no store to copy, expected a data folder that infra/up has made")
    if target.exists():
        raise BadInput(f"{target} is there already, expected a folder that is to be made")
    if target.resolve().is_relative_to(source):
        raise BadInput(f"{target} is inside the store that is to be copied, expected a folder outside of it")
    started_s = time.monotonic()
    with private.told(target.parent), _draft(target) as draft, _opened(source) as files:
        size = sum(each.size for each in files)
        done = 0
        for each in files:
            for count in _copied(each, draft / "store" / each.place):
                done += count
                tell(done, size)
        _copy_others(data_dir, draft)
        (draft / _LOCK).unlink()
        _on_disk(draft / "store")
        draft.rename(target)
        _on_disk(target.parent)
    return Backup(target, size, time.monotonic() - started_s)


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """An empty folder beside the target, ours for as long as the block; gone after it unless it was renamed."""
    draft = target.with_name(f"{target.name}.part")
    private.make(draft)
    lock = os.open(draft / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, private.FILE_MODE)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OperatorError(f"another backup writes {draft}") from None
        # Of one that was killed.
        for left in draft.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
            elif left.name != _LOCK:
                left.unlink()
        try:
            yield draft
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    finally:
        os.close(lock)


@contextmanager
def _opened(store: Path) -> Iterator[list[_Opened]]:
    """Open the files of one moment."""
    for _ in range(ATTEMPTS):
        with ExitStack() as stack:
            named = _named(store)
            try:
                files = [_open(store, place, stack) for place in named]
            except FileNotFoundError:
                continue
            if _named(store) == named:
                yield files
                return
    raise OperatorError(f"the files of {store} changed {ATTEMPTS} times while they were opened: try again")


def _named(store: Path) -> list[str]:
    """The files that are the store now; the manifest last, so that no copy seems whole that is not."""
    manifest = store / APPENDED / MANIFEST
    if not manifest.exists():
        if not (store / SINGLE).exists():
            raise BadInput(f"{store} has no {APPENDED}: a store that keeps nothing on disk can't be copied")
        return [SINGLE]
    found = []
    for line in manifest.read_text().splitlines():
        words = line.split()
        about = dict(zip(words[::2], words[1::2], strict=False))
        if about.get("type") != _REPLACED and "file" in about:
            found.append(f"{APPENDED}/{about['file']}")
    return [*found, f"{APPENDED}/{MANIFEST}"]


def _open(store: Path, place: str, stack: ExitStack) -> _Opened:
    fd = os.open(store / place, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return _Opened(place, fd, os.fstat(fd).st_size)


def _copied(source: _Opened, path: Path) -> Iterator[int]:
    """Copy as much as there was, and yield the bytes of each piece once it is on disk."""
    path.parent.mkdir(mode=private.FOLDER_MODE, parents=True, exist_ok=True)
    with open(path, "xb", opener=private.opener) as copy:
        for at in range(0, source.size, CHUNK):
            piece = os.pread(source.fd, min(CHUNK, source.size - at), at)
            copy.write(piece)
            copy.flush()
            os.fdatasync(copy.fileno())
            yield len(piece)


def _copy_others(data_dir: Path, draft: Path) -> None:
    for name in OTHERS:
        place = data_dir / name
        files = [each for each in place.rglob("*") if each.is_file()] if place.is_dir() else [place]
        for each in files:
            copy = draft / each.relative_to(data_dir)
            copy.parent.mkdir(mode=private.FOLDER_MODE, parents=True, exist_ok=True)
            # The local exchange has just put another in its place.
            with suppress(FileNotFoundError):
                shutil.copyfile(each, copy, follow_symlinks=False)
                copy.chmod(private.FILE_MODE)


def _on_disk(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
