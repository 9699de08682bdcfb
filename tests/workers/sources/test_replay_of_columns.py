"""A replay of Parquet, whose columns stay arrays, stores what the same trades as lists do: every key, to the byte."""

import random
import re
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from redis.asyncio.client import PubSub

from common.market.coding import codec
from common.market.instrument import Ids, Instrument
from common.market.timeframes.timeframe import DAY_MS
from common.market.trade import SIDE_NAMES, Trade, Trades
from common.market.trade_arrays import TradeArrays
from common.store.client import commit_client
from common.store.keys import SymbolKeys
from common.store.messages import CommitMessage
from common.store.registry import Market
from common.store.rollups import RollupStore
from tests.kit.replays import replayer
from tests.kit.store.steps import everything
from workers.recordings import TradeFile, parquet
from workers.replay import KIND
from workers.rollup.day import roll_day
from workers.sources.replay import Replay

pytestmark = pytest.mark.anyio

START_MS = 1_699_999_980_000
BATCH, PATIENCE_S = 700, 30


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "CHUNK_ROWS", 2_500)


def recording(seed: int) -> list[Trade]:
    """Busy minutes and quiet ones, over two days; of one thing each that a venue may do to a trade there are some."""
    rng, ts_ms, price, rows = random.Random(seed), START_MS, 50_000, list[Trade]()
    for number in range(1, 9_000):
        ts_ms += rng.randrange(60) if number % 3_000 > 300 else rng.randrange(400_000)
        price = max(1, price + rng.randint(-3, 3))
        rows.append(Trade(ts_ms, number, price, rng.choice((0, 5, rng.randrange(1, 10**6))), rng.randrange(3)))
    for at in range(1_000, len(rows), 1_700):
        # A hole, one that comes later, one that comes twice, and one that is another the second time.
        del rows[at]
        rows.insert(at + 400, rows.pop(at))
        rows.insert(at + 500, rows[at])
        rows.insert(at + 600, rows[at]._replace(price_ticks=1))
    # Of no price, of a time beyond all, and of the future.
    rows.insert(5_500, rows[5_500]._replace(price_ticks=0))
    rows.insert(5_510, rows[5_510]._replace(ts_ms=-5))
    rows.insert(5_520, rows[5_520]._replace(ts_ms=1 << 42))
    return rows


def written(path: Path, rows: list[Trade]) -> Path:
    columns = {
        "ts_ms": [row.ts_ms for row in rows],
        "price": [row.price_ticks / 100 for row in rows],
        "size": [row.size_lots / 10_000 for row in rows],
        "side": [SIDE_NAMES[row.side] for row in rows],
        "id": [row.id for row in rows],
    }
    pl.DataFrame(columns).write_parquet(path)
    return path


def of_lists(frame: pl.DataFrame) -> Trades:
    names = ("#ts_ms", "#id", "#price", "#size", "#side")
    return Trades.of(zip(*(frame[name].to_list() for name in names), strict=True))


async def all_that_is_stored(url: str, instrument: Instrument, files: list[Path]) -> str:
    """Each replayed, and what is due rolled up: the next one has late trades of sealed days. Without our own times."""
    began_ms, market = time.time_ns() // 1_000_000, Market(instrument, {"kind": KIND})
    async with commit_client(url) as client:
        await client.flushall()
        for path in files:
            work = replayer(url, market, Replay([TradeFile(path, instrument)], 4), batch_trades=BATCH)
            await work.run()
            assert work.ended
            for day_ms in (await RollupStore(client, instrument.symbol).due()).days:
                assert await roll_day(client, market, day_ms)
        found = await everything(client)
    found.pop(SymbolKeys(instrument.symbol).owner)
    return re.sub(r"\d{13}", lambda ms: ms[0] if int(ms[0]) < began_ms else "now", repr(found))


def tokens() -> Iterator[str]:
    return (f"{number:032x}" for number in count(1))


@pytest.mark.parametrize("ids", ["contiguous", "unique"])
async def test_a_replay_by_arrays_stores_what_one_by_lists_does(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ids: Ids
) -> None:
    instrument = Instrument("TEST:REPLAY", 2, 4, ids)
    rows = recording(7)
    assert rows[-1].ts_ms - rows[0].ts_ms > 2 * DAY_MS
    late = [row._replace(id=20_000 + at) for at, row in enumerate(rows[::50])]
    files = [written(tmp_path / "a.parquet", rows), written(tmp_path / "b.parquet", late)]
    assert type(next(TradeFile(files[0], instrument).chunks()).trades) is TradeArrays
    stored = []
    for form in (parquet._trades, of_lists):
        monkeypatch.setattr(parquet, "_trades", form)
        made = tokens()
        monkeypatch.setattr("workers.symbol.claims.new_token", lambda made=made: next(made))
        stored.append(await all_that_is_stored(redis_url, instrument, files))
    assert stored[0] == stored[1]
    for reason in ("duplicate", "conflict", "bad_price", "bad_time", "future"):
        assert reason in stored[0]


async def test_a_commit_is_told_with_its_trades_though_they_are_sent_once(redis_url: str, tmp_path: Path) -> None:
    instrument = Instrument("TEST:REPLAY", 2, 4, "contiguous")
    path, keys = written(tmp_path / "a.parquet", recording(1)[:900]), SymbolKeys(instrument.symbol)
    async with commit_client(redis_url) as client, client.pubsub() as pubsub:
        await pubsub.subscribe(keys.commits)
        market = Market(instrument, {"kind": KIND})
        await replayer(redis_url, market, Replay([TradeFile(path, instrument)], 4), batch_trades=BATCH).run()
        entries: Any = await client.xrange(keys.trades)
        told = [message async for message in _messages(pubsub, len(entries))]
    kept = [(int(fields[b"n"]), fields[b"trades"]) for _, fields in entries]
    assert kept[0][0] == BATCH
    assert [(len(codec.unpack_trades(message.trades)), message.trades) for message in told] == kept


async def _messages(pubsub: PubSub, count: int) -> AsyncIterator[CommitMessage]:
    for _ in range(count):
        told = None
        while told is None:
            told = await pubsub.get_message(ignore_subscribe_messages=True, timeout=PATIENCE_S)
        yield CommitMessage.unpack(told["data"])
