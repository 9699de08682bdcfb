"""The Procfile: which kinds of process there are, and the command of each."""

import re
from pathlib import Path

from common.errors import OperatorError

_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")


def read(path: Path) -> dict[str, str]:
    """Return kind -> command, in the file's order."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise OperatorError(f"{path} can't be read: {error.strerror}") from None
    commands: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.rstrip())
        if not match:
            raise OperatorError(f"{path} line {number} is {line!r}, expected 'name: command'")
        commands[match[1]] = match[2]
    return commands
