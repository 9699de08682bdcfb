"""A client that folds what it hears into bars, as every client of the protocol does."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.kit.bars_oracle import Bars
from tests.kit.served import Served, say
from tests.kit.waiting import wait_until_async


@dataclass(slots=True)
class Fold:
    """What was heard of one series: `bars` as of `cursor`, complete from `from_ms` on."""

    symbol: str
    timeframe: str
    limit: int
    cursor: str | None = None
    from_ms: int = 1 << 60
    bars: Bars = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    # The commit the last resumption led to: what came before it may be told once more.
    resumed_seq: int = 0

    def request(self) -> dict[str, Any]:
        """What to subscribe with: with what was heard before, to go on from its cursor."""
        cursor = {"cursor": self.cursor} if self.cursor else {}
        series = {"symbol": self.symbol, "timeframe": self.timeframe, "limit": self.limit}
        return {"action": "subscribe", **series, **cursor}

    def differences(self, expected: Bars) -> Bars:
        """Bars that are not as expected, as they are here: none if all is well."""
        opens = {open_ms for open_ms in expected if open_ms >= self.from_ms} | set(self.bars)
        return {at: self.bars.get(at, {}) for at in sorted(opens) if self.bars.get(at) != expected.get(at)}

    def history(self, answer: dict[str, Any]) -> None:
        """Begin with an answer of `GET /v1/candles`."""
        self._replace(answer)

    def hear(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        self.heard.append(kind)
        match kind:
            case "snapshot":
                # A first one, or one that says `reset`: never besides what is held.
                assert self.cursor is None or message["reset"], message
                self._replace(message)
            case "candle" | "amend":
                self._take(message["bar"], told_again=kind == "amend" or message["seq"] <= self.resumed_seq)
            case "resumed":
                self.resumed_seq = message["seq"]
            case "error":
                raise AssertionError(message)
        self.cursor = message["cursor"]

    def _take(self, bar: dict[str, Any], *, told_again: bool) -> None:
        held = self.bars.get(bar["t"])
        # What was final changes only by an amendment.
        assert told_again or held is None or not held["isFinal"], (held, bar)
        self.bars[bar["t"]] = bar

    def _replace(self, message: dict[str, Any]) -> None:
        self.bars = {bar["t"]: bar for bar in message["bars"]}
        self.from_ms = min(self.bars, default=0)
        self.cursor = message["cursor"]


class Folding(Fold):
    """A client of one feed that listens to one series."""

    def __init__(self, feed: Served, symbol: str, timeframe: str, limit: int) -> None:
        super().__init__(symbol, timeframe, limit)
        self.feed = feed
        self._task: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()

    def join(self) -> None:
        """Connect; with what was heard before, go on from its cursor."""
        self._connected.clear()
        self._task = asyncio.create_task(self._run())

    @property
    def joined(self) -> bool:
        return self._task is not None

    async def leave(self) -> None:
        """Once it is connected: a handshake that is cancelled leaves its socket to whatever runs when that is found."""
        assert self._task
        connecting = asyncio.create_task(self._connected.wait())
        await asyncio.wait({self._task, connecting}, return_when=asyncio.FIRST_COMPLETED)
        connecting.cancel()
        self._task.cancel()
        with suppress(asyncio.CancelledError, ConnectionClosed):
            await self._task
        self._task = None

    async def come_or_go(self) -> None:
        """Leave, or come back with the cursor of the last message."""
        await self.leave() if self.joined else self.join()

    async def check(self, expected: Bars) -> None:
        """It ends up with exactly that."""
        with suppress(AssertionError):
            await wait_until_async(lambda: not self.differences(expected))
        wrong = self.differences(expected)
        assert not wrong, (self.request(), self.heard[-20:], wrong, {at: expected.get(at) for at in wrong})

    def differences(self, expected: Bars) -> Bars:
        if self._task and self._task.done():
            self._task.result()
        return super().differences(expected)

    def hear_frame(self, frame: bytes) -> None:
        """A binary message, of the text message just before it."""
        raise AssertionError(self.heard[-5:])

    async def _run(self) -> None:
        connection: ClientConnection | None = None
        try:
            async with self.feed.connect() as connection:
                self._connected.set()
                await say(connection, **self.request())
                async for message in connection:
                    if isinstance(message, bytes):
                        self.hear_frame(message)
                    else:
                        self.hear(orjson.loads(message))
        finally:
            # Who is cancelled while the connection is being closed would leave its socket behind.
            if connection:
                connection.transport.abort()


async def all_leave(clients: Iterable[Folding]) -> None:
    for one in clients:
        if one.joined:
            await one.leave()
