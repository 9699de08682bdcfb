"""How many queries are under way at once: who waits, who begins again, and who is refused."""

import asyncio

import pytest

from feed.reading import lanes
from feed.reading.lanes import MAX_LARGE_ROWS, MAX_LIGHT_ROWS, Busy, LanePlace, Lanes
from feed.reading.memory import Shares
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, Writer

CANDLES, FOOTPRINT = f"/v1/candles/{INSTRUMENT.symbol}", f"/v1/footprint/{INSTRUMENT.symbol}"
LIGHT, LARGE, HEAVY = MAX_LIGHT_ROWS, MAX_LARGE_ROWS, MAX_LARGE_ROWS + 1


class Queries:
    """Each reads so many rows, in two halves, and then waits until it may end."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes, self.may_end = lanes, asyncio.Event()
        self.begun: list[int] = []
        self.reading: list[int] = []

    def ask(self, rows: int) -> asyncio.Task[int]:
        async def query(place: LanePlace) -> int:
            self.begun.append(rows)
            await place.reads(rows // 2)
            await place.reads(rows)
            self.reading.append(rows)
            await self.may_end.wait()
            return rows

        return asyncio.create_task(self.lanes.run(query))


async def some_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_light_query_is_never_behind_large_ones_and_these_are_answered_in_the_end() -> None:
    queries = Queries(Lanes(large_places=2))
    large = [queries.ask(LARGE) for _ in range(30)]
    await some_turns()
    assert queries.reading == [LARGE] * 2
    light = queries.ask(LIGHT)
    await some_turns()
    assert queries.reading == [LARGE, LARGE, LIGHT]
    queries.may_end.set()
    assert await asyncio.gather(light, *large) == [LIGHT] + [LARGE] * 30


async def test_only_heavy_queries_are_refused_and_only_beyond_those_that_may_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "MAX_WAITING", 3)
    refused: list[None] = []
    queries = Queries(Lanes(3, lambda: refused.append(None)))
    heavy = [queries.ask(HEAVY) for _ in range(8)]
    await some_turns()
    # Two of three places are for them, three wait.
    assert queries.reading == [HEAVY] * 2 and len(refused) == 3
    large = queries.ask(LARGE)
    await some_turns()
    assert queries.reading == [HEAVY, HEAVY, LARGE]
    queries.may_end.set()
    found = await asyncio.gather(*heavy, large, return_exceptions=True)
    assert sum(isinstance(one, Busy) for one in found) == 3 and sum(one == HEAVY for one in found) == 5
    # All places are free again.
    assert await asyncio.gather(*(queries.ask(HEAVY) for _ in range(5))) == [HEAVY] * 5


async def test_a_heavy_query_waits_so_long_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MAX_WAIT_S", 0.01)
    queries = Queries(Lanes(1))
    first = queries.ask(HEAVY)
    await some_turns()
    # It has the only place: what reads much waits for it, and is heavy once it reads more than a large one.
    with pytest.raises(Busy):
        async with queries.lanes._place(lanes.Weight.HEAVY):
            raise AssertionError("there is no place")
    queries.may_end.set()
    assert await first == HEAVY and await queries.ask(HEAVY) == HEAVY


async def test_no_large_query_begins_while_much_of_what_was_answered_is_not_read() -> None:
    unsent = [100 << 20]
    queries = Queries(Lanes(2, unsent_bytes=lambda: unsent[0]))
    queries.may_end.set()
    large = queries.ask(LARGE)
    assert await queries.ask(LIGHT) == LIGHT
    await some_turns()
    assert not large.done() and LARGE not in queries.reading
    unsent[0] = 0
    assert await large == LARGE


@pytest.mark.parametrize("memory_mb", [384, 1_024, 16_384])
def test_what_is_kept_and_worked_out_has_room_in_the_memory(memory_mb: int) -> None:
    shares = Shares.of(memory_mb)
    kept = sum(getattr(shares, name) for name in Shares.__slots__ if name.endswith("_bytes"))
    assert 0 < kept < (memory_mb << 20) * 0.4 and shares.large_places >= 1
    assert shares.large_places <= max(1, memory_mb // 300)


async def test_a_feed_refuses_heavy_queries_with_429_and_counts_them(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second closes the minute of the first.
    await writer.commit(writer.trade(), writer.trade(writer.now_ms + 120_000))
    monkeypatch.setattr(lanes, "MAX_LIGHT_ROWS", 0)
    monkeypatch.setattr(lanes, "MAX_LARGE_ROWS", 0)
    monkeypatch.setattr(lanes, "MAX_WAITING", 0)
    release, holding = asyncio.Event(), asyncio.Event()

    async def hold(place: LanePlace) -> None:
        await place.reads(1)
        holding.set()
        await release.wait()

    held = asyncio.create_task(feed.services.queries.lanes.run(hold))
    await holding.wait()
    for path, asked in ((FOOTPRINT, {}), (CANDLES, {"format": "csv"})):
        refused = await feed.get(path, **asked)
        assert refused.status_code == 429 and refused.json()["error"]["code"] == "busy", refused.text
        assert refused.headers["retry-after"] == "1"
    assert "feed_queries_refused_total 2.0" in (await feed.get("/metrics")).text
    assert (await feed.get("/healthz")).status_code == 200
    release.set()
    await held
    monkeypatch.setattr(lanes, "MAX_WAITING", 1)
    assert (await feed.get(FOOTPRINT)).status_code == 200
