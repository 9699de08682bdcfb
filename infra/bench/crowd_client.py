"""WebSocket clients in a process of their own, which parse nothing while they listen.

`python -m infra.bench.crowd_client PORT CLIENTS SYMBOL...`: connects, subscribes each client to the minutes of one
symbol, and says `ready`. Then, for each line with a number of seconds, listens so long and prints the delay (ms) of
every candle as JSON. A candle's close is the time at which its trade was pushed, by the clock that all processes share.
"""

import asyncio
import gc
import re
import sys
import time
from dataclasses import dataclass, field
from typing import cast

import orjson
import uvloop

_HANDSHAKE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_CLOSE = re.compile(rb'"type":"candle"[^}]*?"c":([0-9.]+)')
# Connections that are being opened at once.
AT_ONCE = 50


@dataclass(eq=False)
class CrowdListener(asyncio.Protocol):
    """Keeps what it is sent, and when that came."""

    symbol: str
    heard: list[tuple[float, bytes]] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    is_lost: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is none by its class.
        cast(asyncio.Transport, transport).write(
            _HANDSHAKE + _frame({"action": "subscribe", "symbol": self.symbol, "timeframe": "1m"})
        )

    def data_received(self, data: bytes) -> None:
        self.heard.append((time.monotonic(), data))
        if b'"snapshot"' in data:
            self.begun.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


def _frame(message: dict[str, str]) -> bytes:
    """A short text frame under a mask of zeros."""
    body = orjson.dumps(message)
    return bytes((0x81, 0x80 | len(body), 0, 0, 0, 0)) + body


async def _serve(port: int, count: int, symbols: list[str]) -> None:
    listeners = [CrowdListener(symbols[number % len(symbols)]) for number in range(count)]
    loop, room = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)

    async def connect(listener: CrowdListener) -> None:
        async with room:
            await loop.create_connection(lambda: listener, "127.0.0.1", port)
            await listener.begun.wait()

    await asyncio.gather(*map(connect, listeners))
    gc.freeze()
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        await _listen(listeners, float(line))
        delays = [delay for listener in listeners for delay in _delays_ms(listener)]
        print(orjson.dumps(delays).decode(), flush=True)


async def _listen(listeners: list[CrowdListener], seconds: float) -> None:
    for listener in listeners:
        listener.heard.clear()
    gc.disable()
    await asyncio.sleep(seconds)
    gc.enable()
    assert not any(listener.is_lost for listener in listeners), "a client was cut off"


def _delays_ms(listener: CrowdListener) -> list[float]:
    """Looked at when all is over. A message that came in two pieces is left out."""
    return [1e3 * (at_s - float(close)) for at_s, data in listener.heard for close in _CLOSE.findall(data)]


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
