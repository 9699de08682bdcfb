"""The settings of a data folder: `fleet.env` in it, lines of NAME=value, its owner's alone.

What it says is taken into the environment of this process, and so of all that it starts, unless the environment says
something itself. So `infra/up` and each `fleet` command in whatever terminal mean the same fleet.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from common.errors import OperatorError
from common.settings import PORT, PREFIX, REDIS_URL, variable
from infra import private

NAME = "fleet.env"
# What the archive's bucket needs.
CLOUD = "AWS_"


def take_in(path: Path, *, must_be_there: bool = False) -> bool:
    """Take the settings of a file in; whether there is one. Raises OperatorError, with the line that is wrong."""
    if not must_be_there and not path.exists():
        return False
    try:
        _keep_private(path)
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{path} can't be read: {error}") from None
    for name, value in _settings(path, text):
        os.environ.setdefault(name, value)
    return True


def _settings(path: Path, text: str) -> Iterator[tuple[str, str]]:
    # Here: few have such a file, and every command would pay for it.
    from io import StringIO

    from dotenv.parser import parse_stream

    for line in parse_stream(StringIO(text)):
        where = f"{path} line {line.original.line}"
        if line.error or (line.key and line.value is None):
            raise OperatorError(f"{where} is {line.original.string.strip()!r}, expected NAME=value")
        if line.key and line.value is not None:
            if line.key == variable("data_dir"):
                raise OperatorError(f"{where} sets {line.key}: the file lies in the data folder, --data names another")
            if not line.key.startswith((PREFIX, CLOUD)) and line.key not in (REDIS_URL, PORT):
                raise OperatorError(f"{where} sets {line.key}, expected a setting: fleet settings lists them")
            yield line.key, line.value


def _keep_private(path: Path) -> None:
    """It may hold passwords: what others may read of it is taken from them."""
    found = path.stat()
    if found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) & private.UMASK:
        path.chmod(private.FILE_MODE)
