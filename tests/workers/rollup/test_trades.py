"""Every applied trade is in the archive exactly once, whatever is killed, and none leaves the stream in silence."""

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import TRADE_ROWS
from common.clock import JudgedClock
from common.errors import Fenced, Stale
from common.frames.schema import TRADES
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, day_of
from common.market.trade import Trade
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.jobs import Jobs
from common.store.keys import SymbolKeys
from common.store.registry import Market
from common.store.trade_archive import TradeArchive, Waiting, waiting
from common.store.upkeep import upkeep_of
from tests.kit.archive.s3 import BUCKET, S3
from tests.kit.clocks import FakeClock
from tests.kit.processes.rollup import START_S, process
from tests.kit.store.steps import step
from tests.kit.strategies import LAW
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, START_MS, Writer, random_step
from workers.clock.due import due_work, is_due
from workers.replay import ArchivingStore
from workers.rollup import trades as job
from workers.rollup.trades import archive_trades, united
from workers.rollup.work import ARCHIVE, Work

MARKET, KEYS = Market(INSTRUMENT), SymbolKeys(INSTRUMENT.symbol)
ALL = frozenset({"candles", "footprints", "trades"})
KEPT = 100


@pytest.fixture
def writer_options() -> dict[str, Any]:
    """Of its stream only what the archive has is dropped."""
    return {"archived": ALL, "trades_kept": KEPT}


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """In a folder. One test has one in a bucket, too."""
    return Archive.open(str(tmp_path))


def frame_of(trades: list[Trade]) -> pl.DataFrame:
    return pl.DataFrame(sorted(trades, key=lambda trade: trade[:2]), schema=TRADES, orient="row")


def applied(writer: Writer) -> pl.DataFrame:
    return frame_of([each.trade for each in writer.applied])


def archived(archive: Archive) -> pl.DataFrame:
    return archive.read(TRADE_ROWS, INSTRUMENT, 0, 1 << 42)


async def fields(client: Redis) -> dict[str, str]:
    found: Any = await client.hgetall(KEYS.archive)
    return {name.decode(): value.decode() for name, value in found.items()}


async def kept(client: Redis) -> int:
    return int(await client.hget(KEYS.state, "kept") or 0)


