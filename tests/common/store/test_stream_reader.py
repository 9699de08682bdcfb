"""Streams read over one connection: each reader gets every entry, once, in order, whatever the others do."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from common.errors import StoreUnavailable
from common.store import stream_reader
from common.store.client import blocking_client, commit_client
from common.store.stream_reader import (
    ENTRY_OVERHEAD,
    MAX_READ,
    Entries,
    OwnReader,
    SharedReads,
    StreamReader,
    by_stream,
    size_of,
)
from tests.kit.store.own_server import own_server
from tests.kit.waiting import wait_until_async
from tests.scale import scaled

STREAMS = [f"s{number}" for number in range(30)]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reader, "PARKED_WAIT_MS", 100)


class Counted:
    """A client that notes its reads (of how many streams, and how many entries of each), and how many are under way.

    And of each answer its bytes, about. A `deaf` one never has its answers.
    """

    def __init__(self, client: Redis, *, deaf: bool = False) -> None:
        self._client, self._deaf = client, deaf
        self.now = self.most = 0
        self.reads: list[tuple[int, int]] = []
        self.answers: list[int] = []

    async def xread(self, streams: dict[str, str], count: int, block: int | None) -> Any:
        self.reads.append((len(streams), count))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self._deaf:
                await asyncio.Event().wait()
            answer: Any = await self._client.xread(streams, count=count, block=block)  # type: ignore[arg-type]
            self.answers.append(sum(size_of(fields) for entries in by_stream(answer).values() for _, fields in entries))
            return answer
        finally:
            self.now -= 1


@asynccontextmanager
async def shared(client: Redis, blocking: Counted | None = None) -> AsyncIterator[tuple[SharedReads, Counted]]:
    blocking = blocking or Counted(client)
    reads = SharedReads(client, blocking)  # type: ignore[arg-type]
    try:
        yield reads, blocking
    finally:
        await reads.close()


async def push(client: Redis, stream: str, *texts: str) -> None:
    for text in texts:
        await client.xadd(stream, {"n": text})


async def push_at_once(client: Redis, texts: dict[str, list[str]]) -> None:
    pipe = client.pipeline(transaction=True)
    for stream, those in texts.items():
        for text in those:
            pipe.xadd(stream, {"n": text})
    await pipe.execute()


def texts_of(entries: Entries) -> list[str]:
    return [fields[b"n"].decode() for _, fields in entries]


class Follower:
    """Reads one stream to its end, again and again, as a term does."""

    def __init__(self, reader: StreamReader, count: int = 100) -> None:
        self.reader, self.count = reader, count
        self.position = "0-0"
        self.got: list[str] = []

    async def step(self, wait_ms: int | None = 200) -> int:
        entries = await self.reader.next(self.position, self.count, wait_ms)
        assert len(entries) <= self.count
        if entries:
            self.position = entries[-1][0].decode()
        self.got += texts_of(entries)
        return len(entries)

    async def until(self, count: int) -> None:
        while len(self.got) < count:
            await self.step()


async def test_what_is_there_is_read_and_what_comes_is_waited_for(client: Redis) -> None:
    async with shared(client) as (reads, _):
        one = Follower(reads.reader("a"))
        await push(client, "a", "1", "2")
        assert await one.step() == 2
        waiting = asyncio.create_task(one.step(5_000))
        await wait_until_async(lambda: reads._parked)
        await push(client, "a", "3")
        assert await waiting == 1
        assert one.got == ["1", "2", "3"]
        assert await one.step(1) == 0


async def test_a_read_that_does_not_wait_returns_what_is_there(client: Redis) -> None:
    async with shared(client) as (reads, _):
        one = Follower(reads.reader("a"))
        assert await one.step(None) == 0
        await push(client, "a", "1")
        assert await one.step(None) == 1


async def test_many_streams_wait_over_one_connection(client: Redis) -> None:
    async with shared(client) as (reads, blocking):
        followers = {stream: Follower(reads.reader(stream)) for stream in STREAMS}
        waiting = [asyncio.create_task(follower.until(3)) for follower in followers.values()]
        await wait_until_async(lambda: len(reads._parked) == len(STREAMS))
        for text in ("1", "2", "3"):
            for stream in STREAMS:
                await push(client, stream, text)
        await asyncio.gather(*waiting)
        assert all(follower.got == ["1", "2", "3"] for follower in followers.values())
        assert blocking.most == 1


async def test_who_is_told_that_nothing_came_is_told_so_by_the_store(client: Redis) -> None:
    """The shared connection may be slow, or stand still."""
    async with shared(client, Counted(client, deaf=True)) as (reads, blocking):
        one = Follower(reads.reader("a"))
        assert await one.step(1) == 0
        await wait_until_async(lambda: blocking.now == 1 and not reads._newcomers)
        await push(client, "a", "1")
        assert await one.step(1) == 1
        assert await one.step(None) == 0
        await push(client, "a", "2", "3")
        assert await one.step(None) == 2


async def test_all_that_wait_in_vain_at_one_moment_are_looked_at_together(client: Redis) -> None:
    commands = Counted(client)
    reads = SharedReads(commands, Counted(client))  # type: ignore[arg-type]
    followers = [Follower(reads.reader(stream)) for stream in STREAMS]
    await asyncio.gather(*(follower.step(1) for follower in followers))
    await wait_until_async(lambda: not reads._newcomers and reads._polling is None)
    commands.reads.clear()
    assert set(await asyncio.gather(*(follower.step(20) for follower in followers))) == {0}
    assert sum(streams for streams, _ in commands.reads) == len(STREAMS)
    assert len(commands.reads) <= 3
    await reads.close()


async def test_what_is_kept_of_a_stream_is_all_there_is(client: Redis) -> None:
    """Else a term takes itself to be up to date, and closes minutes of which trades are waiting."""
    async with shared(client) as (reads, _):
        one = Follower(reads.reader("a"))
        assert await one.step(1) == 0
        await wait_until_async(lambda: "a" in reads._parked and not reads._newcomers)
        await push_at_once(client, {"a": ["1", "2", "3"]})
        # The first shared read asks for one entry: how large they are is not known.
        assert await one.step(5_000) == 3


async def test_a_shared_read_brings_as_much_as_a_read_of_one_stream(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what entries were like so far, and of each stream one at the least."""
    monkeypatch.setattr(stream_reader, "MAX_KEPT_BYTES", 50_000)
    async with shared(client) as (reads, blocking):
        followers = {stream: Follower(reads.reader(stream)) for stream in STREAMS}
        for texts in (["x" * 2_000] * 20, ["x"] * 20, ["x"] * 20):
            before = len(followers[STREAMS[0]].got)
            waiting = [asyncio.create_task(follower.until(before + 20)) for follower in followers.values()]
            await wait_until_async(lambda: len(reads._parked) == len(STREAMS) and not reads._newcomers)
            await push_at_once(client, dict.fromkeys(STREAMS, texts))
            await asyncio.gather(*waiting)
        assert max(blocking.answers) <= len(STREAMS) * (2_000 + 1 + ENTRY_OVERHEAD)
        # When they were known to be small, several at once.
        assert max(count for _, count in blocking.reads) > 1
        assert all(streams * count <= MAX_READ for streams, count in blocking.reads)


