"""Clients that ask for much, again and again, in a process of their own, and throw the answers away.

`python -m infra.bench.heavy_client PORT CLIENTS`: asks from a first line on until the next one, then prints how many
answers there were by their status, and their bytes, as JSON.
"""

import asyncio
import random
import sys
from collections import Counter

import orjson
import uvloop

from common.market.timeframes.timeframe import DAY_MS
from infra.bench.heavy import DAYS, HEAVY, START_MS

# Of minutes, of a million levels, of all there are in rows of a dollar, and the bars of each minute.
QUERIES = (
    "/v1/footprint/{symbol}?limit=30000&end={end}",
    "/v1/footprint/{symbol}?timeframe=1h&limit=500&end={end}",
    "/v1/footprint/{symbol}?timeframe=1d&row=1&limit=30&end={end}",
    "/v1/candles/{symbol}?limit=50000&end={end}",
    "/v1/candles/{symbol}?timeframe=7m&limit=50000&format=csv&end={end}",
)


async def _serve(port: int, count: int) -> None:
    while await asyncio.to_thread(sys.stdin.readline):
        found: Counter[str] = Counter()
        asking = [asyncio.create_task(_ask(port, random.Random(number), found)) for number in range(count)]
        await asyncio.to_thread(sys.stdin.readline)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        print(orjson.dumps(found).decode(), flush=True)


async def _ask(port: int, rng: random.Random, found: Counter[str]) -> None:
    while True:
        # Each ends elsewhere: no answer is another's.
        end_ms = START_MS + DAYS * DAY_MS - rng.randrange(DAY_MS)
        path = rng.choice(QUERIES).format(symbol=HEAVY.symbol, end=end_ms)
        status, size = await get(port, path)
        found[status] += 1
        found["bytes"] += size
        if status == "429":
            # As long as such an answer says.
            await asyncio.sleep(1)


async def get(port: int, path: str) -> tuple[str, int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        status, size = (await reader.readline()).split()[1].decode(), 0
        while data := await reader.read(1 << 18):
            size += len(data)
        return status, size
    finally:
        writer.close()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
