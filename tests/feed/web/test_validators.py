"""ETags of closed ranges: the same tag, the same bars; and a client that has them is told so without them."""

import gzip
import random
from typing import Any

import orjson
import pytest

from common.market.timeframes.timeframe import MINUTE_MS
from feed.web.routes import is_held
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, START_MS, Writer, random_step
from tests.scale import scaled

S = INSTRUMENT.symbol
OPEN_MS = START_MS // MINUTE_MS * MINUTE_MS
END_MS = OPEN_MS + 5 * MINUTE_MS
CLOSED: dict[str, Any] = {"timeframe": "1m", "start": OPEN_MS, "end": END_MS}
# Closed sooner or later, by path.
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("candles", CLOSED),
    ("candles", {"timeframe": "5m", "end": OPEN_MS + 60 * MINUTE_MS, "limit": 7, "fill": "flat"}),
    ("candles", {"timeframe": "1h", "start": OPEN_MS, "end": OPEN_MS + 6 * 60 * MINUTE_MS}),
    ("footprint", {"timeframe": "5m", "start": OPEN_MS, "end": OPEN_MS + 30 * MINUTE_MS, "stats": "1"}),
    ("indicators", {"timeframe": "5m", "start": OPEN_MS, "end": OPEN_MS + 30 * MINUTE_MS, "id": "EMA_3,CVD,SAR"}),
    ("orderflow", {"timeframe": "15m", "start": OPEN_MS + 30 * MINUTE_MS, "end": OPEN_MS + 90 * MINUTE_MS}),
]


async def traded(writer: Writer, minutes: int) -> None:
    """A trade a minute, each committed by itself."""
    for minute in range(minutes):
        await writer.commit(writer.trade(OPEN_MS + minute * MINUTE_MS + 100, ticks=10_000 + minute))


async def test_who_has_a_closed_range_is_told_so_and_where_the_symbol_stands(feed: Served, writer: Writer) -> None:
    await traded(writer, 8)
    answer = await feed.get(f"/v1/candles/{S}", **CLOSED)
    tag = answer.headers["etag"]
    assert tag.startswith('W/"') and answer.headers["cache-control"] == "private, no-cache"
    assert len(answer.json()["bars"]) == 5
    # Something else happens meanwhile.
    cursor = await writer.commit(writer.trade())
    held = await feed.http.get(f"/v1/candles/{S}", params=CLOSED, headers={"if-none-match": f'"other", {tag}'})
    assert (held.status_code, held.content) == (304, b"")
    assert held.headers["etag"] == tag and held.headers["cache-control"] == "private, no-cache"
    assert (held.headers["fleet-cursor"], held.headers["fleet-mode"]) == (cursor, "LIVE")
    # Another question, and another form of the answer, is another thing.
    for other in (CLOSED | {"limit": 4}, CLOSED | {"format": "csv"}):
        asked = await feed.http.get(f"/v1/candles/{S}", params=other, headers={"if-none-match": tag})
        assert asked.status_code == 200 and asked.headers["etag"] != tag


async def test_what_changes_a_range_changes_its_tag_and_nothing_else_does(feed: Served, writer: Writer) -> None:
    await traded(writer, 8)

    async def tag() -> str:
        return str((await feed.get(f"/v1/candles/{S}", **CLOSED)).headers["etag"])

    first = await tag()
    # Late, but of a minute behind the range.
    await writer.commit(writer.trade(END_MS + 5))
    assert await tag() == first
    # The first and the last moment of the range.
    await writer.commit(writer.trade(OPEN_MS))
    second = await tag()
    await writer.commit(writer.trade(END_MS - 1))
    third = await tag()
    # A hole that lies in it; and that is filled.
    missing = writer.trade(OPEN_MS + 70_000)
    await writer.commit(writer.trade(OPEN_MS + 80_000))
    fourth = await tag()
    await writer.commit(missing)
    fifth = await tag()
    await writer.claim()
    await writer.commit(writer.trade())
    assert len({first, second, third, fourth, fifth, await tag()}) == 6


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"start": OPEN_MS},
        {"start": OPEN_MS, "end": END_MS + 10 * MINUTE_MS},
        {"end": END_MS + MINUTE_MS, "timeframe": "1h"},
        # Made of trades, which are let go of.
        {"start": OPEN_MS, "end": END_MS, "timeframe": "10s"},
    ],
)
async def test_what_may_grow_has_no_tag_and_is_not_stored(feed: Served, writer: Writer, params: dict[str, Any]) -> None:
    await traded(writer, 8)
    answer = await feed.http.get(f"/v1/candles/{S}", params=params, headers={"if-none-match": "*"})
    assert answer.status_code == 200 and "etag" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"


def told(answer: dict[str, Any], end_ms: int) -> dict[str, Any]:
    """What an answer says of its range: all but what is of now."""
    spans = [[from_ms, min(to_ms, end_ms)] for from_ms, to_ms in answer["coverage"]]
    return {name: value for name, value in answer.items() if name not in ("cursor", "health")} | {"coverage": spans}


@pytest.mark.parametrize("seed", range(scaled(10)))
async def test_with_one_tag_there_is_one_answer_whatever_happens(feed: Served, writer: Writer, seed: int) -> None:
    """Late trades, holes, roll-ups, takeovers, a store that goes back in time."""
    rng, found, again = random.Random(seed), dict[str, object](), 0
    saved = await writer.save()
    for _ in range(80):
        await random_step(writer, rng)
        if rng.random() < 0.03:
            await writer.rewind(saved)
        elif rng.random() < 0.05:
            saved = await writer.save()
        path, params = rng.choice(ASKED)
        answer = await feed.get(f"/v1/{path}/{S}", **params)
        tag = answer.headers.get("etag")
        if tag:
            body = told(answer.json(), params["end"])
            again += tag in found
            assert found.setdefault(tag, body) == body
    # One that never stays proves nothing.
    assert again


def test_a_tag_is_compared_weakly() -> None:
    assert is_held(['W/"a", "b"'], 'W/"b"') and is_held(["*"], 'W/"b"') and is_held(['"x"', '"b"'], 'W/"b"')
    assert not is_held([], 'W/"b"') and not is_held(['"a"', ""], 'W/"b"')


async def test_large_answers_are_compressed_for_who_takes_it(feed: Served, writer: Writer) -> None:
    await traded(writer, 60)
    path = f"/v1/candles/{S}?timeframe=1m"
    async with feed.http.stream("GET", path, headers={"accept-encoding": "gzip"}) as answer:
        packed = b"".join([piece async for piece in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip" and answer.headers["vary"] == "Accept-Encoding"
    plain = await feed.http.get(path, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert orjson.loads(gzip.decompress(packed))["bars"] == plain.json()["bars"]
    assert len(plain.content) > 3 * len(packed)
    small = await feed.http.get("/v1/symbols", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in small.headers


async def test_a_head_request_has_the_headers_alone_and_every_answer_its_time(feed: Served, writer: Writer) -> None:
    await traded(writer, 8)
    head = await feed.http.head(f"/v1/candles/{S}", params=CLOSED)
    whole = await feed.get(f"/v1/candles/{S}", **CLOSED)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == whole.headers["etag"]
    for answer in (head, whole, await feed.get("/nothing")):
        name, _, took = answer.headers["server-timing"].partition(";dur=")
        assert name == "answer" and float(took) >= 0