async def test_of_readers_that_do_something_else_little_is_kept(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reader, "MAX_KEPT_BYTES", 20_000)
    async with shared(client) as (reads, _):
        followers = {stream: Follower(reads.reader(stream)) for stream in STREAMS}
        for number in range(40):
            for stream in STREAMS:
                await push(client, stream, f"{number:0200}")
                assert reads._kept_bytes <= 20_000
            if number == 0:
                await asyncio.gather(*(follower.until(1) for follower in followers.values()))
                await asyncio.gather(*(follower.step(1) for follower in followers.values()))
        await wait_until_async(lambda: len(reads._parked) < len(STREAMS))
        await asyncio.gather(*(follower.until(40) for follower in followers.values()))
        assert all([*map(int, follower.got)] == [*range(40)] for follower in followers.values())


async def test_a_slow_reader_keeps_little_and_delays_no_other(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reader, "MAX_KEPT", 5)
    async with shared(client) as (reads, _):
        slow, busy = Follower(reads.reader("slow")), Follower(reads.reader("busy"))
        for text in ("0", "1"):
            # How large they are is known after the first, so that the second is kept.
            both = asyncio.gather(*(each.until(int(text) + 1) for each in (slow, busy)))
            await wait_until_async(lambda: len(reads._parked) == 2)
            await push_at_once(client, {"slow": [text], "busy": [text]})
            await both
        # From now on the one does something else.
        following = asyncio.create_task(busy.until(60))
        for number in range(2, 60):
            await push(client, "slow", str(number))
            await push(client, "busy", str(number))
            parked = reads._parked.get("slow")
            assert parked is None or len(parked.kept) <= 5
            await wait_until_async(lambda: len(busy.got) == number + 1)  # noqa: B023
        await following
        assert "slow" not in reads._parked
        await slow.until(60)
        assert slow.got == busy.got == [str(number) for number in range(60)]


