"""Traded cells below a minute out of tiles are those of the trades, and stay when the trades have gone."""

import random
import re
from typing import Any

import pytest
from redis.asyncio import Redis

from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS
from common.store.format import TRADED_TILES
from common.store.keys import SymbolKeys
from common.store.registry import Market
from common.store.tiles import TileStore
from common.tiles import HOUR_MS, TRADE_LEVELS
from feed.bars.trade_tiles import TradeTiles
from tests.kit.flow_asked import answered, price, size
from tests.kit.served import Served, served
from tests.kit.traded_cells import PATH, cells, of_trades
from tests.kit.writer import INSTRUMENT, START_MS, Writer, random_step, some_trades
from tests.scale import scaled
from workers.rollup.trade_tiles import make_trade_tiles

KEYS = SymbolKeys(INSTRUMENT.symbol)
BUCKETS = (50, 100, 250, 1_000, 5_000, 30_000)
FOREVER = dict.fromkeys(TRADE_LEVELS, 1_000 * DAY_MS)
FINEST, SECONDS, HALVES = TRADE_LEVELS
# Whole minutes from here on.
T0 = START_MS // DAY_MS * DAY_MS + DAY_MS


async def make(client: Redis, kept: dict[Any, int] = FOREVER) -> None:
    await make_trade_tiles(client, Market(INSTRUMENT), kept)


@pytest.fixture
def heights(monkeypatch: pytest.MonkeyPatch) -> list[frozenset[int]]:
    """Of the rows of tiles, of each time that there were some."""
    read, found = TradeTiles.read, list[frozenset[int]]()

    async def noted(self: TradeTiles, *given: Any) -> Any:
        tiled = await read(self, *given)
        if tiled:
            found.append(tiled.heights)
        return tiled

    monkeypatch.setattr(TradeTiles, "read", noted)
    return found


async def busy(writer: Writer, hours: int, seed: int = 1) -> None:
    """Hours of trades, one of them nearly empty."""
    rng = random.Random(seed)
    for hour in range(hours):
        for at in range(3 if hour != 1 else 1):
            start_ms = T0 + hour * HOUR_MS + at * 20 * MINUTE_MS
            times = sorted(start_ms + rng.randrange(20 * MINUTE_MS) for _ in range(40))
            await writer.commit(
                *(
                    writer.trade(ts_ms, 1_000_000 + rng.randint(0, 400), rng.randint(0, 50), rng.randrange(3))
                    for ts_ms in times
                )
            )
    await writer.commit(writer.trade(T0 + hours * HOUR_MS + 1, 1_000_000))


@pytest.mark.parametrize("seed", range(scaled(40)))
async def test_whatever_comes_late_cells_are_the_sums_of_the_trades(
    feed: Served, writer: Writer, client: Redis, heights: list[frozenset[int]], seed: int
) -> None:
    rng = random.Random(seed)
    for _ in range(6):
        for _ in range(rng.randint(1, 6)):
            await random_step(writer, rng)
        await writer.commit(*some_trades(writer, rng, 40))
        if rng.random() < 0.8:
            await make(client)
        for _ in range(rng.randint(0, 2)):
            await random_step(writer, rng)
        trades = [applied.trade for applied in writer.applied]
        for bucket_ms in BUCKETS:
            end = rng.choice(trades).ts_ms + rng.randrange(bucket_ms) + 1
            start = max(START_MS, end - rng.randrange(1, 600) * bucket_ms)
            first, last = start // bucket_ms * bucket_ms, -(-end // bucket_ms) * bucket_ms
            row_ticks = rng.choice((1, 10, 50))
            expected = of_trades([each for each in trades if first <= each.ts_ms < last], bucket_ms, row_ticks)
            window = {"start": start, "end": end, "bucket": f"{bucket_ms}ms", "price_min": 85, "price_max": 115}
            assert await cells(feed, row_ticks, **window) == expected, (bucket_ms, row_ticks)
    assert heights


