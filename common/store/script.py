"""A Lua script as a function: keys and arguments by name, checked when called."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

_FOLDER = Path(__file__).with_name("scripts")

Argument = str | bytes | int


class Script:
    """`scripts/<name>.lua`. Its first lines list KEYS, ARGV, results and the data model.

    A line `-- with <other>.lua` stands for the text of that file: what several scripts do alike.
    Sent by its digest; a store that has lost its script cache (restart, failover) gets the text again.
    """

    def __init__(self, client: Redis, name: str) -> None:
        self._script = client.register_script(text_of(name))

    @property
    def digest(self) -> str:
        return str(self._script.sha)

    async def __call__(self, keys: Sequence[str], *arguments: Argument) -> list[Any]:
        result: list[Any] = await self._script(keys=keys, args=arguments)
        return result


def text_of(name: str) -> str:
    """Return the text of `scripts/<name>.lua`, with those of the others that it names."""
    return _text(_FOLDER, name)


@cache
def _text(folder: Path, name: str) -> str:
    """Read once: a worker has four scripts for each symbol."""
    text = (folder / f"{name}.lua").read_text("utf-8")
    return re.sub(r"^-- with (\w+)\.lua$", lambda found: _text(folder, found[1]), text, flags=re.MULTILINE)