async def test_a_reader_that_leaves_while_all_wait_takes_nothing_along(client: Redis) -> None:
    """A symbol is let go, its entries go on coming, and it is claimed once more, here or elsewhere."""
    async with shared(client) as (reads, blocking):
        stays, leaves = Follower(reads.reader("stays")), Follower(reads.reader("leaves"))
        await asyncio.gather(stays.step(1), leaves.step(1))
        staying = asyncio.create_task(stays.until(2))
        await wait_until_async(lambda: blocking.now == 1 and not reads._newcomers)
        leaves.reader.close()
        # The read under way still asks for it.
        await push(client, "leaves", "1")
        await push(client, "stays", "1")
        await wait_until_async(lambda: stays.got == ["1"])
        assert reads._kept_bytes == 0 and "leaves" not in reads._parked
        again = Follower(reads.reader("leaves"))
        await push(client, "leaves", "2")
        await push(client, "stays", "2")
        await asyncio.gather(again.until(2), staying)
        assert again.got == stays.got == ["1", "2"]


async def test_a_shared_connection_that_breaks_is_told_to_no_reader(redis_url: str) -> None:
    async with commit_client(redis_url) as commands, blocking_client(redis_url) as client:
        async with shared(commands, Counted(client)) as (reads, blocking):
            followers = [Follower(reads.reader(stream)) for stream in STREAMS]
            waiting = [asyncio.create_task(follower.until(1)) for follower in followers]
            await wait_until_async(lambda: len(reads._parked) == len(STREAMS) and not reads._newcomers)
            (waits,) = [
                each for each in await commands.client_list() if each["cmd"] == "xread" and "b" in each["flags"]
            ]
            before = len(blocking.reads)
            await commands.client_kill_filter(_id=waits["id"])
            await wait_until_async(lambda: len(blocking.reads) > before)
            for stream in STREAMS:
                await push(commands, stream, "1")
            await asyncio.gather(*waiting)


async def test_a_newcomer_does_not_wait_for_the_read_under_way(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reader, "PARKED_WAIT_MS", 60_000)
    async with shared(client) as (reads, blocking):
        first = asyncio.create_task(Follower(reads.reader("a")).until(1))
        await wait_until_async(lambda: blocking.now == 1)
        late = Follower(reads.reader("b"))
        second = asyncio.create_task(late.until(2))
        await wait_until_async(lambda: "b" in reads._parked)
        await push(client, "b", "1", "2")
        await asyncio.wait_for(second, 5)
        await push(client, "a", "1")
        await first
        # From now on it is read with the others.
        third = asyncio.create_task(late.until(3))
        await wait_until_async(lambda: not reads._newcomers)
        await push(client, "b", "3")
        await third


