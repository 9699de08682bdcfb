"""The feed on a store of an earlier release, of this one, and of a later one."""

import json
from itertools import pairwise

import pytest
from redis.asyncio import Redis

from common.market.builder.spans import Hole
from common.store.format import FORMAT
from common.store.keys import SymbolKeys
from common.store.older import OlderCache
from common.store.reads import SymbolReader
from feed.reading.coverage import MAX_HOLES_TOLD, KnownCoverage
from tests.kit.folding import Folding
from tests.kit.served import Served
from tests.kit.store.recorded import CONTIGUOUS, UNIQUE, restore
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, Writer

pytestmark = pytest.mark.anyio

S = INSTRUMENT.symbol


async def test_a_store_of_an_earlier_release_is_served(feed: Served, client: Redis) -> None:
    await restore(client, 1)
    body = (await feed.http.get(f"/v1/candles/{CONTIGUOUS}")).json()
    assert sum(bar["n"] for bar in body["bars"]) == 50 and body["health"]["gapsDetected"] == 3
    assert [(gap["firstId"], gap["lastId"], gap["state"]) for gap in body["gaps"]] == [
        (21, 21, "repairing"),
        (40, 40, "open"),
        (42, 49, "open"),
    ]
    assert len(body["coverage"]) == 4 and sum("partial" in bar for bar in body["bars"]) == 4
    unique = (await feed.http.get(f"/v1/candles/{UNIQUE}")).json()
    assert sum(bar["n"] for bar in unique["bars"]) == 29 and unique["gaps"] == []


async def test_what_listens_sees_an_upgrade_as_any_commit(feed: Served, writer: Writer, client: Redis) -> None:
    writer.upgrade(1)
    await writer.commit(writer.trade())
    one = Folding(feed, S, "1m", 5_000)
    one.join()
    await wait_until_async(lambda: one.cursor)
    for step in range(12):
        if step == 4:
            writer.upgrade(FORMAT)
        if step % 3 == 2:
            # A hole.
            writer.next_id += 2
        await writer.commit(writer.trade(writer.now_ms + 25_000))
        await wait_until_async(lambda: one.cursor == writer.cursor)
    body = (await feed.http.get(f"/v1/candles/{S}")).json()
    assert one.bars == {bar["t"]: bar for bar in body["bars"]}
    assert len(body["gaps"]) == 4 and sum("partial" in bar for bar in body["bars"])
    await one.leave()


async def test_a_symbol_of_a_later_release_is_answered_503_by_a_sentence(
    feed: Served, writer: Writer, client: Redis
) -> None:
    await writer.commit(writer.trade())
    await client.hset(SymbolKeys(S).state, "format", FORMAT + 1)
    sentence = f"{S} is in format {FORMAT + 1}, and this release knows none above {FORMAT}: use a newer release"
    for path in (f"/v1/candles/{S}", f"/v1/candles/{S}?timeframe=1s", f"/v1/health/{S}", f"/v1/trades/{S}"):
        answer = await feed.http.get(path)
        assert (answer.status_code, answer.json()["error"]) == (503, {"code": "newer_format", "message": sentence})


async def test_older_spans_are_read_only_when_they_have_changed(writer: Writer, client: Redis) -> None:
    older = OlderCache()
    reader = SymbolReader(client, S, older=older)

    async def view() -> tuple[object, int]:
        state = (await reader.view()).state
        assert state and state.coverage("contiguous") == writer.builder.coverage
        return state.older, KnownCoverage.of(state, "contiguous").hole_count

    await writer.commit(writer.trade())
    writer.next_id += 1
    await writer.commit(writer.trade())
    first, holes = await view()
    assert holes == 1
    for _ in range(3):
        await writer.commit(writer.trade(writer.now_ms + 10))
        # The very same: nothing was read, and nothing is made of it again.
        assert await view() == (first, 1) and (await view())[0] is first
    writer.next_id += 1
    await writer.commit(writer.trade())
    second, holes = await view()
    assert second is not first and holes == 2
    # Another writer may have another past.
    await writer.claim()
    await writer.commit(writer.trade())
    third, holes = await view()
    assert third is not second and holes == 2


async def test_of_very_many_holes_an_answer_names_those_next_to_each_other_as_one(feed: Served, writer: Writer) -> None:
    count = MAX_HOLES_TOLD + 500
    for first in range(0, count, 500):
        trades = []
        for number in range(first, first + 500):
            # Half of the holes are near each other, the others are not.
            writer.next_id += 1 if number % 2 else 50
            trades.append(writer.trade(writer.now_ms + 100))
        await writer.commit(*trades)
    body = (await feed.http.get(f"/v1/candles/{S}")).json()
    assert body["health"]["gapsDetected"] == count - 1
    assert len(body["gaps"]) == MAX_HOLES_TOLD and len(body["coverage"]) == MAX_HOLES_TOLD + 1
    spans = [tuple(span) for span in body["coverage"]]
    assert [(gap["from"], gap["to"]) for gap in body["gaps"]] == [(a[1], b[0]) for a, b in pairwise(spans)]
    whole = writer.builder.coverage.holes()
    told = [Hole(gap["firstId"], gap["lastId"], gap["from"], gap["to"]) for gap in body["gaps"]]
    for hole in whole:
        assert any(each.first <= hole.first and hole.last <= each.last for each in told)
    gaps = json.loads((await feed.http.get(f"/v1/gaps/{S}")).content)
    assert gaps["open"] == 0 and gaps["gaps"] == []
