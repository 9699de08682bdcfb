"""Imported trades in the archive: all of them, whatever was there before and whatever kills the import."""

import asyncio
import os
import random
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from common.archive.archive import Archive
from common.market.candle import IMPORT
from common.store.client import commit_client
from common.store.keys import SymbolKeys
from common.store.registry import Market
from common.store.upkeep import Upkeep, upkeep_of
from infra.paths import ROOT
from tests.kit.imports import (
    FIRST_MS,
    INSTRUMENT,
    archived_trades,
    command,
    emptied,
    imported,
    importer,
    replayed,
    rows,
    sealed_count,
    trades_of,
    written,
)
from tests.kit.replays import replayer
from tests.kit.waiting import wait_until
from workers.imports.candles import CandleFile
from workers.recordings import TradeFile
from workers.replay import KIND
from workers.rollup.trades import archive_trades
from workers.sources.replay import Replay

pytestmark = pytest.mark.anyio

KEYS = SymbolKeys(INSTRUMENT.symbol)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


async def job(url: str, folder: Path) -> None:
    async with commit_client(url) as client:
        await archive_trades(client, Market(INSTRUMENT), Archive.open(str(folder)))


async def upkeep(url: str) -> Upkeep:
    async with commit_client(url) as client:
        return await upkeep_of(client, INSTRUMENT.symbol)


async def begins_ms(url: str) -> int:
    async with commit_client(url) as client:
        return int(await client.hget(KEYS.archive, "trades_from_ms") or 0)


def objects(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "trades").rglob("*.parquet"))}


async def test_an_import_archives_its_trades_in_any_order(redis_url: str, tmp_path: Path, folder: Path) -> None:
    lines = rows(3_000)
    parts = [written(tmp_path / f"{n}.csv", lines[n * 1_000 : n * 1_000 + 1_000]) for n in range(3)]
    for number in (1, 2, 0):
        await imported(redis_url, [parts[number]], archive=folder)
    assert archived_trades(folder).equals(trades_of(*parts))
    kept = await upkeep(redis_url)
    assert (await begins_ms(redis_url), kept.trades_waiting, kept.trades_lost) == (-1, 0, ())
    before = objects(folder)
    # Nothing is new: nothing waits, nothing is written.
    await imported(redis_url, parts, archive=folder)
    await job(redis_url, folder)
    assert objects(folder) == before


async def test_what_the_stream_has_is_archived_before_an_import_drops_it(
    redis_url: str, tmp_path: Path, folder: Path
) -> None:
    lines = rows(3_000)
    parts = [written(tmp_path / f"{n}.csv", lines[n * 1_000 : n * 1_000 + 1_000]) for n in range(3)]
    await replayed(redis_url, parts[1], archive=folder)
    await imported(redis_url, [parts[0]], archive=folder)
    assert archived_trades(folder).equals(trades_of(*parts[:2]))
    await replayed(redis_url, parts[2], archive=folder)
    assert (await upkeep(redis_url)).trades_waiting == 1_000
    await job(redis_url, folder)
    assert archived_trades(folder).equals(trades_of(*parts))
    kept = await upkeep(redis_url)
    assert (await begins_ms(redis_url), kept.trades_waiting, kept.trades_lost) == (-1, 0, ())


@pytest.mark.parametrize("by_itself", [True, False])
async def test_a_replay_waits_for_the_archive_where_the_queue_is_too_slow(
    redis_url: str, tmp_path: Path, folder: Path, by_itself: bool
) -> None:
    """Without that, what the stream can't hold is lost."""
    path, archive = written(tmp_path / "a.csv", rows(3_000)), Archive.open(str(folder))
    replay, market = Replay([TradeFile(path, INSTRUMENT)], IMPORT), Market(INSTRUMENT, {"kind": KIND})
    work = replayer(redis_url, market, replay, archive_url=str(folder), trades_kept=20, batch_trades=10)
    work.archive = (lambda client, market: archive_trades(client, market, archive)) if by_itself else None
    await work.run()
    await job(redis_url, folder)
    assert archived_trades(folder).equals(trades_of(path)) == by_itself
    assert bool((await upkeep(redis_url)).trades_lost) != by_itself


