"""Depth in the store: written by the holder alone, replaced by minute, bounded; on fakeredis and on the real server."""

from pathlib import Path

import pytest
from redis.asyncio import Redis

from common.errors import Fenced, StoreUnavailable
from common.frames import depth
from common.market.depth.chunk import DepthChunk, pack_chunk
from common.market.depth.history import BookHistory
from common.market.depth.runs import DepthLimits
from common.market.timeframes.timeframe import MINUTE_MS
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.depth import DepthReader, DepthStore
from common.store.keys import SymbolKeys
from common.store.lease import NOTHING_SEEN
from common.store.symbol import SymbolStore
from tests.kit.book_model import FIRST_MID, Move, Venue
from tests.kit.strategies import START_MS
from workers.venues.binance.book_rule import BinanceSpotRule

SYMBOL = "BINANCE:ETHUSDT"
FIRST, SECOND, THIRD = (START_MS + at * MINUTE_MS for at in range(3))


def _packed(chunks: list[DepthChunk]) -> dict[int, bytes]:
    return {chunk.open_ms: pack_chunk(chunk) for chunk in chunks}


async def _claim(client: Redis, token: str) -> None:
    store = SymbolStore(client, SYMBOL, StreamBounds(10, 10))
    await store.release("holder")
    await store.claim(token, NOTHING_SEEN, "test")


async def test_chunks_are_read_by_the_minutes_that_share_a_time_with_the_range(client: Redis) -> None:
    await _claim(client, "holder")
    store, reader = DepthStore(client, SYMBOL, kept=60), DepthReader(client, SYMBOL)
    assert await store.put("holder", {FIRST: b"first", THIRD: b"third"}) == 2
    assert await store.put("holder", {SECOND: b"second"}) == 3
    assert await reader.chunks(FIRST, THIRD + 1) == [b"first", b"second", b"third"]
    assert await reader.chunks(FIRST + 59_999, SECOND) == [b"first"]
    assert await reader.chunks(SECOND - 1, SECOND + 1) == [b"first", b"second"]
    assert await reader.chunks(THIRD + MINUTE_MS, THIRD + 2 * MINUTE_MS) == []
    assert await reader.newest() == b"third"


async def test_a_chunk_replaces_that_of_its_minute(client: Redis) -> None:
    await _claim(client, "holder")
    store = DepthStore(client, SYMBOL, kept=60)
    for chunk in (b"provisional", b"more of it", b"final", b"final"):
        assert await store.put("holder", {FIRST: chunk}) == 1
    assert await DepthReader(client, SYMBOL).chunks(FIRST, FIRST + 1) == [b"final"]


async def test_minutes_with_the_same_book_are_chunks_of_their_own(client: Redis) -> None:
    """A sorted set keeps a member once; chunks differ, for each has its open in it."""
    await _claim(client, "holder")
    history = BookHistory.new(BinanceSpotRule(), DepthLimits(9_900, grace_ms=0))
    venue = Venue()
    history.step(venue.snapshot(), START_MS)
    history.step(venue.move(Move(0, 0, [])), START_MS)
    closed = [chunk for now_ms in (SECOND, THIRD, THIRD + MINUTE_MS) for chunk in history.tick(now_ms)]
    assert await DepthStore(client, SYMBOL, kept=60).put("holder", _packed(closed)) == 3


async def test_the_oldest_chunks_are_dropped(client: Redis) -> None:
    await _claim(client, "holder")
    store, reader = DepthStore(client, SYMBOL, kept=2), DepthReader(client, SYMBOL)
    await store.put("holder", {FIRST: b"first", SECOND: b"second"})
    assert await store.put("holder", {THIRD: b"third"}) == 2
    assert await store.put("holder", {FIRST: b"too old"}) == 2
    assert await reader.chunks(0, THIRD + 1) == [b"second", b"third"]


async def test_only_the_holder_writes(client: Redis) -> None:
    store = DepthStore(client, SYMBOL, kept=2)
    with pytest.raises(Fenced, match=SYMBOL):
        await store.put("before anybody holds it", {FIRST: b"x"})
    await _claim(client, "holder")
    with pytest.raises(Fenced):
        await store.put("somebody else", {FIRST: b"x"})
    assert await DepthReader(client, SYMBOL).newest() is None


async def test_who_has_lost_the_symbol_writes_nothing_more(client: Redis) -> None:
    await _claim(client, "holder")
    store = DepthStore(client, SYMBOL, kept=2)
    await store.put("holder", {FIRST: b"first"})
    await _claim(client, "next")
    with pytest.raises(Fenced):
        await store.put("holder", {FIRST: b"late", SECOND: b"late"})
    assert await DepthReader(client, SYMBOL).chunks(0, THIRD) == [b"first"]


async def test_depth_is_among_the_keys_that_removing_a_symbol_deletes() -> None:
    keys = SymbolKeys(SYMBOL)
    assert keys.depth == "{BINANCE:ETHUSDT}:depth"
    assert keys.depth in keys.all_keys()


async def test_a_store_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    client = commit_client(f"unix://{tmp_path}/nobody")
    with pytest.raises(StoreUnavailable, match=f"write of 1 depth chunks of {SYMBOL}"):
        await DepthStore(client, SYMBOL, kept=2).put("holder", {FIRST: b"x"})
    with pytest.raises(StoreUnavailable):
        await DepthReader(client, SYMBOL).chunks(FIRST, SECOND)
    await client.aclose()


async def test_a_book_of_the_past_comes_back_out_of_the_store(client: Redis) -> None:
    """From diffs to a reader, with a holder that dies in between."""
    await _claim(client, "holder")
    store, reader, venue = DepthStore(client, SYMBOL, kept=60), DepthReader(client, SYMBOL), Venue()
    limits = DepthLimits(reach_bp=9_900)
    history = BookHistory.new(BinanceSpotRule(), limits)
    history.step(venue.snapshot(), START_MS)
    history.step(venue.move(Move(1_000, 0, [(True, 1, 7)])), venue.ts_ms)
    current = history.recorder.current()
    assert current is not None
    await store.put("holder", _packed([current]))

    await _claim(client, "next")
    newest = await reader.newest()
    assert newest is not None
    history = BookHistory.restore(BinanceSpotRule(), limits, newest)
    history.step(venue.snapshot(), START_MS)
    for gap_ms in (20_000, MINUTE_MS):
        closed = history.step(venue.move(Move(gap_ms, 0, [(True, 1, gap_ms)])), venue.ts_ms)
        await store.put("next", _packed(closed))

    chunks = await reader.chunks(FIRST, FIRST + 1)
    runs = depth.runs(chunks, FIRST, SECOND, FIRST_MID - 1, FIRST_MID - 1)
    assert runs.select("size_lots", "from_ms", "until_ms").rows() == [
        (7, START_MS + 1_000, START_MS + 1_001),
        (20_000, START_MS + 21_000, SECOND),
    ]
    assert depth.book_at(chunks[0], START_MS + 2_000) is None
    found = depth.book_at(chunks[0], START_MS + 30_000)
    assert found is not None and found.bids.row(0) == (FIRST_MID - 1, 20_000)
