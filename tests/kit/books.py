"""Books as a worker writes them: the present one, and chunks of its history."""

import random
from itertools import pairwise

from common.market.depth.chunk import DepthChunk, PriceSpan, Run, pack_chunk
from common.store.book import BookSnapshot, BookStore
from common.store.depth import DepthStore
from tests.kit.writer import INSTRUMENT, START_MS, Writer

T0 = START_MS - START_MS % 60_000
# Prices of two decimals, sizes of three.
BOOK = BookSnapshot(
    START_MS + 7, 42, [(10_000, 1_500), (9_990, 1), (9_950, 20)], [(10_005, 250), (10_100, 3_000)], live=True
)


async def put_book(writer: Writer, book: BookSnapshot = BOOK) -> None:
    await BookStore(writer.client, writer.instrument.symbol, writer.instrument.scale).put(writer.token, book)


def example_chunk(until_ms: int = 1_000) -> DepthChunk:
    """Prices of two decimals, sizes of three. The example of the documentation, and an ask."""
    bids = [
        (100, 4, T0, T0 + 400),
        (100, 10, T0 + 400, T0 + 600),
        (100, 2, T0 + 600, T0 + 1_000),
        (101, 3, T0, T0 + 400),
    ]
    asks = [(103, 7, T0, T0 + 1_000)]
    return DepthChunk(T0, T0 + 1_000, [PriceSpan(T0, T0 + until_ms, 98, 105)], bids, asks)


async def put_chunks(writer: Writer, *chunks: DepthChunk) -> None:
    store = DepthStore(writer.client, INSTRUMENT.symbol, 60)
    await store.put(writer.token, {chunk.open_ms: pack_chunk(chunk, INSTRUMENT.scale) for chunk in chunks})


def walking_chunks(first_ms: int, minutes: int) -> list[DepthChunk]:
    """A book that changes every quarter of a second about a middle that walks, known 200 ticks to each side of it."""
    chance, mid, chunks = random.Random(first_ms), 10_000, list[DepthChunk]()
    for open_ms in range(first_ms, first_ms + minutes * 60_000, 60_000):
        mid += chance.randint(-3, 3)
        sides: tuple[list[Run], list[Run]] = ([], [])
        for runs, step in zip(sides, (-1, 1), strict=True):
            for price in range(mid + step, mid + step * 40, step):
                edges = sorted({open_ms, open_ms + 60_000, *(open_ms + 250 * chance.randrange(240) for _ in range(3))})
                runs += [(price, chance.randint(1, 500), a, b) for a, b in pairwise(edges)]
        chunks.append(
            DepthChunk(open_ms, open_ms + 60_000, [PriceSpan(open_ms, open_ms + 60_000, mid - 200, mid + 200)], *sides)
        )
    return chunks