async def test_what_no_archive_had_is_told_once_history_is_imported_before_it(
    redis_url: str, tmp_path: Path, folder: Path
) -> None:
    """The archive begins with the import then, and lacks what was applied before there was one."""
    lines = rows(3_000)
    parts = [written(tmp_path / f"{n}.csv", lines[n * 1_000 : n * 1_000 + 1_000]) for n in range(3)]
    await replayed(redis_url, parts[1], trades_kept=100, batch_trades=10)
    await imported(redis_url, [parts[0]], archive=folder)
    (span,) = (await upkeep(redis_url)).trades_lost
    found = archived_trades(folder)
    missing = trades_of(*parts[:2]).join(found, on="id", how="anti")
    assert len(missing) == 900 and missing["ts_ms"].is_between(*span).all()
    assert not trades_of(parts[0])["ts_ms"].is_between(*span).any()
    # Up to the watermark of the oldest entry that was left, which had ten trades.
    assert (span[1], await begins_ms(redis_url)) == (found["ts_ms"][-91], -1)


async def test_an_import_without_the_archive_tells_what_that_misses(
    redis_url: str, tmp_path: Path, folder: Path
) -> None:
    lines = rows(3_000)
    parts = [written(tmp_path / f"{n}.csv", lines[n * 1_000 : n * 1_000 + 1_000]) for n in range(3)]
    await imported(redis_url, [parts[0]], archive=folder)
    await replayed(redis_url, parts[1], archive=folder)
    # In the stream, and in no archive.
    await imported(redis_url, [parts[2]])
    found, lost = archived_trades(folder), (await upkeep(redis_url)).trades_lost
    missing = trades_of(*parts).join(found, on="id", how="anti")
    assert len(missing) == 2_000
    assert all(any(first <= at <= last for first, last in lost) for at in missing["ts_ms"])
    assert not any(first <= at <= last for first, last in lost for at in found["ts_ms"])


async def test_a_symbol_whose_trades_were_never_archived_lacks_none(redis_url: str, tmp_path: Path) -> None:
    await imported(redis_url, [written(tmp_path / "a.csv", rows(100))])
    assert not (await upkeep(redis_url)).trades_lost


async def test_of_imported_candles_no_trades_are_expected(redis_url: str, tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "candles.csv"
    lines = [f"{FIRST_MS + 60_000 * at},2,2,1,1,5" for at in range(3)]
    path.write_text("\n".join(["open_ms,open,high,low,close,volume", *lines]), "utf-8")
    work = importer(redis_url, [], archive_url=str(folder))
    work.archive, work.files = Archive.open(str(folder)), [CandleFile(path, INSTRUMENT)]
    await work.run()
    assert (await upkeep(redis_url)).trades_lost == ((FIRST_MS, FIRST_MS + 179_999),)


@pytest.mark.process
def test_killed_at_any_moment_and_run_again_every_trade_is_archived_once(
    redis_url: str, tmp_path: Path, folder: Path
) -> None:
    """Once when a day has been archived that is not applied yet, and once when a day has been applied."""
    lines = rows(4_000, days=7)
    # A file a day, so that each day is written as soon as the next one is read.
    paths = [written(tmp_path / f"{start}.csv", lines[start : start + 600]) for start in range(0, 4_000, 600)]
    asyncio.run(imported(redis_url, paths, archive=tmp_path / "calm"))
    expected = objects(tmp_path / "calm")
    emptied(redis_url)
    environ = {**os.environ, "REDIS_URL": redis_url, "FLEET_LEASE_TTL_MS": "300", "FLEET_ARCHIVE_URL": str(folder)}
    kills, goals = 0, sorted(random.sample(range(1, 7), 2))
    for goal, count in zip(goals, (lambda: len(objects(folder)), lambda: sealed_count(redis_url)), strict=True):
        child = subprocess.Popen(command(*paths), cwd=ROOT, env=environ, stdout=subprocess.DEVNULL)
        wait_until(partial(ended_or_far, child, count, goal), timeout_s=30)
        kills += child.poll() is None
        child.kill()
        child.wait()
    assert kills, "the import was over before it could be killed"
    asyncio.run(imported(redis_url, paths, archive=folder, lease_ttl_ms=300))
    assert len(expected) == 8 and objects(folder) == expected
    assert archived_trades(folder).equals(trades_of(written(tmp_path / "whole.csv", lines)))


def ended_or_far(child: "subprocess.Popen[bytes]", count: Callable[[], int], goal: int) -> bool:
    return child.poll() is not None or count() >= goal
