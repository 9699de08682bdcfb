"""An archive in a folder of this machine.

A writer fills a file below `tmp/`, which it keeps locked, and renames it into its place: a killed one leaves a file
there that is not locked, and the next one removes it. So `tmp/` and the series must be on one file system.
Between the look at what is to be replaced and the renaming it holds a lock on the object's folder, which readers don't
ask for, and which a killed one lets go.
"""

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO

from common.archive.objects import Listed, StoredObject
from common.errors import ArchiveDamaged, ArchiveUnavailable, Superseded

_TMP = "tmp"


class Folder:
    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def where(self, path: str) -> str:
        return str(self._root / path)

    def read(self, path: str) -> StoredObject | None:
        with self._told(path):
            try:
                kind = _kind(os.lstat(self._root / path).st_mode)
                if kind:
                    raise ArchiveDamaged(self.where(path), f"is {kind}, expected a file")
                return StoredObject(_content(self._root / path))
            except FileNotFoundError:
                return None

    def listed(self, folder: str) -> dict[str, Listed]:
        with self._told(folder):
            try:
                with os.scandir(self._root / folder) as entries:
                    found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
            except FileNotFoundError:
                return {}
        return {name: Listed(status.st_size, _kind(status.st_mode)) for name, status in found}

    def check_there(self, folder: str) -> None:
        if not (self._root / folder).is_dir():
            raise ArchiveUnavailable(f"archive {self.where(folder)}: this folder is not there")

    def replace(self, path: str, data: bytes, check: Callable[[bytes], object], replacing: str | None) -> None:
        target = self._root / path
        with self._told(path):
            self._make(target.parent)
            self._make(self._root / _TMP)
            self._remove_leftovers()
            with self._draft() as (file, draft):
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                check(draft.read_bytes())
                with _opened(target.parent) as folder:
                    fcntl.flock(folder, fcntl.LOCK_EX)
                    found = self.read(path)
                    if (found.tag if found else None) != replacing:
                        raise Superseded(f"archive {self.where(path)} is not the object any more that was read")
                    draft.replace(target)
                    # A name in a folder survives a power cut only once the folder itself is on disk.
                    os.fsync(folder)

    @contextmanager
    def _draft(self) -> Iterator[tuple[IO[bytes], Path]]:
        """A new locked file, gone at the end unless it has been renamed."""
        draft = self._root / _TMP / token_hex(8)
        with self._locked(draft) as file:
            try:
                yield file, draft
            finally:
                with suppress(FileNotFoundError):
                    draft.unlink()

    def _locked(self, draft: Path) -> IO[bytes]:
        while True:
            file = draft.open("xb")
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                return file
            # Another writer took it for a leftover, between these two lines.
            file.close()

    def _remove_leftovers(self) -> None:
        for draft in (self._root / _TMP).iterdir():
            # Locked: its writer lives. Gone: it has just been renamed, or removed by another.
            with suppress(BlockingIOError, FileNotFoundError), draft.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                draft.unlink()

    def _make(self, folder: Path) -> None:
        """Make a folder and those above it, each of them there for good."""
        if not folder.is_dir():
            self._make(folder.parent)
            folder.mkdir(exist_ok=True)
            with _opened(folder.parent) as parent:
                os.fsync(parent)

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ArchiveUnavailable(f"archive {self.where(path)}: {error.strerror or error}") from error


# What may be found in the place of a file, which must not be opened: a pipe would wait for its writer.
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _kind(mode: int) -> str:
    """'' for a file."""
    return _KINDS.get(stat.S_IFMT(mode), "")


def _content(path: Path) -> bytes:
    """It may have become something else since it was looked at: then it is refused, or nothing is waited for."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return file.read()


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Its descriptor; what is locked through it is let go at the end."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
