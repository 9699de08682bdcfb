"""A plain subscriber of Redis: what it hears, in order, and what somebody who goes by it holds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from common.store.client import blocking_client
from common.store.subscriber import Subscriber


@dataclass(slots=True)
class Heard:
    """Messages of one channel, and the bars they lead to, by their opens."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    bars: dict[int, dict[str, Any]] = field(default_factory=dict)
    is_subscribed: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, channel: str, text: bytes) -> None:
        message = orjson.loads(text)
        self.messages.append(message)
        self.bars |= {bar["t"]: bar for bar in message["bars"]}

    @property
    def closed(self) -> list[int]:
        """Opens of bars in the order in which they were told to be closed, amendments left out."""
        told = (bar for message in self.messages if message["type"] == "candle" for bar in message["bars"])
        return [bar["t"] for bar in told if bar["isFinal"]]


@asynccontextmanager
async def subscribed(redis_url: str, *channels: str) -> AsyncIterator[Heard]:
    """Listen to the channels until the end of the block."""
    heard = Heard()
    async with blocking_client(redis_url) as client:
        subscriber = Subscriber(client, heard.take, lambda _: heard.is_subscribed.set())
        for channel in channels:
            subscriber.add(channel)
        running = asyncio.create_task(subscriber.run())
        try:
            await asyncio.wait_for(heard.is_subscribed.wait(), 10)
            yield heard
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def wrongs(heard: Heard, answered: list[dict[str, Any]]) -> list[str]:
    """What is wrong with what a subscriber heard, by what history says of the bars since."""
    found = [] if heard.closed == sorted(set(heard.closed)) else ["a closed bar was told twice, or out of order"]
    seqs = [message["seq"] for message in heard.messages]
    found += [] if seqs == sorted(seqs) else ["seq went back"]
    first = heard.messages[0]["bars"][0]["t"]
    expected = {bar["t"]: bar for bar in answered if bar["t"] >= first or bar["t"] in heard.bars}
    missing = sorted(expected.keys() - heard.bars.keys())
    other = [open_ms for open_ms, bar in expected.items() if _traded(heard.bars.get(open_ms, bar)) != _traded(bar)]
    found += [f"missing: {missing}"] if missing else []
    return found + ([f"otherwise than history has them: {other}"] if other else [])


def _traded(bar: dict[str, Any]) -> dict[str, Any]:
    """What a bar says of its trades: that a gap made it partial may go untold while nobody publishes."""
    return {name: value for name, value in bar.items() if name != "partial"}
