"""A store moved to another server: every type of key, what is refused, and a move that is killed at any moment."""

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from common.errors import BadInput, NewerFormat, OperatorError, StoreUnavailable
from common.store import key_pieces, move, move_mark
from common.store.client import commit_client
from common.store.format import FORMAT
from common.store.keys import CLOCK, FORMAT_KEY, MOVING, PROCESSES, SYMBOLS
from common.store.move import Moved, is_left
from common.store.presence import WORKER, Presence
from common.store.server import admit
from tests.kit.store.own_server import own_server

LEASE_TTL_MS = 200
# Its own types say that each reply may be anything.
Client = Any


@pytest.fixture
def source() -> Iterator[Client]:
    with own_server() as server, server.client() as client:
        yield client


@pytest.fixture
def target() -> Iterator[Client]:
    with own_server() as server, server.client() as client:
        yield client


def url_of(client: Client) -> str:
    return f"unix://{client.connection_pool.connection_kwargs['path']}"


async def moved(source: Client, target: Client, name: str = "here", unsafe: bool = False) -> Moved:
    return await move.move(url_of(source), url_of(target), name, unsafe=unsafe, lease_ttl_ms=LEASE_TTL_MS)


def contents(client: Client) -> dict[bytes, tuple[bytes, bool]]:
    """Both servers are of one version: what they dump is the same if the keys are, but for the order of hashes."""
    return {key: (_whole(client, key), client.pttl(key) > 0) for key in client.keys("*")}


def _whole(client: Client, key: bytes) -> bytes:
    kind = client.type(key)
    if kind == b"hash":
        return repr(sorted(client.hgetall(key).items())).encode()
    if kind == b"set":
        return repr(sorted(client.smembers(key))).encode()
    if kind == b"stream":
        # The dump has how its nodes are filled, too.
        about = client.xinfo_stream(key)
        ends = [about[name] for name in ("last-generated-id", "entries-added", "max-deleted-entry-id", "length")]
        groups = [(group["name"], group["last-delivered-id"]) for group in client.xinfo_groups(key)]
        return repr((client.xrange(key), ends, groups)).encode()
    if kind == b"zset":
        return repr(client.zrange(key, 0, -1, withscores=True)).encode()
    return bytes(client.dump(key))