@pytest.mark.parametrize("seed", range(scaled(6)))
async def test_every_entry_comes_once_and_in_order_whatever_is_read_how(
    client: Redis, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bursts beyond what is kept, readers that are slow, that ask for one entry, or begin again somewhere."""
    rng = random.Random(seed)
    monkeypatch.setattr(stream_reader, "MAX_KEPT", rng.choice((1, 2, 5, 64)))
    monkeypatch.setattr(stream_reader, "PARKED_WAIT_MS", rng.choice((5, 50)))
    monkeypatch.setattr(stream_reader, "MAX_KEPT_BYTES", rng.choice((200, 5_000, 8 << 20)))
    total, streams = 60, STREAMS[:6]

    async def produce(stream: str) -> None:
        number = 0
        while number < total:
            burst = min(rng.choice((1, 1, 3, 20)), total - number)
            await push(client, stream, *(str(number + each) for each in range(burst)))
            number += burst
            await asyncio.sleep(rng.choice((0, 0.001, 0.01)))

    async def follow(stream: str) -> Follower:
        follower = Follower(reads.reader(stream), rng.choice((1, 3, 100)))
        while len(follower.got) < total:
            await follower.step(rng.choice((None, 1, 30)))
            await asyncio.sleep(rng.choice((0, 0, 0.002)))
            if rng.random() < 0.05 and follower.got:
                # Another term: what was not committed is read again.
                follower.reader.close()
                again = Follower(reads.reader(stream), follower.count)
                kept = rng.randrange(len(follower.got))
                entries: Any = await client.xrange(stream, count=kept) if kept else []
                again.got = texts_of(entries)
                again.position = entries[-1][0].decode() if entries else "0-0"
                follower = again
        return follower

    async with shared(client) as (reads, _):
        followers, *_ = await asyncio.gather(
            asyncio.gather(*map(follow, streams)), asyncio.gather(*map(produce, streams))
        )
        assert all(follower.got == [str(number) for number in range(total)] for follower in followers)
        for follower in followers:
            follower.reader.close()
        assert (reads._kept_bytes, reads._parked, reads._newcomers) == (0, {}, set())


async def test_one_stream_that_cannot_be_read_stops_no_other(redis_url: str) -> None:
    async with blocking_client(redis_url) as client, shared(client) as (reads, blocking):
        good, bad = Follower(reads.reader("good")), Follower(reads.reader("bad"))
        fine, broken = asyncio.create_task(good.until(1)), asyncio.create_task(bad.until(1))
        await wait_until_async(lambda: blocking.now == 1 and not reads._newcomers)
        await client.set("bad", "no stream")
        with pytest.raises(StoreUnavailable, match="read of bad failed: WRONGTYPE"):
            await broken
        bad.reader.close()
        await push(client, "good", "1")
        await fine
        assert good.got == ["1"]


async def test_two_readers_of_one_stream_each_get_all_of_it(client: Redis) -> None:
    """Two symbols may be of one stream."""
    async with shared(client) as (reads, _):
        one, other = Follower(reads.reader("a")), Follower(reads.reader("a"))
        assert isinstance(other.reader, OwnReader)
        both = asyncio.gather(one.until(2), other.until(2))
        await push(client, "a", "1", "2")
        await both
        assert one.got == other.got == ["1", "2"]


async def test_a_reader_that_comes_back_to_an_earlier_place_reads_from_there(client: Redis) -> None:
    async with shared(client) as (reads, _):
        one = Follower(reads.reader("a"))
        assert await one.step(1) == 0
        await push(client, "a", "1", "2")
        await wait_until_async(lambda: "a" not in reads._parked or reads._parked["a"].kept)
        await one.step()
        one.position, one.got = "0-0", []
        await one.until(2)
        assert one.got == ["1", "2"]


async def test_a_bug_of_the_shared_read_is_survived(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    keep, failures = SharedReads._keep, iter([ValueError("a bug")])

    def keeps(*arguments: Any, **options: Any) -> None:
        for failure in failures:
            raise failure
        keep(*arguments, **options)

    monkeypatch.setattr(SharedReads, "_keep", keeps)
    async with shared(client) as (reads, _):
        one = Follower(reads.reader("a"))
        waiting = asyncio.create_task(one.until(2))
        await wait_until_async(lambda: reads._parked)
        await push(client, "a", "1")
        await wait_until_async(lambda: one.got == ["1"])
        await push(client, "a", "2")
        await waiting


@pytest.mark.process
async def test_a_store_that_is_away_or_hangs_is_told_to_each_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reader, "PARKED_WAIT_MS", 100)
    monkeypatch.setattr(stream_reader, "COMMAND_TIMEOUT_S", 0.3)
    with own_server() as own:
        async with commit_client(own.url) as commands, blocking_client(own.url) as blocking:
            reads = SharedReads(commands, blocking)
            followers = [Follower(reads.reader(stream)) for stream in STREAMS]
            for follower in followers:
                await follower.step(1)
            await wait_until_async(lambda: not reads._newcomers)
            own.process.send_signal(19)
            found = await asyncio.gather(*(follower.until(1) for follower in followers), return_exceptions=True)
            assert all(isinstance(each, StoreUnavailable) for each in found)
            own.process.send_signal(18)
            waiting = [asyncio.create_task(follower.until(1)) for follower in followers]
            for stream in STREAMS:
                await push(commands, stream, "1")
            await asyncio.gather(*waiting)
            own.process.kill()
            found = await asyncio.gather(*(follower.until(2) for follower in followers), return_exceptions=True)
            assert all(isinstance(each, StoreUnavailable) for each in found)
            await reads.close()
