"""Days of random trades, archived as the jobs do it, and dropped from the store."""

import random
from dataclasses import replace

from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import SERIES
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.market.trade import Trades
from common.series import MINUTE_SERIES
from common.store.keys import SymbolKeys
from common.store.registry import Market
from common.store.rollups import RollupStore
from tests.kit.writer import INSTRUMENT, START_MS, Writer
from workers.rollup.archiving import archive_period
from workers.symbol.commit import CommitHead, make_commit

MARKET, STORE_KEYS = Market(INSTRUMENT), SymbolKeys(INSTRUMENT.symbol)
FIRST_MS = day_of(START_MS) + DAY_MS
BOTH = frozenset({"candles", "footprints"})


async def write_days(writer: Writer, days: int, count: int = 40) -> None:
    """Random trades of so many days, and the first of the next."""
    rng, first_ms = random.Random(days), max(FIRST_MS, day_of(writer.now_ms))
    for day_ms in range(first_ms, first_ms + days * DAY_MS, DAY_MS):
        times = sorted(rng.randrange(day_ms, day_ms + DAY_MS) for _ in range(count))
        await writer.commit(*(writer.trade(at, rng.randint(9_900, 10_100), side=rng.randrange(3)) for at in times))
    await writer.commit(writer.trade(first_ms + days * DAY_MS))


async def archive_all(client: Redis, archive: Archive, market: Market = MARKET) -> None:
    """What the archive jobs do."""
    for series, day_ms in (await RollupStore(client, market.symbol).due()).archive:
        await archive_period(client, market, archive, series, SERIES[series].period.open_of(day_ms))


async def drop_before(writer: Writer, floor_ms: int) -> None:
    """A commit that writes nothing, of a worker that keeps minutes from `floor_ms` on."""
    changes = writer.builder.apply(writer.builder.accept(Trades(), writer.now_ms), writer.now_ms, {})
    head = CommitHead(writer.token, writer.seq, "", {}, format=writer.format)
    commit = make_commit(head, writer.builder, changes, writer.retention)
    await writer.store.commit(replace(commit, floors_ms=dict.fromkeys(MINUTE_SERIES, floor_ms)))
    writer.seq += 1
