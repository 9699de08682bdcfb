"""The current book in the store: written by the holder alone, live only while its writer holds; on both servers."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from common.errors import Fenced, StoreUnavailable
from common.market.scale import Scale
from common.market.trade import MAX_LOTS, MAX_TICKS
from common.store.book import MAX_BOOK_LEVELS, BookReader, BookSnapshot, BookStore
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.keys import SymbolKeys
from common.store.registry import Registry
from common.store.symbol import SymbolStore
from tests.kit.store.steps import SYMBOL, claim, everything
from tests.kit.strategies import LAW

A, B = "a" * 32, "b" * 32
BOOK = BookSnapshot(1_700_000_000_123, 42, [(100, 5), (99, 7)], [(101, 1)], live=True)
SCALE = Scale(2, 3)
LEVELS = st.lists(st.tuples(st.integers(1, MAX_TICKS - 1), st.integers(0, MAX_LOTS - 1)), max_size=8)


@LAW
@given(LEVELS, LEVELS)
def test_what_is_packed_comes_back(bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> None:
    book = replace(BOOK, bids=bids, asks=asks)
    assert BookSnapshot.unpack(book.ts_ms, book.update_id, book.pack(), live=True) == book


def test_the_packed_form_is_as_documented() -> None:
    words = (100, 5, 99, 7, 101, 1)
    counts = (2).to_bytes(4, "little") + (1).to_bytes(4, "little")
    assert BOOK.pack() == counts + b"".join(word.to_bytes(8, "little", signed=True) for word in words)


async def test_a_book_is_read_in_the_scale_that_is_asked_for(client: Redis) -> None:
    """Also one of an earlier release, which does not say of which it is."""
    await claim(SymbolStore(client, SYMBOL, StreamBounds(10, 10)), A)
    await BookStore(client, SYMBOL, SCALE).put(A, BOOK)
    finer = await BookReader(client, SYMBOL, Scale(3, 5)).book()
    assert finer == replace(BOOK, bids=[(1_000, 500), (990, 700)], asks=[(1_010, 100)])
    assert await BookReader(client, SYMBOL, Scale(1, 3)).book() is None
    await client.hdel(SymbolKeys(SYMBOL).book, "scale")
    assert await BookReader(client, SYMBOL, Scale(3, 5)).book() == BOOK


async def test_a_book_that_was_never_put_is_none(client: Redis) -> None:
    assert await BookReader(client, SYMBOL, SCALE).book() is None


async def test_the_last_book_put_is_read(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    books, reader = BookStore(client, SYMBOL, SCALE), BookReader(client, SYMBOL, SCALE)
    uncounted = BookSnapshot(1, -1, [], [(7, 9)], live=False)
    for book in (BOOK, replace(BOOK, live=False), uncounted, BOOK):
        await books.put(A, book)
        assert await reader.book() == book


async def test_levels_beyond_the_bound_are_left_out_on_each_side(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    bids = [(10_000 - at, at) for at in range(MAX_BOOK_LEVELS + 3)]
    asks = [(10_001 + at, at) for at in range(MAX_BOOK_LEVELS + 1)]
    await BookStore(client, SYMBOL, SCALE).put(A, replace(BOOK, bids=bids, asks=asks))
    found = await BookReader(client, SYMBOL, SCALE).book()
    assert found == replace(BOOK, bids=bids[:MAX_BOOK_LEVELS], asks=asks[:MAX_BOOK_LEVELS])


async def test_only_the_holder_writes(client: Redis, store: SymbolStore) -> None:
    books = BookStore(client, SYMBOL, SCALE)
    with pytest.raises(Fenced, match=SYMBOL):
        await books.put(A, BOOK)
    await claim(store, A)
    await books.put(A, BOOK)
    before = await everything(client)
    with pytest.raises(Fenced):
        await books.put(B, replace(BOOK, ts_ms=BOOK.ts_ms + 1))
    assert await everything(client) == before


async def test_a_former_holder_s_book_is_kept_but_not_live(client: Redis, store: SymbolStore) -> None:
    books, reader = BookStore(client, SYMBOL, SCALE), BookReader(client, SYMBOL, SCALE)
    await claim(store, A)
    await books.put(A, BOOK)
    await store.release(A)
    assert await reader.book() == replace(BOOK, live=False)
    await claim(store, B)
    assert await reader.book() == replace(BOOK, live=False)
    with pytest.raises(Fenced):
        await books.put(A, BOOK)
    await books.put(B, BOOK)
    assert await reader.book() == BOOK


async def test_the_book_goes_with_a_symbol_that_is_purged(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    await BookStore(client, SYMBOL, SCALE).put(A, BOOK)
    assert SymbolKeys(SYMBOL).book in await everything(client)
    await Registry(client).remove_symbol(SYMBOL, purge=True)
    assert await everything(client) == {}


async def test_a_store_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    client = commit_client(f"unix://{tmp_path}/nobody")
    with pytest.raises(StoreUnavailable, match=f"write of the book of {SYMBOL}"):
        await BookStore(client, SYMBOL, SCALE).put(A, BOOK)
    with pytest.raises(StoreUnavailable, match=f"read of the book of {SYMBOL}"):
        await BookReader(client, SYMBOL, SCALE).book()
    await client.aclose()