async def test_answers_with_tiles_and_without_are_the_same(
    feed: Served, writer: Writer, client: Redis, redis_url: str, heights: list[frozenset[int]]
) -> None:
    await busy(writer, 26)
    await make(client)
    counts = [await client.hlen(KEYS.tiles(level)) for level in TRADE_LEVELS]
    assert counts == [26 * 60, 26, 1]
    end = T0 + 25 * HOUR_MS + 7 * MINUTE_MS
    forms: list[dict[str, Any]] = [{}, {"max_rows": 7}, {"row": price(1_000)}, {"format": "grid"}]
    forms.append({"row": price(100), "min": size(20)})
    questions: list[dict[str, Any]] = [
        {"kind": "traded", "end": end, "bucket": f"{bucket_ms}ms", "start": end - length_ms} | asked
        for bucket_ms in BUCKETS
        for length_ms in (min(8_000 * bucket_ms, 24 * HOUR_MS), 95_000)
        for asked in forms
    ]
    with_tiles = [await _said(feed, asked) for asked in questions]
    # Of one tick where rows were finer, of coarse ones where they could be.
    assert {frozenset({1}), frozenset({100})} <= set(heights)
    heights.clear()
    await client.delete(*map(KEYS.tiles, TRADE_LEVELS))
    async with served(redis_url) as other:
        for asked, said in zip(questions, with_tiles, strict=True):
            assert await _said(other, asked) == said, asked
    assert not heights


async def _said(feed: Served, asked: dict[str, Any]) -> bytes:
    response = await feed.get(PATH, **asked)
    assert response.status_code == 200, response.text
    return re.sub(rb'"health":{[^}]*}', b"", response.content)


async def test_what_the_stream_has_lost_is_shown_by_tiles_and_what_these_have_lost_by_coarser_ones(
    feed: Served, writer: Writer, client: Redis
) -> None:
    writer.trades_kept = 130
    for hours in range(1, 6):
        rng = random.Random(hours)
        for at in range(100):
            ts_ms = T0 + (hours - 1) * HOUR_MS + at * 36_000
            await writer.commit(writer.trade(ts_ms, 1_000_000 + rng.randint(0, 400)))
        await writer.commit(writer.trade(T0 + hours * HOUR_MS, 1_000_000))
        await make(client, {FINEST: 2 * HOUR_MS, SECONDS: 4 * HOUR_MS, HALVES: 9 * DAY_MS})
    trades = [applied.trade for applied in writer.applied]

    async def told(hour: int, row_ticks: int = 100) -> str:
        window = {"start": T0 + hour * HOUR_MS + 100_000, "end": T0 + hour * HOUR_MS + 300_000}
        asked = {"bucket": "50ms"} | window
        found = await answered(feed, PATH, kind="traded", row=price(row_ticks), **asked)
        first, bucket_ms = found["t0"], found["bucketMs"]
        some = [each for each in trades if first <= each.ts_ms < first + found["cols"] * bucket_ms]
        assert await cells(
            feed,
            row_ticks,
            **asked,
        ) == of_trades(some, bucket_ms, row_ticks)
        assert "partial" not in found
        return str(found["bucket"])

    assert [await told(hour) for hour in (4, 3, 2, 1, 0)] == ["50ms", "50ms", "1s", "1s", "1m"]
    assert [await told(hour, 1) for hour in (4, 3, 2)] == ["50ms", "50ms", "1m"]


async def test_what_is_amended_while_tiles_are_made_is_not_taken(
    writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await busy(writer, 2)
    whole, amended = T0, T0 + 90 * MINUTE_MS
    put, late = TileStore.put, [writer.trade(amended, 1_000_007)]

    async def overtaken(self: TileStore, *given: Any) -> Any:
        if late:
            await writer.commit(late.pop())
        return await put(self, *given)

    monkeypatch.setattr(TileStore, "put", overtaken)
    await make(client)
    opens = set(map(int, await client.hkeys(KEYS.tiles(FINEST))))
    assert whole in opens and amended not in opens
    assert await client.hkeys(KEYS.tiles(SECONDS)) == [b"%d" % whole]
    await make(client)
    assert await client.hexists(KEYS.tiles(FINEST), str(amended)) and await client.hlen(KEYS.tiles(SECONDS)) == 2
    await writer.commit(writer.trade(amended + 1, 1_000_008))
    assert not await client.hexists(KEYS.tiles(FINEST), str(amended))
    assert await client.hkeys(KEYS.tiles(SECONDS)) == [b"%d" % whole]


async def test_another_holder_s_store_takes_none(
    writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await busy(writer, 1)
    put = TileStore.put

    async def overtaken(self: TileStore, *given: Any) -> Any:
        await writer.claim()
        await writer.commit()
        return await put(self, *given)

    monkeypatch.setattr(TileStore, "put", overtaken)
    await make(client)
    assert not await client.exists(KEYS.tiles(FINEST)) and not await client.hexists(KEYS.rollup, "tiled")


async def test_none_are_made_while_an_earlier_release_may_write(writer: Writer, client: Redis) -> None:
    writer.format = TRADED_TILES - 1
    writer.upgrade(writer.format)
    await busy(writer, 1)
    await make(client)
    assert not await client.exists(KEYS.tiles(FINEST))
