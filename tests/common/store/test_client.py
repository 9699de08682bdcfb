"""What a client does when the store does not answer: nothing is ever sent twice, and nobody guesses."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from common.errors import Stale, StoreUnavailable
from common.store.client import COMMAND_TIMEOUT_S, MAX_CONNECTIONS, ask, blocking_client, commit_client, translated
from common.store.commit import StreamBounds
from common.store.keys import SymbolKeys
from common.store.symbol import SymbolStore
from tests.kit.store.proxy import Proxy, proxied
from tests.kit.store.steps import SYMBOL, claim, step, trades
from tests.kit.waiting import wait_until_async

KEYS = SymbolKeys(SYMBOL)
A = "a" * 32
WELL_OVER_A_COMMAND_S = 1.0
# Connections to the server that are not of the client at hand: the fixtures'.
OTHERS = 4


@pytest.fixture
def proxy(redis_url: str, tmp_path: Path) -> Iterator[Proxy]:
    with proxied(Path(unquote(urlsplit(redis_url).path)), tmp_path / "p") as made:
        yield made


@pytest.fixture
async def behind_proxy(proxy: Proxy, tmp_path: Path) -> AsyncIterator[Redis]:
    client = commit_client(f"unix://{tmp_path}/p")
    yield client
    await client.aclose()


@pytest.fixture
async def direct(redis_url: str) -> AsyncIterator[Redis]:
    client = commit_client(redis_url)
    yield client
    await client.aclose()


async def test_a_commit_whose_reply_is_lost_is_applied_once_and_told_as_unknown(
    proxy: Proxy, behind_proxy: Redis, direct: Redis
) -> None:
    store = SymbolStore(behind_proxy, SYMBOL, StreamBounds(10_000, 10))
    await claim(store, A)
    # The text of a script goes to the store with its first use.
    await store.commit(step(A, 0, 1))
    for seq in range(1, 300):
        # A connection whose reply was lost is closed; here a new one is made.
        await store.beat(A, seq, {})
        proxy.swallow = 1
        with pytest.raises(StoreUnavailable, match=f"commit {seq + 1} of {SYMBOL} failed"):
            await store.commit(step(A, seq, seq + 1))
        assert await direct.hget(KEYS.state, "seq") == b"%d" % (seq + 1)
    assert proxy.swallowed == 299
    assert await store.recent_trades(10_000) == trades(*range(1, 301))


async def test_sent_again_by_hand_a_commit_does_nothing(proxy: Proxy, behind_proxy: Redis) -> None:
    store = SymbolStore(behind_proxy, SYMBOL, StreamBounds(10, 10))
    await claim(store, A)
    once = step(A, 0, 1)
    await store.commit(once)
    with pytest.raises(Stale):
        await store.commit(once)


@pytest.mark.parametrize("command", ["claim", "beat", "release", "minutes", "recent_trades"])
async def test_every_command_says_that_its_outcome_is_unknown(proxy: Proxy, behind_proxy: Redis, command: str) -> None:
    store = SymbolStore(behind_proxy, SYMBOL, StreamBounds(10, 10))
    won = await claim(store, A)
    await store.beat(A, won.seq, {})
    await store.release("nobody")
    proxy.swallow = 1
    with pytest.raises(StoreUnavailable, match=SYMBOL):
        await send(store, command)
    assert proxy.swallowed == 1


async def send(store: SymbolStore, command: str) -> None:
    match command:
        case "claim":
            await claim(store, A)
        case "beat":
            await store.beat(A, 0, {})
        case "release":
            await store.release(A)
        case "minutes":
            await store.minutes([0])
        case _:
            await store.recent_trades(1)


async def test_a_store_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    client = commit_client(f"unix://{tmp_path}/nobody")
    with pytest.raises(StoreUnavailable, match="release of TEST:A failed"):
        await SymbolStore(client, SYMBOL, StreamBounds(1, 1)).release(A)
    await client.aclose()


async def test_a_store_that_is_silent_is_given_up_after_one_attempt(tmp_path: Path) -> None:
    calls = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(silent, tmp_path / "s")
    client = commit_client(f"unix://{tmp_path}/s")
    async with server:
        with pytest.raises(StoreUnavailable):
            await SymbolStore(client, SYMBOL, StreamBounds(1, 1)).release(A)
        await client.aclose()
    assert calls == 1


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": loop}) for loop in (False, True)])
async def test_a_connection_that_is_closed_while_it_is_held_says_so(direct: Redis) -> None:
    """The feed runs on uvloop, which has a word of its own for it."""
    async with direct.pubsub() as pubsub:
        await pubsub.subscribe("first")
        assert pubsub.connection
        pubsub.connection._writer.transport.abort()
        with pytest.raises(RedisConnectionError):
            while True:
                await asyncio.sleep(0)
                await pubsub.connection.send_command("PING")


async def test_a_blocking_read_may_last_longer_than_a_command(redis_url: str) -> None:
    client = blocking_client(redis_url)
    wait_ms = int(COMMAND_TIMEOUT_S * 1_000) + 200
    assert not await client.xread({"nothing": "0-0"}, block=wait_ms)
    await client.aclose()


async def test_a_cancelled_task_ends_wherever_its_command_stands(direct: Redis) -> None:
    async def ask_for_ever() -> None:
        while True:
            await direct.ping()

    await direct.ping()
    for turns in range(100):
        task = asyncio.create_task(ask_for_ever())
        for _ in range(turns % 20):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=WELL_OVER_A_COMMAND_S)
        assert task.cancelled(), f"{turns % 20} turns of the loop after its start"


async def test_a_burst_waits_for_connections_and_is_answered(direct: Redis) -> None:
    answers = await asyncio.gather(*(direct.echo(b"%d" % number) for number in range(1_000)))
    assert answers == [b"%d" % number for number in range(1_000)]
    clients: Any = await direct.client_list()
    assert len(clients) <= MAX_CONNECTIONS + OTHERS


async def test_whoever_is_cancelled_while_it_waits_takes_no_connection_away(direct: Redis) -> None:
    """Also in the very turn of the loop in which its turn comes."""
    for turns in range(60):
        waiting: list[Any] = [asyncio.ensure_future(direct.ping()) for _ in range(3 * MAX_CONNECTIONS)]
        for _ in range(turns % 30):
            await asyncio.sleep(0)
        for task in waiting[turns % 2 :: 2]:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    async with asyncio.timeout(WELL_OVER_A_COMMAND_S):
        assert all(await asyncio.gather(*(direct.ping() for _ in range(3 * MAX_CONNECTIONS))))


async def test_connections_that_fail_are_not_missing_afterwards(tmp_path: Path) -> None:
    client = commit_client(f"unix://{tmp_path}/nobody")
    for _ in range(2):
        found = await asyncio.gather(*(client.ping() for _ in range(2 * MAX_CONNECTIONS)), return_exceptions=True)
        assert {type(each) for each in found} == {RedisConnectionError}
    await client.aclose()


async def test_who_waits_too_long_for_a_connection_is_told_so(direct: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.store.client.TURN_TIMEOUT_S", 0.05)
    pool: Any = direct.connection_pool
    lent = [await pool.get_connection() for _ in range(MAX_CONNECTIONS)]
    with pytest.raises(StoreUnavailable, match="a look failed: all 16 connections are in use"), translated("a look"):
        await direct.ping()
    for connection in lent:
        await pool.release(connection)
    assert await direct.ping()


async def test_a_reply_that_is_not_awaited_is_not_taken_for_that_of_the_next_command(direct: Redis) -> None:
    for turns in range(20):
        asked = asyncio.ensure_future(ask(direct, "ECHO", "lost"))
        for _ in range(turns):
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert await ask(direct, "ECHO", "next") == b"next"


async def test_a_command_that_is_refused_leaves_its_connection_to_others(direct: Redis) -> None:
    pool: Any = direct.connection_pool
    for _ in range(2 * MAX_CONNECTIONS):
        with pytest.raises(ResponseError):
            await ask(direct, "NOSUCH")
    assert await ask(direct, "ECHO", "next") == b"next"
    assert (len(pool._available_connections), len(pool._in_use_connections)) == (1, 0)


async def test_each_blocking_read_has_a_connection_of_its_own(redis_url: str, direct: Redis) -> None:
    client = blocking_client(redis_url)
    reads: list[Any] = [asyncio.ensure_future(client.xread({"in": "0-0"}, block=10_000)) for _ in range(150)]
    await wait_until_async(lambda: _blocked(direct, 150))
    await direct.xadd("in", {"a": "b"})
    assert all(await asyncio.gather(*reads))
    await client.aclose()


async def _blocked(direct: Redis, count: int) -> bool:
    found: Any = await direct.info("clients")
    return bool(found["blocked_clients"] == count)
