"""Late trades of minutes that the archive alone has: in every answer at once, in the archive in the end, once."""

import random
from collections.abc import AsyncIterator
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
from common.market import codec
from common.market.bar_json import bar_json
from common.market.candle import Candle
from common.market.coverage import covers
from common.market.timeframe import DAY_MS, MINUTE, MINUTE_MS, Timeframe, day_of
from common.market.trade import Trade
from common.store.client import commit_client
from common.store.keys import SymbolKeys
from common.store.registry import Market
from common.store.rollups import Due, RollupStore
from feed.params import CandleQuery, FootprintQuery, Window
from feed.queries import Queries
from tests.feed.oracle import of_minutes, of_trades
from tests.feed.test_footprint import summed, told
from tests.feed.writer import INSTRUMENT, START_MS, Writer
from workers.commit import Retention
from workers.rollup.archiving import archive_period
from workers.rollup.older import older_minutes

MARKET, KEYS = Market(INSTRUMENT), SymbolKeys(INSTRUMENT.symbol)
FIRST_MS = day_of(START_MS) + DAY_MS
TIMEFRAMES = [Timeframe.parse(name) for name in ("1m", "15m", "7h", "1d", "1w")]
FOOTPRINTS = [Timeframe.parse(name) for name in ("1m", "4h")]
DAYS, KEPT_DAYS, KEPT_FOOTPRINT_DAYS = 8, 4, 2


class Died(Exception):
    """A job that is killed."""


class Fleet:
    """A symbol of which the archive alone has the older days, its jobs, and feeds that read it."""

    def __init__(self, client: Redis, archive: Archive) -> None:
        self.client, self.archive = client, archive
        self.store = RollupStore(client, INSTRUMENT.symbol)
        self.writer = Writer(client, archived=frozenset({"candles", "footprints"}))
        self.writer.retention = Retention(KEPT_DAYS, KEPT_FOOTPRINT_DAYS)
        self.writer.older = partial(older_minutes, archive)
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
                patch.setattr(RollupStore, "archived", _die)
            for series, day_ms in (await self.store.due()).archive:
                if rng.random() < 0.5:
                    await self.archive_one(series, day_ms)

    async def archive_one(self, series: str, day_ms: int) -> None:
        period_ms = SERIES[series].period.open_of(day_ms)
        try:
            await archive_period(self.client, MARKET, self.archive, series, period_ms)
        except Died:
            pass

    async def settle(self) -> None:
        """What the queue does until nothing is due."""
        await self.writer.roll_up()
        for series, day_ms in (await self.store.due()).archive:
            await self.archive_one(series, day_ms)
        assert await self.store.due() == Due((), ())

    async def floors(self) -> tuple[int, int]:
        candles, footprints = await self.client.hmget(KEYS.state, ["candle_floor_ms", "footprint_floor_ms"])
        return int(candles or -1), int(footprints or -1)

    def minutes(self) -> list[Candle]:
        """The truth: of all trades that were ever applied."""
        return [minute for _, minute in sorted(of_trades(self.writer.applied, MINUTE, []).items())]

    def bars(self, timeframe: Timeframe) -> list[dict[str, Any]]:
        builder, bars = self.writer.builder, of_minutes(self.minutes(), timeframe)
        ends = {open_ms: timeframe.next_open(open_ms) for open_ms in bars}
        return [
            orjson.loads(
                bar_json(
                    bar,
                    INSTRUMENT,
                    is_final=ends[open_ms] <= builder.watermark_ms,
                    partial=not covers(builder.coverage, open_ms, ends[open_ms]),
                )
            )
            for open_ms, bar in bars.items()
        ]

    async def check(self) -> None:
        """Every answer, of a feed that keeps what it has read and of a new one, is the truth at its cursor."""
        everything = Window(None, None, 5_000)
        for feed in (self.kept, self.feed()):
            for timeframe in TIMEFRAMES:
                answer = orjson.loads(await feed.candles(MARKET, CandleQuery(timeframe, everything, "none", "json")))
                assert answer["cursor"] == self.writer.cursor
                assert answer["bars"] == self.bars(timeframe), timeframe.text
            for timeframe in FOOTPRINTS:
                answer = orjson.loads(await feed.footprint(MARKET, FootprintQuery(timeframe, everything, 7)))
                assert told(answer) == summed(self.writer, timeframe, 7), timeframe.text

    async def check_archive(self) -> None:
        """The archive's rows of what the store has dropped are those of the trades."""
        floor_ms, footprint_floor_ms = await self.floors()
        wanted = decode.candles([codec.pack_candle(minute) for minute in self.minutes() if minute.open_ms < floor_ms])
        assert self.archive.read(CANDLE_ROWS, INSTRUMENT, 0, floor_ms).equals(wanted) and len(wanted)
        levels = self.archive.read(FOOTPRINT_ROWS, INSTRUMENT, 0, footprint_floor_ms)
        volumes = pl.col("buy_lots") + pl.col("sell_lots") + pl.col("unknown_lots")
        found = levels.group_by("open_ms", maintain_order=True).agg(volumes.sum())
        minutes = [minute for minute in self.minutes() if minute.open_ms < footprint_floor_ms]
        assert found.rows() == [(minute.open_ms, minute.volume_lots) for minute in minutes]


async def _die(*args: Any) -> int:
    raise Died


@pytest.fixture
async def fleet(redis_url: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Days of which the newest are sealed, and the oldest in the archive alone."""
    client, rng = commit_client(redis_url), random.Random(0)
    made = Fleet(client, Archive.open(str(tmp_path / "archive")))
    await made.writer.register()
    await made.writer.claim()
    for _ in range(DAYS):
        await made.write_day(rng)
        await made.settle()
    await made.write_day(rng)
    floor_ms, footprint_floor_ms = await made.floors()
    assert FIRST_MS < floor_ms < footprint_floor_ms
    yield made
    await client.aclose()


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_comes_late_and_whichever_job_dies_every_answer_is_the_truth(fleet: Fleet, seed: int) -> None:
    rng, writer = random.Random(seed), fleet.writer
    await fleet.check()
    for _ in range(14):
        kind = rng.random()
        if kind < 0.5:
            some = [rng.randrange(FIRST_MS, writer.now_ms) for _ in range(rng.randint(1, 5))]
            await writer.commit(*(fleet.trade(rng, at_ms) for at_ms in [*some, *rng.choices(some, k=2)]))
        elif kind < 0.6:
            await fleet.write_day(rng)
        elif kind < 0.7:
            await writer.claim()
            writer.cursor = writer.cursor if rng.random() < 0.5 else await writer.commit(writer.trade())
        elif kind < 0.8:
            await writer.roll_up()
        else:
            await fleet.archive_some(rng, dies=rng.random() < 0.5)
        await fleet.check()
    await fleet.settle()
    await fleet.check()
    await fleet.check_archive()
    assert not await fleet.client.exists(KEYS.late("candles"), KEYS.late("footprints"))
