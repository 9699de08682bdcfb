"""Random stores, each asked twice: with bars made straight of what is sealed, 15m candles where there are some, and
with sealed minutes decoded and resampled.

Every answer is the same, byte for byte in JSON and CSV, and the same table in Arrow, which here Polars has written.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import orjson
import pyarrow as pa
import pytest
from redis.asyncio import Redis

from common.errors import BadInput
from common.frames import bars as frame_bars
from common.frames.minutes import SHOWN_FRAMES
from common.frames.schema import LOTS
from common.market.candle import Candle
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe, day_of
from common.store.keys import SymbolKeys
from common.store.reads import SymbolReader
from common.store.registry import Market
from feed.queries.candles import CandleQuery, Fill
from feed.queries.queries import Queries
from feed.reading.bounds import Window
from feed.wire.answers import BAR_WRITERS, Form, TableForm
from tests.kit.asked import candles_of
from tests.kit.markets import day_of_market
from tests.kit.writer import START_MS, Writer
from tests.scale import scaled

# Stores of one run are asked in turn; a run is a test.
STORES, OF_A_RUN = 2_000, 20
FIRST_MS = day_of(START_MS)
TIMEFRAMES = ("1m", "3m", "7m", "15m", "16m", "1h", "4h", "6h", "7h", "12h", "2d", "1w")
XNYS = {"calendar": "XNYS", "zone": "America/New_York"}
# Most of its sessions end at a quarter of an hour; those of a stock exchange end with the closing minute.
CMES = {"calendar": "CMES", "zone": "America/Chicago"}
KINDS: tuple[dict[str, Any], ...] = ({}, {}, {}, XNYS, CMES)


class RandomStore:
    """Minutes of some days as they are sealed, some of them amended since, and some of days that are not sealed yet."""

    def __init__(self, client: Redis, rng: random.Random) -> None:
        self.rng = rng
        self.writer = Writer(client, Instrument("TEST:A", 2, rng.choice((3, 8)), "contiguous", **rng.choice(KINDS)))
        self.keys, self.market = SymbolKeys(self.writer.instrument.symbol), Market(self.writer.instrument)
        # Two days in three are of one market, in which steps and sizes stay.
        self.ordinary = rng.randrange(1 << 30)

    async def fill(self) -> None:
        writer, rng = self.writer, self.rng
        await writer.register()
        await writer.claim()
        numbers = sorted(rng.sample(range(70), rng.randint(2, 8)))
        whole = [self._day(number) for number in numbers]
        for minutes in whole:
            await self._write(minutes)
        await writer.client.zadd(self.keys.dirty, {str(FIRST_MS + number * DAY_MS): 1 for number in numbers[:-1]})
        await writer.commit(writer.trade(FIRST_MS + 71 * DAY_MS))
        await writer.roll_up()
        if rng.random() < 0.3:
            await self._seal_again(rng.sample(whole[:-1], 1))
        for minutes in rng.sample(whole, rng.choice((0, 0, 1, 2))):
            await self._amend(minutes)

    async def _seal_again(self, whole: list[list[Candle]]) -> None:
        """Some days once more, as a release would that knows no 15m candles: their months are as they were."""
        client, keys = self.writer.client, self.keys
        months: Any = await client.zrange(keys.months, 0, -1, withscores=True)
        rolled: Any = await client.hgetall(keys.rolled_15m)
        for minutes in whole:
            await self._amend(minutes)
            await client.zadd(keys.dirty, {str(day_of(minutes[0].open_ms)): 1})
        await self.writer.roll_up()
        await client.delete(keys.months, keys.rolled_15m)
        if months:
            await client.zadd(keys.months, dict(months))
            await client.hset(keys.rolled_15m, mapping=rolled)

    async def _amend(self, minutes: list[Candle]) -> None:
        """Write some minutes of a day once more, and some that it does not have."""
        some = self.rng.sample(minutes, min(len(minutes), self.rng.randint(1, 4)))
        changed = [replace(minute, rev=minute.rev + 1, trades=minute.trades + 1) for minute in some]
        day_ms, there = day_of(minutes[0].open_ms), {minute.open_ms for minute in minutes}
        new_ms = day_ms + self.rng.randrange(1_440) * MINUTE_MS
        if new_ms not in there:
            changed.append(replace(minutes[0], open_ms=new_ms, first_ts_ms=new_ms, last_ts_ms=new_ms + 1))
        await self._write(changed)

    def _day(self, number: int) -> list[Candle]:
        of_day = self.ordinary if self.rng.random() < 0.66 else self.rng.randrange(1 << 30)
        minutes = [_summable(minute) for minute in day_of_market(random.Random(of_day), number, FIRST_MS)]
        if self.rng.random() < 0.1:
            # No sum of them fits 64 bits, and the greatest ones hardly 128.
            great = self.rng.choice((1 << 64, 1 << 100, 10**35))
            minutes = [replace(minute, turnover=great - at) for at, minute in enumerate(minutes)]
        return minutes

    async def _write(self, minutes: list[Candle]) -> None:
        members = {codec.pack_candle(minute): minute.open_ms for minute in minutes}
        await self.writer.client.zadd(self.keys.candles, members)

    def query(self) -> CandleQuery:
        rng = self.rng
        start_ms = FIRST_MS + rng.randrange(72 * DAY_MS)
        end_ms = start_ms + rng.choice((2, 40)) * rng.randrange(DAY_MS)
        window = rng.choice(
            [
                Window(None, None, rng.choice((5, 300, 20_000))),
                Window(None, end_ms, rng.choice((5, 300, 20_000))),
                Window(start_ms, None, rng.choice((5, 300))),
                Window(start_ms, end_ms, rng.choice((5, 20_000))),
            ]
        )
        form: Form = rng.choice(("json", "csv", "arrow", "arrow"))
        fill: Fill = rng.choice(("none", "none", "flat"))
        return CandleQuery(Timeframe.parse(rng.choice(TIMEFRAMES)), window, fill, form)


def _summable(minute: Candle) -> Candle:
    """Small enough for months of them: these are stored, too."""
    lots = {name: getattr(minute, name) >> 14 * (minute.volume_lots >> 49 > 0) for name in LOTS}
    return replace(minute, trades=minute.trades & 0xFFFF | 1, **lots)


@contextmanager
def decoding() -> Iterator[None]:
    """Sealed days are decoded, all of them by their minutes, and Arrow is written by Polars."""

    def by_polars(bars: Any, instrument: Instrument) -> bytes:
        return frame_bars._any_arrow(bars, instrument.price_decimals, instrument.size_decimals)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("feed.bars.recipe.SHOWN_FRAMES", replace(SHOWN_FRAMES, open=None))
        patch.setattr("feed.bars.recipe.is_of_steps", lambda *_: False)
        patch.setitem(cast(dict[TableForm, Any], BAR_WRITERS), "arrow", by_polars)
        yield


async def answer(queries: Queries, market: Market, query: CandleQuery) -> Any:
    """What can be compared of an answer: bytes, or a table, or the error."""
    try:
        found = await candles_of(queries, market, query)
    except BadInput as error:
        return str(error)
    if query.form == "arrow":
        table = pa.ipc.open_stream(found).read_all()
        table.validate(full=True)
        return table
    if query.form == "csv":
        return found
    bars, rest = found.split(b'],"cursor":')
    told = orjson.loads(b'{"cursor":' + rest)
    # Of the clock: the lease of a slow run passes.
    del told["health"]
    return bars, told


# They take long: where fewer of all is done, of these still fewer are.
@pytest.mark.parametrize("run", range(scaled(scaled(STORES // OF_A_RUN))))
async def test_answers_of_random_stores_are_those_of_decoded_minutes(
    client: Redis, monkeypatch: pytest.MonkeyPatch, run: int
) -> None:
    rolled = 0
    rolled_months = SymbolReader.rolled_months

    async def counted(reader: SymbolReader, months: Sequence[int]) -> list[bytes | None]:
        nonlocal rolled
        rolled += len(months)
        return await rolled_months(reader, months)

    monkeypatch.setattr(SymbolReader, "rolled_months", counted)
    for seed in range(run * OF_A_RUN, (run + 1) * OF_A_RUN):
        await client.flushall()
        store = RandomStore(client, random.Random(seed))
        await store.fill()
        # Each keeps what it has read.
        plain, decoded = Queries(client, 6_000), Queries(client, 6_000)
        for _ in range(6):
            query = store.query()
            found = await answer(plain, store.market, query)
            with decoding():
                expected = await answer(decoded, store.market, query)
            assert found == expected, (seed, query)
    # Not every store has months, nor every question use for them.
    assert rolled >= OF_A_RUN // 4
