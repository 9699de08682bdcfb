"""A symbol of which the archive alone has the older days; with late trades of these, and jobs that die."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import CANDLE_ROWS, FOOTPRINT_ROWS, SERIES
from common.frames import decode
from common.frames.schema import DELTA_RANGE
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe, day_of
from common.market.trade import Trade
from common.store.client import commit_client
from common.store.minute_archive import MinuteArchive
from common.store.registry import Market
from common.store.rollups import Due, RollupStore
from feed.bars.footprints import FootprintQuery
from feed.queries.candles import CandleQuery
from feed.queries.queries import Queries
from feed.reading.bounds import Window
from tests.kit.archive.days import BOTH, FIRST_MS
from tests.kit.asked import candles_of, footprint_of
from tests.kit.bars_oracle import minutes_applied, of_applied
from tests.kit.footprints_oracle import Sums, summed, told_sums
from tests.kit.writer import INSTRUMENT, Writer
from workers.rollup.archiving import archive_period
from workers.rollup.older import older_minutes
from workers.symbol.commit import Retention

TIMEFRAMES = [Timeframe.parse(name) for name in ("1m", "15m", "7h", "1d", "1w")]
FOOTPRINTS = [Timeframe.parse(name) for name in ("1m", "4h")]
DAYS, KEPT_DAYS, KEPT_FOOTPRINT_DAYS = 8, 4, 2


class Died(Exception):
    """A job that is killed."""


class ArchivedSymbol:
    """A symbol of which the archive alone has the older days, its jobs, and feeds that read it."""

    def __init__(self, client: Redis, place: Path, instrument: Instrument = INSTRUMENT) -> None:
        self.client, self.place, self.archive = client, place, Archive.open(str(place))
        self.market, self.store = Market(instrument), RollupStore(client, instrument.symbol)
        self.writer = Writer(client, instrument, archived=BOTH)
        self.writer.retention = Retention(KEPT_DAYS, KEPT_FOOTPRINT_DAYS)
        self.writer.older = partial(older_minutes, self.archive)
        self.kept = self.feed()

    def feed(self) -> Queries:
        return Queries(self.client, 6_000, archive=self.archive)

    async def write_day(self, rng: random.Random, count: int = 30) -> None:
        """Trades of the next day, and the first of the one after it; what is archived and old is dropped."""
        day_ms = max(FIRST_MS, day_of(self.writer.now_ms))
        times = sorted(rng.randrange(day_ms, day_ms + DAY_MS - MINUTE_MS) for _ in range(count))
        await self.writer.commit(*(self.trade(rng, at_ms) for at_ms in times))
        await self.writer.commit(self.writer.trade(day_ms + DAY_MS))
        await self.writer.commit(self.writer.trade(day_ms + DAY_MS + MINUTE_MS))

    def trade(self, rng: random.Random, at_ms: int) -> Trade:
        return self.writer.trade(at_ms, rng.randint(9_000, 11_000), rng.randint(0, 50), rng.randrange(3))

    async def archive_some(self, rng: random.Random, *, dies: bool = False) -> None:
        """Archive about half of what is due, or all; `dies`: the jobs write their objects and confirm nothing."""
        with pytest.MonkeyPatch.context() as patch:
            if dies:
                patch.setattr(MinuteArchive, "archived", _die)
            for series, day_ms in (await self.store.due()).archive:
                if rng.random() < 0.5:
                    await self.archive_one(series, day_ms)

    async def archive_one(self, series: str, day_ms: int) -> None:
        period_ms = SERIES[series].period.open_of(day_ms)
        try:
            await archive_period(self.client, self.market, self.archive, series, period_ms)
        except Died:
            pass

    async def settle(self) -> None:
        """What the queue does until nothing is due."""
        await self.writer.roll_up()
        for series, day_ms in (await self.store.due()).archive:
            await self.archive_one(series, day_ms)
        assert await self.store.due() == Due((), ())

    async def floors(self) -> tuple[int, int]:
        candles, footprints = await self.client.hmget(self.store.keys.state, ["candle_floor_ms", "footprint_floor_ms"])
        return int(candles or -1), int(footprints or -1)

    def footprints(self, timeframe: Timeframe) -> Sums:
        anchored = self.market.instrument.anchored(timeframe)
        inside = [one for one in self.writer.applied if anchored.holds(one.trade.ts_ms)]
        return summed(inside, anchored, 7)

    async def check(self) -> None:
        """Every answer, of a feed that keeps what it has read and of a new one, is the truth at its cursor."""
        everything = Window(None, None, 5_000)
        for feed in (self.kept, self.feed()):
            for timeframe in TIMEFRAMES:
                answer = orjson.loads(
                    await candles_of(feed, self.market, CandleQuery(timeframe, everything, "none", "json"))
                )
                assert answer["cursor"] == self.writer.cursor
                assert answer["bars"] == of_applied(self.writer, timeframe), timeframe.text
            for timeframe in FOOTPRINTS:
                answer = orjson.loads(await footprint_of(feed, self.market, FootprintQuery(timeframe, everything, 7)))
                assert told_sums(answer) == self.footprints(timeframe), timeframe.text

    async def check_archive(self) -> None:
        """The archive's rows of what the store has dropped are those of the trades."""
        floor_ms, footprint_floor_ms = await self.floors()
        minutes = minutes_applied(self.writer)
        wanted = decode.candles([codec.pack_candle(minute) for minute in minutes if minute.open_ms < floor_ms])
        found = self.archive.read(CANDLE_ROWS, self.market.instrument, 0, floor_ms)
        # A minute that late trades came into does not tell how its delta ran.
        told = found["delta_min_lots"].is_not_null()
        wanted = wanted.with_columns(pl.when(told).then(pl.col(name)).alias(name) for name in DELTA_RANGE)
        assert found.equals(wanted) and len(wanted)
        assert found.filter(pl.col("rev") == 0).select(DELTA_RANGE).null_count().sum_horizontal().item() == 0
        levels = self.archive.read(FOOTPRINT_ROWS, self.market.instrument, 0, footprint_floor_ms)
        volumes = pl.col("buy_lots") + pl.col("sell_lots") + pl.col("unknown_lots")
        sums = levels.group_by("open_ms", maintain_order=True).agg(volumes.sum())
        older = [minute for minute in minutes if minute.open_ms < footprint_floor_ms]
        assert sums.rows() == [(minute.open_ms, minute.volume_lots) for minute in older]


async def _die(*args: Any) -> int:
    raise Died


@asynccontextmanager
async def with_days(url: str, place: Path, instrument: Instrument) -> AsyncIterator[ArchivedSymbol]:
    """Days of which the newest are sealed, and the oldest in the archive alone."""
    async with commit_client(url) as client:
        made, rng = ArchivedSymbol(client, place, instrument), random.Random(0)
        await made.writer.register()
        await made.writer.claim()
        for _ in range(DAYS):
            await made.write_day(rng)
            await made.settle()
        await made.write_day(rng)
        floor_ms, footprint_floor_ms = await made.floors()
        assert FIRST_MS < floor_ms < footprint_floor_ms
        yield made
