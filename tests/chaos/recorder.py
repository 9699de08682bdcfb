"""A client of the stream that outlives feeds: it goes from one to the other, with its cursors, and keeps all bars."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.kit.folding import Fold
from tests.kit.served import say

# A feed that is stopped is given up after two of these.
PING_S = 1.0
OPEN_S = 3.0
# After so long it goes to another feed by itself.
STAYS_S = (1.0, 8.0)
LIMIT = 10_000


class AskAgain(Exception):
    """A request was refused because the store is away."""


@dataclass(slots=True)
class Recorder:
    """`series`: pairs of symbol and timeframe. `ports`: of the feeds. `happened` counts what connections met."""

    series: Sequence[tuple[str, str]]
    ports: Sequence[int]
    random: Random
    folds: dict[tuple[str, str], Fold] = field(init=False)
    happened: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.folds = {one: Fold(*one, LIMIT) for one in self.series}

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._connection(self.random.choice(self.ports))
            except (WebSocketException, OSError, EOFError, AskAgain) as end:
                self.happened[type(end).__name__] += 1
            await asyncio.sleep(self.random.uniform(0.02, 0.2))

    def heard(self, kind: str) -> int:
        return sum(fold.heard.count(kind) for fold in self.folds.values())

    async def _connection(self, port: int) -> None:
        pings = {"ping_interval": PING_S, "ping_timeout": PING_S}
        url = f"ws://127.0.0.1:{port}/v1/stream"
        async with connect(url, max_size=None, open_timeout=OPEN_S, close_timeout=0.2, **pings) as socket:  # type: ignore[arg-type]
            await self._subscribe(socket)
            async with asyncio.timeout(self.random.uniform(*STAYS_S)):
                async for text in socket:
                    self._hear(orjson.loads(text))

    async def _subscribe(self, socket: ClientConnection) -> None:
        self.happened["connected"] += 1
        for fold in self.folds.values():
            await say(socket, **fold.request())

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "error" and message["code"] == "store_unavailable":
            self.happened["store unavailable"] += 1
            if "symbol" not in message:
                raise AskAgain
            # A subscription that runs goes on by itself.
            return
        assert message["type"] != "error", message
        self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        self.folds[message["symbol"], message["timeframe"]].hear(message)


@dataclass(slots=True)
class Deaf(Recorder):
    """The negative control: of each series it does not hear that the first bar after a snapshot closes."""

    missed: dict[tuple[str, str], int] = field(default_factory=dict)

    def _take(self, message: dict[str, Any]) -> None:
        one = message["symbol"], message["timeframe"]
        if message["type"] == "snapshot":
            self.missed.pop(one, None)
        if "bar" in message and self._misses(one, message["bar"]):
            self.folds[one].cursor = message["cursor"]
        else:
            Recorder._take(self, message)

    def _misses(self, one: tuple[str, str], bar: dict[str, Any]) -> bool:
        held = self.folds[one].bars.get(bar["t"])
        if bar["isFinal"] and not (held and held["isFinal"]):
            self.missed.setdefault(one, bar["t"])
        return bool(self.missed.get(one) == bar["t"])
