"""Folders and files that are for their owner alone, whatever the umask, also where an earlier release made them."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import OperatorError

FOLDER_MODE, FILE_MODE = 0o700, 0o600
UMASK = 0o077


def make(folder: Path) -> None:
    """Make the folder, or narrow the one that is there. OperatorError where it is another user's, or a link."""
    with told(folder):
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        # lstat: in /tmp another user may have put a link where we expect our folder.
        found = folder.lstat()
        if found.st_uid != os.getuid() or stat.S_ISLNK(found.st_mode):
            raise OperatorError(f"{folder} belongs to user {found.st_uid}, expected a folder of user {os.getuid()}")
        folder.chmod(FOLDER_MODE)


def mend(folder: Path) -> None:
    """Narrow the folder and all that is in it. Links are neither followed nor changed."""
    make(folder)
    with told(folder):
        narrow(folder.rglob("*"))


def adopt(folder: Path, is_ours: Callable[[str], bool]) -> list[Path]:
    """Make a folder that a user named, or narrow the one that is there if it holds nothing but entries of ours.

    A user may name /tmp, and then it stays as it is. Return the entries that are ours. Raises OSError.
    """
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    entries = list(folder.iterdir())
    ours = [path for path in entries if is_ours(path.name)]
    if len(ours) == len(entries) and folder.stat().st_uid == os.getuid():
        folder.chmod(FOLDER_MODE)
    return ours


def narrow(paths: Iterable[Path]) -> None:
    """Narrow files and folders, but no links. Raises OSError."""
    for path in paths:
        with suppress(FileNotFoundError):  # a server at work has just replaced it
            _narrow(path)


def opener(path: str, flags: int) -> int:
    """For `open`: a file that it makes is ours alone."""
    return os.open(path, flags, FILE_MODE)


def _narrow(path: Path) -> None:
    mode = path.lstat().st_mode
    wanted = FOLDER_MODE if stat.S_ISDIR(mode) else FILE_MODE
    if not stat.S_ISLNK(mode) and stat.S_IMODE(mode) != wanted:
        path.chmod(wanted)


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Tell the operator of what the disk refuses."""
    try:
        yield
    except OSError as error:
        raise OperatorError(f"{folder} can't be used as a folder for data: {error.strerror}") from None
