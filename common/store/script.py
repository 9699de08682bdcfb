"""A Lua script as a function: keys and arguments by name, checked when called."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

_FOLDER = Path(__file__).with_name("scripts")

Argument = str | bytes | int


class Script:
    """`scripts/<name>.lua`. Its first lines list KEYS, ARGV, results and the data model.

    Sent by its digest; a store that has lost its script cache (restart, failover) gets the text again.
    """

    def __init__(self, client: Redis, name: str) -> None:
        self._script = client.register_script((_FOLDER / f"{name}.lua").read_text("utf-8"))

    async def __call__(self, keys: Sequence[str], *arguments: Argument) -> list[Any]:
        result: list[Any] = await self._script(keys=keys, args=arguments)
        return result
