"""`/v1/events/{symbol}`: what happened to it."""

from typing import Any

import pytest
from redis.asyncio import Redis

from common.market.timeframes.timeframe import MINUTE_MS
from common.store.events import PAGE
from common.store.keys import SymbolKeys
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, START_MS, Writer

S = INSTRUMENT.symbol
PATH = f"/v1/events/{S}"
FIRST_MS = START_MS - START_MS % MINUTE_MS + MINUTE_MS


async def closed_and_amended(writer: Writer) -> None:
    await writer.commit(writer.trade(FIRST_MS, ticks=10_000, lots=5), health={"mode": "LIVE"})
    await writer.commit(writer.trade(FIRST_MS + 2 * MINUTE_MS))
    await writer.commit(
        writer.trade(FIRST_MS + 1, ticks=10_500, lots=2), health={"mode": "DEGRADED", "reason": "throttled"}
    )
    await writer.claim()


async def test_events_are_told_with_what_was_before(feed: Served, writer: Writer) -> None:
    await closed_and_amended(writer)
    answer = await feed.json(PATH)
    closed, amended, health, taken = answer["events"]
    assert [event["type"] for event in answer["events"]] == ["candle", "amend", "health", "taken"]
    assert closed["bar"]["c"] == 100 and closed["bar"] == amended["before"]
    assert (amended["bar"]["c"], amended["bar"]["rev"]) == (105, 1)
    assert (health["mode"], health["reason"], health["was"]["mode"]) == ("DEGRADED", "throttled", "LIVE")
    assert taken["token"] == writer.token
    ids = [event["eventId"] for event in answer["events"]]
    assert ids == ["2-1", "3-1", "3-2", "3-3"] and answer["last"] == "3-3" and not answer["more"]
    times = [event["at"] for event in answer["events"]]
    assert times == sorted(times) and times[0] > 0


async def test_who_comes_back_with_the_last_id_is_told_each_event_once(feed: Served, writer: Writer) -> None:
    await closed_and_amended(writer)
    whole = (await feed.json(PATH))["events"]
    told: list[Any] = []
    last, more = "0-0", True
    while more:
        answer = await feed.json(PATH, after=last, limit=1)
        told += answer["events"]
        last, more = answer["last"], answer["more"]
    assert told == whole
    assert (await feed.json(PATH, after=last))["events"] == []
    await writer.commit(writer.trade(FIRST_MS + 5 * MINUTE_MS))
    (event,) = (await feed.json(PATH, after=last, types="candle"))["events"]
    assert event["eventId"] == "4-1"


async def test_the_newest_of_some_types_are_found_behind_many_others(
    feed: Served, writer: Writer, client: Redis
) -> None:
    await closed_and_amended(writer)
    pipe = client.pipeline(transaction=False)
    for number in range(PAGE + 10):
        pipe.xadd(SymbolKeys(S).events, {"event": b'{"type":"candle","n":1}'}, id=f"{number + 4}-1")
    await pipe.execute()
    answer = await feed.json(PATH, types="amend,taken", limit=5)
    assert [event["type"] for event in answer["events"]] == ["amend", "taken"]
    assert (answer["last"], answer["more"]) == (f"{PAGE + 13}-1", False)
    newest = await feed.json(PATH, limit=2)
    assert ([event["eventId"] for event in newest["events"]], newest["more"]) == (
        [f"{PAGE + 12}-1", f"{PAGE + 13}-1"],
        True,
    )
    # Of an earlier release: when it was is not known.
    assert newest["events"][0]["at"] is None
    back = await feed.json(PATH, after="3-3", types="taken")
    assert (back["events"], back["last"], back["more"]) == ([], f"{PAGE + 13}-1", False)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"after": "x"}, "after is 'x', expected the id of an event such as 41-1"),
        ({"types": "nothing"}, "types has 'nothing', expected some of candle,amend,gap,health,taken"),
        ({"limit": 1001}, "limit is 1001, expected 1 to 1000"),
    ],
)
async def test_what_is_wrong_is_said(feed: Served, writer: Writer, params: dict[str, Any], message: str) -> None:
    answer = await feed.get(PATH, **params)
    assert answer.status_code == 400 and answer.json()["error"]["message"].startswith(message)


async def test_a_symbol_to_which_nothing_has_happened_has_no_events(feed: Served, writer: Writer) -> None:
    assert await feed.json(PATH) == {"symbol": S, "events": [], "last": "0-0", "more": False}
