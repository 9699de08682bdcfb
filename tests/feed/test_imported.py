"""Bulk imports under a live feed: whoever listens, and whoever comes back, ends up with what history shows."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.feed.folding import Folding
from tests.feed.served import Served
from tests.support import wait_until_async
from tests.workers.test_imports import INSTRUMENT, imported, replayed, rows, written

pytestmark = pytest.mark.anyio

TIMEFRAMES = ("1m", "1h", "1d", "1s")


async def test_streams_and_history_agree_after_each_import(feed: Served, redis_url: str, tmp_path: Path) -> None:
    lines = rows(3_000)
    parts = [written(tmp_path / f"{at}.csv", lines[at : at + 750]) for at in (750, 1_500, 0, 2_250)]
    await imported(redis_url, parts[:1])
    staying = [Folding(feed, INSTRUMENT.symbol, timeframe, 5_000) for timeframe in TIMEFRAMES]
    away = [Folding(feed, INSTRUMENT.symbol, timeframe, 5_000) for timeframe in TIMEFRAMES]
    for one in staying:
        one.join()
    for one in away:
        one.history(await history(feed, one.timeframe))
    # Newer days, older ones, and then trades one by one.
    await agree(feed, staying)
    await imported(redis_url, parts[1:2])
    await agree(feed, staying)
    await imported(redis_url, parts[2:3])
    await agree(feed, staying)
    await replayed(redis_url, parts[3])
    for one in away:
        one.join()
    await agree(feed, [*staying, *away])
    assert len(staying[0].bars) == len({int(line.split(",")[0]) // 60_000 for line in lines})
    for one in (*staying, *away):
        await one.leave()


async def history(feed: Served, timeframe: str) -> dict[str, Any]:
    return await feed.json(f"/v1/candles/{INSTRUMENT.symbol}", timeframe=timeframe, limit=5_000)


async def agree(feed: Served, clients: list[Folding]) -> None:
    for one in clients:
        bars = {bar["t"]: bar for bar in (await history(feed, one.timeframe))["bars"]}
        with suppress(AssertionError):
            await wait_until_async(lambda one=one, bars=bars: not one.differences(bars))  # type: ignore[misc]
        assert not one.differences(bars), (one.timeframe, one.heard[-20:])
