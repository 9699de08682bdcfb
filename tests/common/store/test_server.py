"""What a server says of itself, and what is made of it: on what servers have been seen to say, and on real ones."""

from collections.abc import Iterator
from typing import Any

import pytest

from common.errors import OperatorError, StoreUnavailable
from common.store import server
from common.store.client import commit_client
from common.store.server import StoreWatch, admit, await_admission, judged, server_info
from tests.kit.store.own_server import OwnServer, own_server, saying

FIT: dict[str, Any] = {
    "redis_version": "7.2.4",
    "valkey_version": "9.1.2",
    "run_id": "a",
    "role": "master",
    "maxmemory": 0,
    "used_memory": 1_000,
    "maxmemory_policy": "noeviction",
    "evicted_keys": 0,
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
}


@pytest.mark.parametrize("appendfsync", ["always", "everysec", "unknown"])
def test_a_store_that_is_fit_has_no_trouble(appendfsync: str) -> None:
    found = judged(FIT, appendfsync)
    assert (found.version, found.persistence, found.eviction, found.writable, found.troubles) == (
        "Valkey 9.1.2",
        appendfsync,
        "noeviction",
        True,
        (),
    )


@pytest.mark.parametrize(
    ("says", "what", "is_fatal", "writable"),
    [
        ({"valkey_version": "6.0.9"}, "version", True, True),
        ({"maxmemory_policy": "allkeys-lru"}, "eviction", True, True),
        ({"maxmemory_policy": "volatile-ttl"}, "eviction", True, True),
        ({"evicted_keys": 3}, "evicted", False, True),
        ({"aof_enabled": 0}, "persistence", False, True),
        ({"role": "slave"}, "replica", False, False),
        ({"aof_last_write_status": "err"}, "disk", False, False),
        ({"rdb_last_bgsave_status": "err"}, "disk", False, False),
        ({"maxmemory": 1_000}, "memory", False, False),
    ],
)
def test_each_trouble_has_its_word(says: dict[str, Any], what: str, is_fatal: bool, writable: bool) -> None:
    found = judged(FIT | says, "always", snapshots="3600 1")
    assert [(trouble.what, trouble.is_fatal) for trouble in found.troubles] == [(what, is_fatal)]
    assert found.writable is writable


def test_what_forces_nothing_to_disk_is_a_trouble() -> None:
    assert [trouble.what for trouble in judged(FIT, "no").troubles] == ["persistence"]


def test_a_failed_snapshot_is_none_where_snapshots_are_not_wanted_or_nobody_knows() -> None:
    for snapshots in ("", "unknown"):
        assert judged(FIT | {"rdb_last_bgsave_status": "err"}, "always", snapshots).troubles == ()


@pytest.mark.parametrize(
    ("version", "is_old"), [("6.0.16", True), ("6.2.0", False), ("10.0.1", False), ("5", True), ("0", True)]
)
def test_versions_are_compared_as_numbers(version: str, is_old: bool) -> None:
    assert server.is_old(version) is is_old


# real servers


@pytest.fixture
def evicting() -> Iterator[OwnServer]:
    with own_server("--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as found:
        yield found


@pytest.mark.process
async def test_a_store_that_evicts_is_refused_in_a_sentence_that_says_how_to_use_it(evicting: OwnServer) -> None:
    async with commit_client(evicting.url) as client:
        with pytest.raises(OperatorError) as caught:
            await admit(client, unsafe=False)
        assert str(caught.value) == (
            "the store may evict keys (maxmemory-policy allkeys-lru), expected noeviction;"
            " FLEET_UNSAFE_STORE=1 works with it all the same"
        )
        await admit(client, unsafe=True)


@pytest.mark.process
async def test_a_store_that_is_too_old_is_refused(evicting: OwnServer) -> None:
    async with commit_client(evicting.url) as client:
        version = (await server_info(client)).version.removeprefix("Valkey ").encode()
        old = b"6.0." + b"9" * (len(version) - 4)
    with saying(evicting.socket, b"valkey_version:" + version, b"valkey_version:" + old) as url:
        async with commit_client(url) as client:
            with pytest.raises(OperatorError, match=f"the store is Valkey {old.decode()}, expected Redis 6.2 or newer"):
                await admit(client, unsafe=False)


async def test_a_store_of_ours_is_admitted(redis_url: str) -> None:
    async with commit_client(redis_url) as client:
        await admit(client, unsafe=False)


@pytest.mark.process
async def test_whoever_is_started_before_the_store_waits_for_it_and_is_refused_then(evicting: OwnServer) -> None:
    asked: list[bool] = []

    async with commit_client("unix:///tmp/there/is/no/such/socket") as nowhere:

        def stopping() -> bool:
            asked.append(True)
            return len(asked) > 2

        await await_admission(nowhere, unsafe=False, stopping=stopping)
        with pytest.raises(StoreUnavailable):
            await admit(nowhere, unsafe=False)
    async with commit_client(evicting.url) as client:
        with pytest.raises(OperatorError):
            await await_admission(client, unsafe=False)


@pytest.mark.process
async def test_a_server_that_denies_config_is_no_trouble() -> None:
    with own_server("--appendonly", "yes", "--user", *"default on nopass ~* &* +@all -config".split()) as managed:
        async with commit_client(managed.url) as client:
            found = await server_info(client)
    assert (found.persistence, found.troubles) == ("unknown", ())


@pytest.mark.process
async def test_a_replica_is_told_by_the_server_itself(redis_url: str) -> None:
    with own_server("--appendonly", "yes", "--replicaof", "127.0.0.1 1") as replica:
        async with commit_client(replica.url) as client:
            found = await server_info(client)
    assert [trouble.what for trouble in found.troubles] == ["replica"] and not found.writable


async def test_a_store_that_is_started_again_and_again_is_a_trouble_for_a_while(redis_url: str) -> None:
    now_s, runs = 0.0, iter(range(100))

    async def look(times: int) -> list[str]:
        for _ in range(times):
            watch._run = f"run {next(runs)}"
            await watch.look()
        return [trouble.what for trouble in watch.troubles]

    async with commit_client(redis_url) as client:
        watch = StoreWatch(client, lambda: now_s)
        await watch.look()
        assert await look(2) == []
        assert await look(1) == ["restarts"]
        now_s = server.STARTS_WITHIN_S + 1
        await watch.look()
        assert watch.troubles == ()
