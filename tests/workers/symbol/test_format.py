"""A store that an earlier release wrote: this one goes on in the old form, and in its own once it may."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from common.errors import NewerFormat
from common.market.builder.spans import Spans
from common.market.instrument import Ids, Instrument
from common.store.client import blocking_client, commit_client
from common.store.format import FORMAT
from common.store.keys import FORMAT_KEY, SymbolKeys
from common.store.messages import NEWEST, WHOLE, CommitMessage
from common.store.reads import SymbolReader
from common.store.registry import Market, Registry
from common.store.upgrading import upgrade
from infra.bench.base import process
from tests.kit.replays import replayer
from tests.kit.store.recorded import CONTIGUOUS, UNIQUE, restore
from tests.kit.waiting import wait_until_async
from workers.recordings import TradeFile
from workers.replay import KIND
from workers.sources.replay import Replay

pytestmark = pytest.mark.anyio

# A time after those of the recording (tests/kit/store/recorded.py).
LATER_MS = 1_700_010_000_000
MARKET = Market(Instrument("TEST:INBOX", 2, 3, "contiguous"), {"kind": "inbox", "trim": True})


async def replay(url: str, path: Path, symbol: str, ids: Ids, *numbers: int) -> None:
    rows = [f"{LATER_MS + 1_000 * number},100.5,2,buy,{number}" for number in numbers]
    await asyncio.to_thread(path.write_text, "\n".join(["ts_ms,price,size,side,id", *rows]) + "\n")
    instrument = Instrument(symbol, 2, 3, ids)
    market = Market(instrument, {"kind": KIND, "simulated": False})
    progress = await replayer(url, market, Replay([TradeFile(path, instrument)], 4)).run()
    assert progress.applied == len(numbers)


async def state_of(client: Redis, symbol: str) -> dict[bytes, bytes]:
    found: Any = await client.hgetall(SymbolKeys(symbol).state)
    return dict(found)


async def ids_of(client: Redis, symbol: str) -> list[tuple[int, ...]]:
    state = (await SymbolReader(client, symbol).view()).state
    assert state
    return [span[:2] for span in state.coverage("contiguous").spans()]


async def test_an_older_store_is_written_in_its_own_form_until_it_may_be_upgraded(
    redis_url: str, tmp_path: Path
) -> None:
    file, keys = tmp_path / "more.csv", SymbolKeys(CONTIGUOUS)
    async with commit_client(redis_url) as client:
        await restore(client, 1)
        await replay(redis_url, file, CONTIGUOUS, "contiguous", 40, 70)
        await replay(redis_url, file, UNIQUE, "unique", 40)
        expected = [(1, 20), (22, 41), (50, 60), (70, 70)]
        assert await ids_of(client, CONTIGUOUS) == expected
        state = await state_of(client, CONTIGUOUS)
        assert [tuple(row[:2]) for row in json.loads(state[b"coverage"])[1:]] == expected
        for symbol in (CONTIGUOUS, UNIQUE):
            assert not {b"format", b"newest_span"} & (await state_of(client, symbol)).keys()
        assert not await client.exists(keys.coverage)

        assert await upgrade(client, 300) == 1
        # Lazily: nothing has changed yet.
        assert await state_of(client, CONTIGUOUS) == state
        await replay(redis_url, file, CONTIGUOUS, "contiguous", 71)
        await replay(redis_url, file, UNIQUE, "unique", 41)
        assert await ids_of(client, CONTIGUOUS) == [*expected[:3], (70, 71)]
        for symbol in (CONTIGUOUS, UNIQUE):
            state = await state_of(client, symbol)
            assert state[b"format"] == b"%d" % FORMAT and b"coverage" not in state
        chunks: Any = await client.hgetall(keys.coverage)
        newest = json.loads((await state_of(client, CONTIGUOUS))[b"newest_span"])
        assert [row[:2] for row in newest[1:]] == [[70, 71]]
        (older,) = (Spans.load({int(number): chunk}) for number, chunk in chunks.items())
        assert [span[:2] for span in older] == expected[:3]
        await replay(redis_url, file, CONTIGUOUS, "contiguous", 21, *range(61, 70))
        assert await ids_of(client, CONTIGUOUS) == [(1, 41), (50, 71)]
        ledger = await SymbolReader(client, CONTIGUOUS).gaps()
        assert {gap.id: gap.missing for gap in ledger.gaps.values() if not gap.over} == {"42-49": 8}


@pytest.mark.process
async def test_a_worker_that_runs_takes_on_the_new_form_with_its_next_commit(redis_url: str) -> None:
    async with commit_client(redis_url) as client, blocking_client(redis_url) as listener:
        await Registry(client).add_symbol(MARKET)
        # As if it had been registered by an earlier release.
        await client.delete(FORMAT_KEY)
        pubsub = listener.pubsub()
        await pubsub.subscribe(SymbolKeys(MARKET.symbol).commits)
        versions: list[int] = []

        async def push(number: int) -> None:
            fields: Any = {"ts_ms": LATER_MS + number, "price": "1", "size": "1", "side": "buy", "id": number}
            await client.xadd(SymbolKeys(MARKET.symbol).inbox, fields)

        async def hears(version: int) -> bool:
            told = await pubsub.get_message(ignore_subscribe_messages=True, timeout=0.01)
            if told:
                versions.append(CommitMessage.unpack(told["data"]).version)
            return versions[-1:] == [version]

        async with process(redis_url, "-m", "workers"):
            for number in (1, 5):
                await push(number)
            await wait_until_async(lambda: hears(WHOLE), timeout_s=30)
            assert b"format" not in await state_of(client, MARKET.symbol)
            await upgrade(client, 6_000)

            async def pushed_in_the_new_form() -> bool:
                await push(10 + len(versions))
                return await hears(NEWEST)

            await wait_until_async(pushed_in_the_new_form, timeout_s=30)
            state = await state_of(client, MARKET.symbol)
            assert state[b"format"] == b"%d" % FORMAT
            # Of one lease: it was never given back.
            assert (await client.hget(SymbolKeys(MARKET.symbol).owner, "epoch")) == b"1"
        await pubsub.unsubscribe()


@pytest.mark.process
async def test_a_worker_stops_in_order_when_the_store_becomes_one_of_a_later_release(redis_url: str) -> None:
    async with commit_client(redis_url) as client:
        await Registry(client).add_symbol(MARKET)
        owner = SymbolKeys(MARKET.symbol).owner

        async def is_held() -> bool:
            return bool(await client.hget(owner, "token"))

        async with process(redis_url, "-m", "workers") as worker:
            await wait_until_async(is_held, timeout_s=30)
            await client.set(FORMAT_KEY, FORMAT + 1)
            await client.incr("{}:symbols")
            assert await worker.wait() == 1
        # Given back, and not left to a lease.
        assert not await is_held()
        with pytest.raises(NewerFormat):
            await replayer(redis_url, MARKET, Replay([], 4)).run()
