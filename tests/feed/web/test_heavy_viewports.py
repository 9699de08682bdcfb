"""Fifty viewports of a busy market at once, asked of a real feed: what memory they take, and what is refused."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS
from infra.bench.heavy import HEAVY, START_MS, fill
from tests.kit.processes.feed import Running, running_feed

pytestmark = pytest.mark.process

QUERIES = 50
# The least there may be.
MEMORY_MB = 384
DAYS, TRADES = 1, 128_000
END_MS = START_MS + DAYS * DAY_MS


async def test_fifty_viewports_at_once_take_no_more_memory_than_may_be(
    redis_url: str, client: Redis, tmp_path: Path
) -> None:
    await fill(client, days=DAYS, a_day=TRADES)
    async with running_feed(redis_url, tmp_path, memory_mb=MEMORY_MB) as feed:
        found = await asyncio.gather(*(_ask(feed, number) for number in range(QUERIES)))
        refused, shown = found[::2], found[1::2]
        assert {status for status, _ in refused} == {400}
        assert all(b"expected at most 8192: 30s would fit, or auto" in content for _, content in refused)
        # Some of those that read all of it may be told to come back.
        assert 200 in {status for status, _ in shown} and {status for status, _ in shown} <= {200, 429}
        assert all(b'"rows":[{' in content for status, content in shown if status == 200)
        peak_mb = feed.memory_kb("VmHWM") >> 10
        print(f"{QUERIES} at once: {peak_mb} MB")
        assert peak_mb <= MEMORY_MB
        assert "Traceback" not in feed.log


async def _ask(feed: Running, number: int) -> tuple[int, bytes]:
    """Every other one asks for 50 ms of all the time: 100 million cells. Each ends elsewhere, so none is another's."""
    timeframe = "auto" if number % 2 else "50ms"
    edges = f"timeStart={START_MS}&timeEnd={END_MS - number * MINUTE_MS}&timeframe={timeframe}"
    path = f"/v1/viewport/{HEAVY.symbol}?{edges}&heatmap=depth&profile=1"
    answer = await feed.get(path, timeout_s=300.0)
    return answer.status_code, answer.content
