"""Sealed days are fetched once, by one command, and cost a query the same whether they are kept or not.

By their minutes, of which bars of 14 and of 61 minutes are made.
"""

import random
from collections.abc import Sequence

import polars as pl
import pytest
from redis.asyncio import Redis

from common.frames.minutes import SHOWN_FRAMES, MinuteRows
from common.frames.sealed import SealedCandles
from common.market.timeframes.timeframe import DAY_MS, Timeframe
from common.series import MinuteSeries
from common.store.parts import Range
from common.store.reads import SymbolReader
from feed.bars.closed import read_closed
from feed.bars.recipe import BarRecipe
from feed.reading.bounds import FOREVER_MS, Bounds
from feed.reading.budget import QueryBudget
from feed.reading.frame_cache import FrameCache
from feed.reading.history import History
from tests.kit.writer import INSTRUMENT, START_MS, Writer, some_trades

DAYS = 70
EVERYTHING = Bounds(0, FOREVER_MS, 100_000, oldest_first=False)


@pytest.fixture
async def months(writer: Writer) -> Writer:
    """Some months of days with trades, all but the last one sealed."""
    rng = random.Random(3)
    for _ in range(DAYS):
        await writer.commit(*some_trades(writer, rng, 6))
        writer.now_ms += DAY_MS
    await writer.commit(writer.trade())
    await writer.roll_up()
    return writer


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The days of each command that fetches blocks."""
    commands, read = list[list[int]](), SymbolReader.blocks

    async def noting(self: SymbolReader, series: MinuteSeries, days: Sequence[int]) -> list[bytes | None]:
        commands.append(list(days))
        return await read(self, series, days)

    monkeypatch.setattr(SymbolReader, "blocks", noting)
    return commands


def history(client: Redis, kept: FrameCache) -> History:
    return History(SymbolReader(client, INSTRUMENT.symbol, INSTRUMENT), INSTRUMENT, kept, budget=QueryBudget())


async def read(client: Redis, kept: FrameCache, text: str) -> tuple[pl.DataFrame, int]:
    """Bars of all there is, and what reading it cost in rows."""
    asked = history(client, kept)
    closed = await read_closed(asked, BarRecipe.candles(Timeframe.parse(text)), EVERYTHING)
    return closed.bars, asked.budget.rows


async def test_what_is_not_kept_is_fetched_by_one_command_and_costs_as_much_as_what_is(
    client: Redis, months: Writer, fetched: list[list[int]]
) -> None:
    kept = FrameCache()
    bars, rows = await read(client, kept, "14m")
    assert len(fetched) == 1 and len(fetched[0]) > DAYS - 5
    # Kept minutes, and then kept bars.
    for text in ("16m", "16m"):
        other, cost = await read(client, kept, text)
        assert cost == rows and other["trades"].sum() == bars["trades"].sum()
    assert len(fetched) == 1
    # A day that is sealed again takes its month with it, and nothing else.
    await months.commit(months.trade(START_MS + DAY_MS, ticks=9_999))
    await months.roll_up()
    amended, _ = await read(client, kept, "16m")
    assert len(fetched) == 2 and len(fetched[1]) <= 31
    assert amended["trades"].sum() == bars["trades"].sum() + 1


async def test_a_day_sealed_again_while_it_is_fetched_is_read_once_more(
    client: Redis, months: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, calls = SymbolReader.blocks, list[int]()

    async def late(self: SymbolReader, series: MinuteSeries, days: Sequence[int]) -> list[bytes | None]:
        if not calls:
            await months.commit(months.trade(START_MS + DAY_MS, ticks=30_000))
            await months.roll_up()
        calls.append(len(days))
        return await fetch(self, series, days)

    monkeypatch.setattr(SymbolReader, "blocks", late)
    bars, _ = await read(client, FrameCache(), "61m")
    assert len(calls) == 2 and bars["high_ticks"].max() == 30_000
    assert bars["trades"].sum() == len(months.applied) - 1


async def test_minutes_are_kept_as_they_are_sealed_and_only_amended_days_are_decoded(
    client: Redis, months: Writer
) -> None:
    wanted, kept = Range(0, FOREVER_MS, newest=100_000), FrameCache()
    whole = await history(client, kept).read(SHOWN_FRAMES, wanted, 100)
    assert [type(piece) for piece in whole.pieces].count(SealedCandles) >= 3
    await months.commit(months.trade(START_MS + 40 * DAY_MS, ticks=9_999))
    amended = await history(client, kept).read(SHOWN_FRAMES, wanted, 100)
    decoded = [piece for piece in amended.pieces if isinstance(piece, pl.DataFrame)]
    assert sum(map(len, decoded)) < 10
    assert _opens(amended.pieces) == sorted({*_opens(amended.pieces)})
    assert sum(frame["trades"].sum() for frame in amended.frames) == len(months.applied) - 1
    assert amended.last().equals(amended.frames[-1].tail(1))


def _opens(pieces: Sequence[MinuteRows]) -> list[int]:
    return [open_ms for piece in pieces for open_ms in BarRecipe.candles(Timeframe(1, "m")).bars([piece])[0]["open_ms"]]