@pytest.mark.parametrize("kind", ["folder", "s3"])
async def test_what_was_applied_is_archived_once_however_it_came(
    client: Redis, writer: Writer, tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Late trades, repaired gaps, other workers; in batches of a few, and in pages of one."""
    rng = random.Random(1)
    archive = Archive.open(str(tmp_path)) if kind == "folder" else Archive.open(f"s3://{BUCKET}/fleet/a", s3.endpoint)
    for most, page in ((1_000_000, 256), (3, 1), (30, 2)):
        monkeypatch.setattr(job, "MAX_TRADES", most)
        monkeypatch.setattr(job, "PAGE", page)
        for _ in range(30):
            await random_step(writer, rng)
        await writer.claim()
        for _ in range(10):
            await random_step(writer, rng)
        await archive_trades(client, MARKET, archive)
        assert archived(archive).equals(applied(writer))
        found = await fields(client)
        assert (found["trades_seq"], found["trades_ms"]) == (str(writer.seq), str(writer.builder.watermark_ms))
        assert (found["trades_from_ms"], "trades_lost" in found) == ("-1", False)
        assert (await waiting(client, [INSTRUMENT.symbol]))[INSTRUMENT.symbol].count == 0
    assert len(archive.periods(TRADE_ROWS, INSTRUMENT.symbol)) > 1
    version = (await fields(client))["trades_version"]
    await archive_trades(client, MARKET, archive)
    assert (await fields(client))["trades_version"] == version


async def test_what_is_not_archived_stays_in_the_stream(client: Redis, writer: Writer, archive: Archive) -> None:
    """And what is, goes as it always did."""
    for _ in range(3 * KEPT):
        await writer.commit(writer.trade(writer.now_ms + 1_000))
    assert await kept(client) == 3 * KEPT
    await archive_trades(client, MARKET, archive)
    await writer.commit(writer.trade())
    # At most so many entries are dropped by one commit.
    assert await kept(client) == 3 * KEPT + 1 - 64
    for _ in range(4):
        await writer.commit(writer.trade())
    assert await kept(client) == KEPT
    await archive_trades(client, MARKET, archive)
    assert archived(archive).equals(applied(writer))
    assert "trades_lost" not in await fields(client)


async def test_what_has_to_be_dropped_unarchived_is_told(client: Redis, writer: Writer, archive: Archive) -> None:
    await writer.commit(writer.trade())
    await archive_trades(client, MARKET, archive)
    writer.trades_kept = 2
    first_ms = writer.now_ms + 1_000
    for second in range(25):
        late_ms = 3 * MINUTE_MS if second == 2 else 0
        await writer.commit(writer.trade(first_ms + 1_000 * second - late_ms))
    # Of 25 that wait ten times two are held. The third that was lost had come late.
    assert await kept(client) == 20
    upkeep = await upkeep_of(client, INSTRUMENT.symbol)
    assert upkeep.trades_lost == ((first_ms - 178_000, first_ms - 178_000), (first_ms, first_ms + 4_000))
    assert upkeep.trades_waiting == 25
    await archive_trades(client, MARKET, archive)
    (first,), last = writer.applied[:1], writer.applied[-20:]
    assert archived(archive).equals(frame_of([each.trade for each in (first, *last)]))
    upkeep = await upkeep_of(client, INSTRUMENT.symbol)
    assert (upkeep.trades_waiting, upkeep.trades_to_ms) == (0, writer.builder.watermark_ms)
    # Another failure, an hour later, and many that are near each other.
    for number in range(100):
        await writer.commit(writer.trade(first_ms + 60 * MINUTE_MS + 30_000 * number))
    assert (await upkeep_of(client, INSTRUMENT.symbol)).trades_lost[2:] == (
        (first_ms + 60 * MINUTE_MS, first_ms + 60 * MINUTE_MS + 30_000 * 79),
    )


async def test_the_spans_that_are_lost_are_bounded(client: Redis, writer: Writer, archive: Archive) -> None:
    await writer.commit(writer.trade())
    await archive_trades(client, MARKET, archive)
    writer.trades_kept, first_ms = 1, writer.now_ms
    for number in range(1, 101):
        await writer.commit(writer.trade(first_ms + number * 2 * MINUTE_MS))
    lost = (await upkeep_of(client, INSTRUMENT.symbol)).trades_lost
    # 90 were dropped: the oldest of them are one span.
    assert len(lost) == 64
    assert lost[0] == (first_ms + 2 * MINUTE_MS, first_ms + 27 * 2 * MINUTE_MS)
    assert lost[1:] == tuple((at, at) for at in range(lost[0][1] + 2 * MINUTE_MS, lost[-1][1] + 1, 2 * MINUTE_MS))


async def test_an_archive_that_is_taken_away_holds_nothing_back_and_what_it_misses_is_told(
    client: Redis, writer: Writer, archive: Archive
) -> None:
    await writer.commit(writer.trade())
    await archive_trades(client, MARKET, archive)
    writer.archived, writer.trades_kept, first_ms = frozenset(), 5, writer.now_ms + 1_000
    for second in range(10):
        await writer.commit(writer.trade(first_ms + 1_000 * second))
    assert await kept(client) == 5
    writer.archived = ALL
    await archive_trades(client, MARKET, archive)
    assert (await upkeep_of(client, INSTRUMENT.symbol)).trades_lost == ((first_ms, first_ms + 4_000),)
    assert len(archived(archive)) == 6


async def test_without_an_archive_of_trades_nothing_is_noted(client: Redis, writer: Writer) -> None:
    writer.archived, writer.trades_kept = frozenset({"candles", "footprints"}), 5
    for _ in range(20):
        await writer.commit(writer.trade())
    assert await kept(client) == 5 and not await fields(client)


async def test_an_archive_that_comes_late_begins_where_the_stream_does(
    client: Redis, writer: Writer, archive: Archive
) -> None:
    writer.archived, writer.trades_kept = frozenset(), 5
    for _ in range(20):
        await writer.commit(writer.trade(writer.now_ms + 1_000))
    await archive_trades(client, MARKET, archive)
    assert archived(archive).equals(applied(writer).tail(5))
    # That is the watermark of the oldest entry: a trade of the same time may have been before it.
    assert (await fields(client))["trades_from_ms"] == str(archived(archive)["ts_ms"][0])


async def test_a_store_that_went_back_in_time_gives_no_trade_twice(
    client: Redis, writer: Writer, archive: Archive
) -> None:
    """Those that it lost come again, in other commits."""
    rng = random.Random(2)
    for _ in range(20):
        await random_step(writer, rng)
    await archive_trades(client, MARKET, archive)
    saved = await writer.save()
    for _ in range(20):
        await random_step(writer, rng)
    after = [each.trade for each in writer.applied[len(saved.applied) :]]
    await archive_trades(client, MARKET, archive)
    next_id = writer.next_id
    await writer.rewind(saved)
    for first in range(0, len(after), 7):
        await writer.commit(*after[first : first + 7])
    writer.next_id = next_id
    for _ in range(5):
        await random_step(writer, rng)
    await archive_trades(client, MARKET, archive)
    assert archived(archive).equals(applied(writer))


async def test_what_was_read_before_another_change_is_not_confirmed(
    client: Redis, writer: Writer, archive: Archive
) -> None:
    """Another job, another worker, a store that went back."""
    store = TradeArchive(client, INSTRUMENT.symbol)
    await writer.commit(writer.trade())
    saved = await writer.save()
    await writer.commit(writer.trade())
    standing = await store.standing()
    assert standing
    await store.confirm(standing, 2, standing.watermark_ms)
    with pytest.raises(Stale):
        await store.confirm(standing, 2, standing.watermark_ms)
    standing = await store.standing()
    assert standing
    await writer.claim()
    await writer.commit(writer.trade())
    with pytest.raises(Stale):
        await store.confirm(standing, 2, standing.watermark_ms)
    standing = await store.standing()
    assert standing
    await writer.rewind(saved)
    with pytest.raises(Stale):
        await store.confirm(standing, 3, standing.watermark_ms)
    await writer.commit(writer.trade())
    await archive_trades(client, MARKET, archive)
    assert archived(archive).equals(applied(writer))


async def test_of_jobs_side_by_side_none_undoes_what_another_did(
    client: Redis, writer: Writer, archive: Archive, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is held up between reading an object and replacing it, while others archive more, which leaves the stream."""
    writer.trades_kept = 1
    await writer.commit(writer.trade())
    replace, meanwhile = Archive.replace, [2]

    def held_up(self: Archive, *args: Any) -> Any:
        if meanwhile:
            meanwhile.pop()
            asyncio.run(others())
        return replace(self, *args)

    async def others() -> None:
        async with commit_client(redis_url) as writer.client:
            for _ in range(2):
                await archive_trades(writer.client, MARKET, archive)
                await writer.commit(writer.trade())

    monkeypatch.setattr(Archive, "replace", held_up)
    await archive_trades(client, MARKET, archive)
    writer.client = client
    assert await kept(client) == 1 and len(writer.applied) == 3
    assert archived(archive).equals(applied(writer))


ROWS = st.tuples(*(st.integers(0, most) for most in (3, 3, 9, 9, 2))).map(lambda row: Trade(*row))


@LAW
@given(before=st.lists(ROWS, unique_by=lambda trade: trade[:2]), more=st.lists(ROWS))
def test_a_day_is_united_by_time_and_id(before: list[Trade], more: list[Trade]) -> None:
    """Of two trades with the same the newer one counts."""
    newest = {trade[:2]: trade for trade in (*before, *more)}
    added = pl.DataFrame(more, schema=TRADES, orient="row")
    assert united(frame_of(before), added).equals(frame_of(list(newest.values())))


def test_when_trades_are_archived() -> None:
    day_ms = day_of(START_MS)
    assert not is_due(Waiting(0, day_ms, day_ms + 10 * DAY_MS), 100)
    assert is_due(Waiting(0, None, day_ms), 100)
    # A quarter of what is kept; an hour; a day that is over.
    assert [is_due(Waiting(count, day_ms, day_ms + 1), 100) for count in (24, 25)] == [False, True]
    assert [is_due(Waiting(1, day_ms, day_ms + at), 100) for at in (3_599_999, 3_600_000)] == [False, True]
    assert [is_due(Waiting(1, day_ms - 5, day_ms + at), 100) for at in (-1, 0)] == [False, True]


async def test_the_clock_asks_for_it(client: Redis, writer: Writer, archive: Archive) -> None:
    async def due() -> list[Work]:
        return [work for work in await due_work(client, archiving=True, trades_kept=KEPT) if "trades" in work.rest]

    assert not await due()
    await writer.commit(writer.trade())
    assert await due() == [Work(ARCHIVE, INSTRUMENT.symbol, 0, ("trades",))]
    assert not await due_work(client, archiving=True)
    await archive_trades(client, MARKET, archive)
    assert not await due()
    await writer.commit(*(writer.trade() for _ in range(KEPT // 4)))
    assert await due() == [Work(ARCHIVE, INSTRUMENT.symbol, day_of(START_MS), ("trades",))]


@pytest.mark.process
async def test_the_queue_archives_trades_and_holds_them_while_the_archive_is_away(
    client: Redis, writer: Writer, redis_url: str, tmp_path: Path
) -> None:
    place = tmp_path / "archive"
    place.touch()
    fleet = {"REDIS_URL": redis_url, "FLEET_ARCHIVE_URL": str(place), "FLEET_TRADES_KEPT": "1"}
    fleet |= {"FLEET_JOB_RETRY_MS": "20", "FLEET_CLOCK_TICK_MS": "50", "FLEET_LEASE_TTL_MS": "600"}
    writer.trades_kept = 1
    await writer.commit(writer.trade())

    async def has_failed() -> bool:
        return any("ArchiveUnavailable: archive" in failure.reason for failure in (await Jobs(client).view()).failures)

    async def all_is_archived() -> bool:
        return (await upkeep_of(client, INSTRUMENT.symbol)).trades_waiting == 0 and not await has_failed()

    with process("workers.rollup", **fleet), process("workers.clock", **fleet):
        await wait_until_async(has_failed, START_S)
        for _ in range(9):
            await writer.commit(writer.trade())
        assert await kept(client) == 10
        place.unlink()
        await wait_until_async(all_is_archived, START_S)
    assert archived(Archive.open(str(place))).equals(applied(writer))
    await writer.commit(writer.trade())
    assert await kept(client) == 1 and "trades_lost" not in await fields(client)


async def test_a_replay_that_is_fenced_while_it_archives_goes_no_further(client: Redis, writer: Writer) -> None:
    ended: list[str] = []

    async def archive() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("archiving")

    store = ArchivingStore(client, INSTRUMENT.symbol, StreamBounds(1, 1), JudgedClock(FakeClock()), archive, 0.01)
    with pytest.raises(Fenced):
        await store.commit(step("z" * 32, writer.seq, 1))
    assert ended == ["archiving"]


async def under_fire(writer: Writer, url: str, folder: Path, kills: list[int], flaw: str = "") -> bool:
    """Whether all trades are archived once, after jobs that were killed at these calls, each with more to do.

    A job makes some 90 to 115 of those calls (archive_main).
    """
    rng, archive, killed = random.Random(3), Archive.open(str(folder)), 0
    first_ms = day_of(START_MS) + DAY_MS - 60_000
    for calls in kills:
        for number in range(20):
            # Around midnight, and some late by days: of four days.
            late_ms = 2 * DAY_MS if number % 7 == 0 else 0
            await writer.commit(writer.trade(max(writer.now_ms, first_ms) + rng.randrange(6_000) - late_ms))
        command = [sys.executable, "-m", "tests.kit.processes.archive_main", url, str(folder), str(calls), flaw]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        assert not done.stderr
        killed += done.returncode == -signal.SIGKILL
    assert killed >= len(kills) - 1
    await archive_trades(writer.client, MARKET, archive)
    return archived(archive).equals(applied(writer))


@pytest.mark.process
async def test_killed_at_any_moment_it_archives_every_trade_once(
    writer: Writer, redis_url: str, tmp_path: Path
) -> None:
    assert await under_fire(writer, redis_url, tmp_path, random.sample(range(1, 90), 4))


@pytest.mark.process
@pytest.mark.parametrize("flaw", ["hasty", "doubling"])
async def test_a_job_that_does_it_otherwise_is_found_out(
    writer: Writer, redis_url: str, tmp_path: Path, flaw: str
) -> None:
    # The second lives, and goes on where the first one was.
    assert not await under_fire(writer, redis_url, tmp_path, [97, 1_000], flaw)
