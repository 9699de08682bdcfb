"""Many requests at once: each waits for its turn, and none of them is told that the store is away."""

import asyncio
import os

from common.market.timeframes.timeframe import MINUTE_MS
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, START_MS, Writer

# BURST=2000 for the promised number. Of these 150 at once were 50 too many.
BURST = int(os.environ.get("BURST", "300"))
MAX_S = 20.0


async def test_a_burst_of_different_requests_is_answered_in_time_and_never_by_503(feed: Served, writer: Writer) -> None:
    for _ in range(50):
        await writer.commit(writer.trade())
        writer.now_ms += MINUTE_MS
    paths = [
        f"/v1/candles/{INSTRUMENT.symbol}?limit={1 + number % 40}&end={START_MS + (1 + number) * 1_000}"
        for number in range(BURST)
    ]
    assert len(set(paths)) == BURST
    async with asyncio.timeout(MAX_S):
        statuses = await asyncio.gather(*(_status(feed.port, path) for path in paths))
    assert set(statuses) == {200}


async def _status(port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        return int((await reader.read()).split(b" ", 2)[1])
    finally:
        writer.close()