def fill(client: Client) -> None:
    """Keys of every type, small and of many pieces."""
    client.set("text", "of a few words")
    client.set("empty", "")
    client.set("number", 12)
    client.set("big", os.urandom(3_000_000))
    client.hset("hash", mapping={os.urandom(8): os.urandom(50) for _ in range(3_000)})
    client.hset("wide", mapping={f"{number}": os.urandom(200_000) for number in range(20)})
    client.hset("small", mapping={"one": "1", "": "empty"})
    client.sadd("set", *(os.urandom(9) for _ in range(3_000)))
    client.sadd("numbers", *range(20))
    client.rpush("list", *(os.urandom(40) for _ in range(3_000)))
    scores = [0.1, 1e300, -5, 1_700_000_000_123, float("inf"), 2**53 - 1, 1 / 3]
    client.zadd("scores", {f"{score}": score for score in scores})
    client.zadd("sorted", {os.urandom(20): number // 3 for number in range(3_000)})
    with client.pipeline() as pipe:
        for number in range(1, 3_001):
            pipe.xadd("stream", {"n": number, "bytes": os.urandom(20)}, id=f"{number}-{number % 3}")
        pipe.xadd("trimmed", {"n": 1}, id="5-1").xadd("trimmed", {"n": 2}, id="6-1").xtrim("trimmed", maxlen=0)
        pipe.xadd("holes", {"n": 1}, id="5-1").xadd("holes", {"n": 2}, id="6-1").xdel("holes", "6-1")
        pipe.xgroup_create("group", "readers", mkstream=True)
        pipe.xadd("grouped", {"n": 1}, id="5-1").xadd("grouped", {"n": 2}, id="6-1")
        pipe.xgroup_create("grouped", "readers", id="5-1")
        pipe.execute()
    client.set("goes", "soon", px=60_000)
    client.zadd("goes too", {"one": 1})
    client.pexpire("goes too", 60_000)


async def test_keys_of_every_type_are_the_same_afterwards(source: Client, target: Client) -> None:
    fill(source)
    before = contents(source)
    done = await moved(source, target)
    assert contents(target) == contents(source) == before
    assert (done.keys, done.same) == (len(before), 0)
    assert 50_000 < target.pttl("goes") <= 60_000
    assert target.xadd("trimmed", {"n": 3}, id="6-2") == b"6-2"


async def test_a_server_without_all_ends_of_a_stream_gets_what_it_knows(
    source: Client, target: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source)
    monkeypatch.setattr(move, "_has_all_ends", lambda info: False)
    monkeypatch.setattr(key_pieces, "_same_ends", lambda ours, theirs: (ours is None) == (theirs is None))
    await moved(source, target)
    assert target.xinfo_stream("trimmed")["last-generated-id"] == b"6-1"
    assert target.xrange("stream") == source.xrange("stream")


async def test_a_key_of_many_pieces_is_never_in_memory_as_a_whole(
    source: Client, target: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.hset("wide", mapping={f"{number}": os.urandom(100_000) for number in range(600)})
    sizes, write = list[int](), move_mark.write

    async def measured(client: Redis, token: str, commands: list[tuple[bytes, ...]]) -> None:
        sizes.append(sum(len(part) for command in commands for part in command))
        await write(client, token, commands)

    monkeypatch.setattr(move_mark, "write", measured)
    await moved(source, target)
    # The first piece of a key is of as many elements whatever they take.
    assert max(sizes) < 100_000 * key_pieces.FIRST_ELEMENTS + 2 * key_pieces.PIECE_BYTES and len(sizes) > 20


async def test_what_ends_by_itself_and_the_queue_s_own_keys_are_left(source: Client, target: Client) -> None:
    left = [
        "rq:queue:rollup",
        "{BINANCE}:streams",
        "{}:streams",
        "{}:streams:holders",
        "{MY:X}:demand",
        "{MY:X}:focus",
        CLOCK,
    ]
    stay = ["{BINANCE}:budget", "{MY:X}:owner", "{}:failures", "{MY:X}:candles:1m", "calendars"]
    for key in (*left, *stay):
        source.set(key, "1")
    assert [key for key in (*left, PROCESSES, MOVING, *stay) if is_left(key.encode())] == [*left, PROCESSES, MOVING]
    assert (await moved(source, target)).keys == len(stay)
    assert {key.decode() for key in target.keys("*")} == set(stay)


class Killed(Exception):
    pass


async def test_killed_at_any_write_and_run_again_it_ends_whole(
    source: Client, target: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move, "PIECE_BYTES", 20_000)
    monkeypatch.setattr(key_pieces, "PIECE_BYTES", 20_000)
    for number in range(3):
        source.hset(f"hash:{number}", mapping={os.urandom(8): os.urandom(500) for _ in range(100)})
        source.set(f"text:{number}", os.urandom(70_000), px=60_000)
        for entry in range(1, 200):
            source.xadd(f"stream:{number}", {"n": os.urandom(200)}, id=f"{entry}-1")
    before, write, kills = contents(source), move_mark.write, 0
    for lives in range(100):
        target.flushall()
        left = lives

        async def mortal(client: Redis, token: str, commands: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            await write(client, token, commands)  # type: ignore[arg-type]

        monkeypatch.setattr(move_mark, "write", mortal)
        try:
            await moved(source, target)
            break
        except Killed:
            kills += 1
            await _refused_as_half_moved(target)
        monkeypatch.setattr(move_mark, "write", write)
        done = await moved(source, target)
        assert done.keys == len(before) and contents(target) == before
    assert kills > 10 and contents(source) == before


async def _refused_as_half_moved(target: Client) -> None:
    async with commit_client(url_of(target)) as client:
        with pytest.raises(OperatorError, match="half moved from here: run the same fleet move again"):
            await admit(client, unsafe=True)


async def test_what_an_earlier_move_left_is_kept_or_replaced_or_dropped(
    source: Client, target: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.mset({"same": "1", "other": "new", "absent": "1"})
    target.mset({"same": "1", "other": "old", "gone": "1"})
    target.hset(MOVING, mapping={"from": "here", "mover": "killed"})
    done = await moved(source, target)
    assert (done.keys, done.same) == (3, 1)
    assert contents(target) == contents(source)


async def test_a_move_that_another_has_taken_over_writes_nothing_more(
    source: Client, target: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.set("key", "1")
    async with commit_client(url_of(target)) as client:
        first, _ = await move_mark.take(client, "here")
        await moved(source, target)
        with pytest.raises(OperatorError, match="another fleet move has taken over"):
            await move_mark.write(client, first, [("DEL", "key")])
    assert target.get("key") == b"1"


async def test_one_of_two_moves_at_once_ends_whole(source: Client, target: Client) -> None:
    fill(source)
    ends = await asyncio.gather(moved(source, target), moved(source, target), return_exceptions=True)
    assert [type(end) for end in ends].count(Moved) == 1
    assert contents(target) == contents(source)


async def test_what_is_written_meanwhile_is_found(
    source: Client, target: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.mset({f"key:{number}": number for number in range(10)})
    compare = move._Move.compare

    async def disturbed(run: move._Move) -> None:
        source.set("key:3", "other")
        target.set("stranger", "1")
        await compare(run)

    monkeypatch.setattr(move._Move, "compare", disturbed)
    with pytest.raises(OperatorError, match="2 keys are not the same in both stores, such as key:3, stranger"):
        await moved(source, target)
    monkeypatch.setattr(move._Move, "compare", compare)
    assert (await moved(source, target)).same == 9
    assert contents(target) == contents(source)


async def test_a_target_that_has_something_is_refused(source: Client, target: Client) -> None:
    source.set("key", "1")
    target.set("other", "1")
    with pytest.raises(BadInput, match="the target has 1 keys, expected an empty store"):
        await moved(source, target)
    with pytest.raises(BadInput, match="the target has 1 keys"):
        await moved(source, source)
    assert target.keys() == [b"other"] and source.keys() == [b"key"]


async def test_a_target_half_moved_from_elsewhere_is_refused(source: Client, target: Client) -> None:
    source.set("key", "1")
    target.hset(MOVING, mapping={"from": "there", "mover": "killed"})
    with pytest.raises(BadInput, match="half moved from there, and this would be from here"):
        await moved(source, target)


async def test_a_source_that_is_half_moved_or_empty_is_refused(source: Client, target: Client) -> None:
    with pytest.raises(BadInput, match="the source has no keys"):
        await moved(source, target)
    source.hset(MOVING, mapping={"from": "there", "mover": "killed"})
    with pytest.raises(OperatorError, match="half moved from there"):
        await moved(source, target)
    assert target.dbsize() == 0


async def test_a_source_at_work_is_refused(source: Client, target: Client) -> None:
    source.set("key", "1")
    async with commit_client(url_of(source)) as client:
        presence = Presence(client, WORKER)
        await presence.say()
        with pytest.raises(OperatorError, match="1 processes work with the source, such as worker .*: stop the fleet"):
            await moved(source, target)
        await presence.leave()
    assert target.dbsize() == 0
    await moved(source, target)


async def test_a_holder_that_beats_and_says_nothing_is_refused_and_a_dead_one_is_not(
    source: Client, target: Client
) -> None:
    source.hset(SYMBOLS, "MY:X", "{}")
    source.hset("{MY:X}:owner", mapping={"token": "a" * 32, "holder": "host:1", "beats": 1})

    async def beat() -> None:
        while True:
            source.hincrby("{MY:X}:owner", "beats", 1)
            await asyncio.sleep(0.02)

    beating = asyncio.create_task(beat())
    with pytest.raises(OperatorError, match="1 processes work with the source, such as host:1"):
        await moved(source, target)
    beating.cancel()
    await moved(source, target)
    assert target.hgetall("{MY:X}:owner") == source.hgetall("{MY:X}:owner")


async def test_a_target_that_evicts_is_refused_and_one_that_keeps_nothing_on_disk_is_warned_of(
    source: Client, target: Client
) -> None:
    source.set("key", "1")
    target.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(OperatorError, match="may evict keys"):
        await moved(source, target)
    assert target.dbsize() == 0
    target.config_set("maxmemory-policy", "noeviction")
    done = await moved(source, target)
    assert done.warnings == ("the store keeps nothing on disk (appendonly no), expected appendonly yes",)


async def test_a_target_without_room_says_so_and_takes_the_rest_once_it_has_some(
    source: Client, target: Client
) -> None:
    source.mset({f"key:{number}": os.urandom(500_000) for number in range(20)})
    target.config_set("maxmemory", 6_000_000)
    with pytest.raises(StoreUnavailable, match="maxmemory"):
        await moved(source, target)
    target.config_set("maxmemory", 0)
    assert (await moved(source, target)).same > 0
    assert contents(target) == contents(source)


async def test_a_store_of_a_later_release_is_refused(source: Client, target: Client) -> None:
    source.set(FORMAT_KEY, FORMAT + 1)
    with pytest.raises(NewerFormat):
        await moved(source, target)


async def test_entries_that_a_group_has_not_acknowledged_can_t_be_moved(source: Client, target: Client) -> None:
    source.xadd("events", {"n": 1})
    source.xgroup_create("events", "readers", id="0")
    source.xreadgroup("readers", "me", {"events": ">"})
    with pytest.raises(OperatorError, match="consumer group readers, which was given entries"):
        await moved(source, target)
    source.xack("events", "readers", source.xrange("events")[0][0])
    await moved(source, target)
