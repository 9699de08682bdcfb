"""Bulk imports under a live feed: whoever listens, and whoever comes back, ends up with what history shows."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.kit.folding import Folding
from tests.kit.imports import INSTRUMENT, imported, replayed, rows, trades_of, written
from tests.kit.served import Served, served
from tests.kit.waiting import wait_until_async

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


async def test_imported_trades_are_all_there_with_an_archive(redis_url: str, tmp_path: Path) -> None:
    """Older ones after newer ones, then trades one by one: time and sales, and bars of seconds, have them all."""
    lines, folder = rows(3_000), tmp_path / "archive"
    parts = [written(tmp_path / f"{at}.csv", lines[at : at + 750]) for at in (750, 0, 1_500, 2_250)]
    async with served(redis_url, archive_url=str(folder)) as feed:
        await imported(redis_url, parts[:1], archive=folder)
        listener = Folding(feed, INSTRUMENT.symbol, "1s", 5_000)
        listener.join()
        await agree(feed, [listener])
        for count in (2, 3, 4):
            if count < 4:
                await imported(redis_url, [parts[count - 1]], archive=folder)
            else:
                await replayed(redis_url, parts[3], archive=folder)
            trades = await feed.json(f"/v1/trades/{INSTRUMENT.symbol}", limit=10_000)
            assert [one["id"] for one in trades["trades"]] == ids(parts[:count]) and trades["complete"]
            bars = (await history(feed, "1s"))["bars"]
            # The first begins before coverage does.
            assert sum(bar["n"] for bar in bars) == 750 * count and not any("partial" in bar for bar in bars[1:])
            await agree(feed, [listener])
        await listener.leave()


def ids(paths: list[Path]) -> list[int]:
    """By time and id."""
    frame = trades_of(*paths)
    return frame["id"].to_list()


async def history(feed: Served, timeframe: str) -> dict[str, Any]:
    return await feed.json(f"/v1/candles/{INSTRUMENT.symbol}", timeframe=timeframe, limit=5_000)


async def agree(feed: Served, clients: list[Folding]) -> None:
    for one in clients:
        bars = {bar["t"]: bar for bar in (await history(feed, one.timeframe))["bars"]}
        with suppress(AssertionError):
            await wait_until_async(lambda one=one, bars=bars: not one.differences(bars))  # type: ignore[misc]
        assert not one.differences(bars), (one.timeframe, one.heard[-20:])
