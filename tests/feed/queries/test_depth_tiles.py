"""`GET /v1/heatmap/{symbol}` out of stored tiles: it says what the minutes say, and goes on where they end."""

from typing import Any, get_args

import pytest
from redis.asyncio import Redis

from common.frames.liquidity import CellKind
from common.market.depth.chunk import pack_chunk
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, day_of
from common.store.depth import DepthStore
from common.store.keys import SymbolKeys
from common.store.registry import Market
from common.tiles import DEPTH_LEVELS, HOUR_MS
from tests.kit.books import walking_chunks
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, Writer
from workers.rollup.depth_tiles import make_depth_tiles

S = INSTRUMENT.symbol
PATH = f"/v1/heatmap/{S}"
DAY = day_of(1_723_161_600_000)
KEPT_MS = {level.retention: 30 * DAY_MS for level in DEPTH_LEVELS}
PRICES = {"price_min": 99, "price_max": 101}
CELLS = ("t0", "bucketMs", "cols", "p0", "row", "rows", "cells", "best", "scale")


async def _put(writer: Writer, first_ms: int, minutes: int) -> None:
    packed = {chunk.open_ms: pack_chunk(chunk, INSTRUMENT.scale) for chunk in walking_chunks(first_ms, minutes)}
    await DepthStore(writer.client, S, 400).put(writer.token, packed)


async def _make(client: Redis) -> None:
    await make_depth_tiles(client, Market(INSTRUMENT, {"kind": "inbox"}), KEPT_MS)


@pytest.mark.parametrize(
    "asked",
    [
        {"start": DAY + 5 * MINUTE_MS, "end": DAY + 15 * MINUTE_MS, "bucket": "1s", "row": "0.01", **PRICES},
        {"start": DAY + 50 * MINUTE_MS, "end": DAY + 70 * MINUTE_MS, "bucket": "5s", "row": "0.10", **PRICES},
        {"start": DAY, "end": DAY + 2 * HOUR_MS, "bucket": "30s", "row": "0.10", **PRICES},
        {"start": DAY - HOUR_MS, "end": DAY + 3 * HOUR_MS, "bucket": "1m", **PRICES},
        {"start": DAY - DAY_MS, "end": DAY + DAY_MS, "bucket": "1d", "row": "0.10", **PRICES},
    ],
)
async def test_answers_with_and_without_tiles_are_equal(
    feed: Served, client: Redis, writer: Writer, asked: dict[str, Any]
) -> None:
    await _put(writer, DAY + MINUTE_MS, 65)
    before = {cell: await feed.json(PATH, **asked, cell=cell) for cell in get_args(CellKind)}
    await _make(client)
    assert await client.hlen(SymbolKeys(S).tiles(DEPTH_LEVELS[0])) == 2
    for cell in get_args(CellKind):
        after = await feed.json(PATH, **asked, cell=cell)
        assert before[cell]["cells"]["col"]
        if after.get("approx"):
            # Of rows that are sums of stored ones.
            assert cell == "max" and after["row"] > 0.01
        else:
            assert [after[name] for name in CELLS] == [before[cell][name] for name in CELLS]


async def test_tiles_are_what_is_shown(feed: Served, client: Redis, writer: Writer) -> None:
    """Else the test above would say nothing."""
    await _put(writer, DAY, 61)
    await _make(client)
    await client.delete(SymbolKeys(S).depth)
    await _put(writer, DAY + HOUR_MS, 1)
    found = await feed.json(PATH, start=DAY, end=DAY + 10 * MINUTE_MS, bucket="1s", row="0.01")
    assert found["bucketMs"] == 1_000 and found["cells"]["col"] and found["spans"][0][0] == DAY


async def test_what_is_not_kept_so_fine_is_shown_coarser_and_says_so(
    feed: Served, client: Redis, writer: Writer
) -> None:
    await _put(writer, DAY, 61)
    await _make(client)
    await client.delete(SymbolKeys(S).depth, *(SymbolKeys(S).tiles(level) for level in DEPTH_LEVELS[:2]))
    await _put(writer, DAY + 9 * HOUR_MS, 1)
    asked = {"start": DAY, "end": DAY + 10 * MINUTE_MS, "row": "0.01"}
    for bucket, expected in (("250ms", 30_000), ("45s", 60_000), ("1m", 60_000)):
        found = await feed.json(PATH, **asked, bucket=bucket)
        assert (found["bucketMs"], found["row"]) == (expected, 0.1) and found["cells"]["col"], bucket


async def test_a_least_size_is_of_levels_and_so_of_what_is_kept_of_them(
    feed: Served, client: Redis, writer: Writer
) -> None:
    await _put(writer, DAY, 61)
    asked = {"start": DAY, "end": DAY + 10 * MINUTE_MS, "bucket": "1s", "row": "0.01", "min": "0.1"}
    before = await feed.json(PATH, **asked)
    await _make(client)
    assert (await feed.json(PATH, **asked))["cells"] == before["cells"]
