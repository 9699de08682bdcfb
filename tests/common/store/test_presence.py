"""Which processes there are, on both servers."""

import asyncio
import tomllib
from typing import Any

import pytest
from redis.asyncio import Redis

from common.errors import StoreUnavailable
from common.release import RELEASE
from common.store import presence
from common.store.format import FORMAT
from common.store.keys import PROCESSES
from common.store.lease import holder_name
from common.store.presence import WORKER, Presence, Process, present, processes, workers_wanted
from infra.paths import ROOT
from tests.kit.waiting import wait_until_async

US = Process(holder_name(), WORKER, 0, 50)


async def test_a_process_is_there_while_it_says_so(client: Redis) -> None:
    assert await processes(client) == []
    async with present(client, WORKER, 50, lambda: 12):
        await wait_until_async(lambda: processes(client))
        assert await processes(client) == [US._replace(held=12)]
    assert await processes(client) == []
    assert not await client.exists(PROCESSES)


async def test_an_error_of_any_kind_does_not_make_a_process_silent(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "SAY_EVERY_S", 0.01)
    troubles = [ValueError("a bug"), StoreUnavailable("away")]

    def held() -> int:
        if troubles:
            raise troubles.pop()
        return 12

    async with present(client, WORKER, 50, held):
        await wait_until_async(lambda: not troubles)
        await wait_until_async(lambda: processes(client))


async def test_a_block_ends_also_where_its_cancellation_is_swallowed(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "CANCEL_EVERY_S", 0.01)
    swallowed = 0

    async def deaf(*_: object) -> None:
        nonlocal swallowed
        while swallowed < 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1
        await asyncio.sleep(60)

    monkeypatch.setattr(presence, "_keep_saying", deaf)
    async with present(client, WORKER):
        await asyncio.sleep(0)
    assert swallowed == 2


async def test_the_last_word_of_a_process_counts(client: Redis) -> None:
    ours = Presence(client, WORKER, 50)
    for held in (3, 3, 7):
        await ours.say(held)
    assert await processes(client) == [US._replace(held=7)]
    assert await client.zcard(PROCESSES) == 1
    # The reply to the word before was lost, so nobody took it back.
    await Presence(client, WORKER, 50).say(8)
    assert await processes(client) == [US._replace(held=8)]


async def test_one_that_says_nothing_any_more_is_forgotten_by_the_servers_clock(client: Redis) -> None:
    await Presence(client, WORKER).say()
    await client.zadd(PROCESSES, {Process("gone:1", "clock").member(): 1})
    assert [process.name for process in await processes(client)] == [holder_name()]
    await Presence(client, WORKER).say()
    assert await client.zcard(PROCESSES) == 1
    found: Any = await client.zrange(PROCESSES, 0, -1, withscores=True)
    ((_, until),), (seconds, _) = found, await client.time()
    assert seconds * 1_000 < until <= (seconds + 1) * 1_000 + presence.PRESENT_FOR_MS


async def test_there_are_never_more_of_them_than_the_bound(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "MAX_PROCESSES", 3)
    seconds, _ = await client.time()
    await client.zadd(PROCESSES, {Process(f"h:{n}", "web").member(): seconds * 1_000 + 5_000 + n for n in range(5)})
    await Presence(client, WORKER).say()
    # Those that are forgotten first have gone.
    assert {process.name for process in await processes(client)} == {"h:3", "h:4", holder_name()}


async def test_a_store_that_was_away_or_emptied_is_told_again(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([StoreUnavailable("away")] * 3)
    say = Presence.say

    async def refused(ours: Presence, held: int = 0) -> None:
        for failure in failures:
            raise failure
        await say(ours, held)

    monkeypatch.setattr(presence, "SAY_EVERY_S", 0.005)
    monkeypatch.setattr(Presence, "say", refused)
    async with present(client, WORKER, 50):
        for _ in range(3):
            await wait_until_async(lambda: processes(client))
            await client.delete(PROCESSES)
    assert next(failures, None) is None


@pytest.mark.parametrize("member", ["", "h:1 worker", "h:1 worker x 5 0.1.0/1", "h:1 worker 1 5 0.1.0", "a b c d e f"])
async def test_the_word_of_another_release_is_passed_over(client: Redis, member: str) -> None:
    seconds, _ = await client.time()
    await client.zadd(PROCESSES, {member: (seconds + 60) * 1_000})
    assert await processes(client) == []


def test_a_member_tells_all_of_a_process() -> None:
    found = Process("host:17", "worker", 3, 50, "0.2.0-rc.1", 7)
    assert found.member() == "host:17 worker 3 50 0.2.0-rc.1/7"
    assert Process.parse(found.member()) == found
    assert (US.release, US.format) == (RELEASE, FORMAT)


@pytest.mark.parametrize(
    ("symbols", "per_worker", "spares", "wanted"),
    [(0, 50, 3, 0), (1, 50, 0, 1), (50, 50, 0, 1), (51, 50, 0, 2), (1_000, 50, 3, 23), (3, 1, 1, 4)],
)
def test_workers_are_wanted_for_all_symbols_and_spares_beyond(
    symbols: int, per_worker: int, spares: int, wanted: int
) -> None:
    assert workers_wanted(symbols, per_worker, spares) == wanted


def test_the_release_is_that_of_the_project() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == RELEASE
