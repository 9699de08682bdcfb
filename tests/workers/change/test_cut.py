"""What a wrong time has left behind is cut off, as if it had never been; and whoever is in between loses nothing."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from common.errors import BadInput, Fenced
from common.market.builder import validity
from common.market.builder.floor import Floor
from common.market.builder.spans import Hole, IdSpan
from common.market.coding import codec
from common.market.instrument import Ids
from common.market.manifest import ManifestEntry
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, day_of
from common.market.trade import BUY, Trade
from common.series import CANDLES, FOOTPRINTS
from common.store.cut import Wrong, wrong_times
from common.store.keys import ROLLED, SymbolKeys
from common.store.lease import NOTHING_SEEN, LeaseObservation
from common.store.parts import DailyCandles, Entries, Minutes, Range, Seals
from common.store.reads import SymbolReader, View
from common.store.registry import Market
from common.store.rollups import RollupStore
from tests.kit.writer import INSTRUMENT, START_MS, Writer
from workers.change import cut
from workers.change.claim import Claimant
from workers.change.cut import Cutter

EVERYTHING = Range(0, 1 << 50)
BOTH = Minutes(EVERYTHING, replace(EVERYTHING, series=FOOTPRINTS))
S = INSTRUMENT.symbol
KEYS = SymbolKeys(S)
FIRST_MS = day_of(START_MS) + DAY_MS
IDS: list[Ids] = ["contiguous", "unique"]


async def cut_history(client: Redis, market: Market, from_ms: int) -> int:
    return await Cutter("", market.symbol, from_ms, 10_000, Claimant("tests", 60_000)).cut(client, market)


async def view_of(client: Redis, symbol: str = INSTRUMENT.symbol) -> View:
    return await SymbolReader(client, symbol).view(BOTH, Entries(0), Seals(0), DailyCandles(EVERYTHING))


def days(writer: Writer, first_ms: int, count: int, rng: random.Random) -> list[list[Trade]]:
    """Trades of some days, a list of each."""
    found = []
    for day_ms in range(first_ms, first_ms + count * DAY_MS, DAY_MS):
        times = sorted(rng.randrange(day_ms, day_ms + DAY_MS) for _ in range(40))
        found.append([writer.trade(ts_ms, rng.randint(9_000, 11_000), rng.randint(1, 50)) for ts_ms in times])
    return found


async def write(writer: Writer, batches: list[list[Trade]]) -> None:
    for batch in batches:
        writer.now_ms = batch[-1].ts_ms
        await writer.commit(*batch)
        await writer.roll_up()


async def shown(client: Redis, symbol: str) -> dict[str, Any]:
    """All that anybody can see of the history."""
    view, reader = await view_of(client, symbol), SymbolReader(client, symbol)
    sealed = [seal.day_ms for seal in view.seals]
    assert view.state
    return {
        "minutes": view.minutes,
        "seals": view.seals,
        "candle blocks": await reader.blocks(CANDLES, sealed) if sealed else [],
        "footprint blocks": await reader.blocks(FOOTPRINTS, sealed) if sealed else [],
        "open": view.state.candle,
        "rolled": [await client.zrange(SymbolKeys(symbol).rolled(series), 0, -1) for series in ROLLED],
        "watermark": view.state.watermark_ms,
    }


@pytest.fixture(autouse=True)
def earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier release took for the time of a trade is taken here."""
    monkeypatch.setattr(validity, "MIN_TS_MS", 0)


@pytest.fixture(params=IDS)
def writer_options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"instrument": replace(INSTRUMENT, ids=request.param)}


async def test_what_lies_before_the_day_is_as_if_it_had_never_been(writer: Writer, client: Redis) -> None:
    market, rng = Market(writer.instrument), random.Random(7)
    # A trade whose time was a 0, one of seconds taken for ms, and two days before those that are to stay.
    wrong = [Trade(0, writer.trade().id, 100, 5, BUY), Trade(1_700_000_000, writer.trade().id, 100, 5, BUY)]
    batches = days(writer, FIRST_MS, 5, rng)
    await write(writer, [wrong, *batches])
    state = (await view_of(client)).state
    assert state and wrong_times(market, state) == Wrong(0, None)
    begins_ms = await cut_history(client, market, FIRST_MS + 2 * DAY_MS + 5)
    assert begins_ms == FIRST_MS + 2 * DAY_MS
    await writer.roll_up()
    other = await Writer.begun(client, instrument=replace(writer.instrument, symbol="TEST:OTHER"))
    await write(other, batches[2:])
    assert await shown(client, INSTRUMENT.symbol) == await shown(client, "TEST:OTHER")
    state = (await view_of(client)).state
    assert state and wrong_times(market, state) is None
    assert state.candle_floor_ms == state.floor_ms(FOOTPRINTS) == begins_ms
    coverage = state.coverage(writer.instrument.ids)
    assert [(span.from_ms, span.to_ms) for span in coverage.spans()] == [(begins_ms, batches[-1][-1].ts_ms)]
    # Nothing is owed to the days that are gone.
    due = await RollupStore(client, INSTRUMENT.symbol).due()
    assert (due.days, [day for _, day in due.archive if day < begins_ms]) == ((), [])


async def test_whoever_served_the_symbol_is_fenced_and_goes_on_from_what_is_left(writer: Writer, client: Redis) -> None:
    market, rng = Market(writer.instrument), random.Random(8)
    batches = days(writer, FIRST_MS, 3, rng)
    await write(writer, [[Trade(1, writer.trade().id, 100, 5, BUY)], *batches[:2]])
    await cut_history(client, market, FIRST_MS + DAY_MS)
    with pytest.raises(Fenced):
        await writer.commit(*batches[2])
    await writer.claim()
    writer.now_ms = batches[2][-1].ts_ms
    await writer.commit(*batches[2])
    entries = (await view_of(client)).stream.entries
    applied = [row for entry in entries for row in codec.unpack_trades(entry.trades).rows()]
    assert applied[-40:] == batches[2]
    # The ids that are left are known still.
    await writer.commit(*batches[1])
    assert writer.builder.refused == {"duplicate": 40}


async def test_a_cut_that_is_killed_may_be_done_again(
    writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    market, rng = Market(writer.instrument), random.Random(9)
    await write(writer, [[Trade(0, writer.trade().id, 100, 5, BUY)], *days(writer, FIRST_MS, 4, rng)])

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cut, "_checkpoint", killed)
        await cut_history(client, market, FIRST_MS + DAY_MS)
    before = (await view_of(client)).state
    assert before and wrong_times(market, before) == Wrong(0, None)
    await cut_history(client, market, FIRST_MS + DAY_MS)
    state = (await view_of(client)).state
    assert state and wrong_times(market, state) is None
    assert all(codec.candle_open(member) >= FIRST_MS + DAY_MS for member in (await view_of(client)).minutes[0])


async def test_gaps_go_with_what_was_around_them(client: Redis) -> None:
    writer = await Writer.begun(client)
    # A wrong time, and a hole of ids behind it; another hole in what stays.
    await writer.commit(Trade(0, 1, 100, 5, BUY))
    writer.now_ms = FIRST_MS + DAY_MS
    await writer.commit(*(Trade(FIRST_MS + at * 1_000, at, 100, 5, BUY) for at in (100, 101, 105, 106)))
    await cut_history(client, Market(INSTRUMENT), FIRST_MS)
    state = (await view_of(client)).state
    assert state
    coverage, at_ms = state.coverage("contiguous"), FIRST_MS + 100_000
    assert list(coverage.spans()) == [
        IdSpan(100, 101, at_ms, at_ms + 1_000),
        IdSpan(105, 106, at_ms + 5_000, at_ms + 6_000),
    ]
    assert coverage.holes() == [Hole(102, 104, at_ms + 1_000, at_ms + 5_000)]


async def test_minutes_that_a_clock_dropped_in_advance_may_come(writer: Writer, client: Redis) -> None:
    """An earlier release let a clock 500 days ahead close, and drop, what nobody had traded yet."""
    market, rng = Market(writer.instrument), random.Random(10)
    first, second = days(writer, FIRST_MS, 2, rng)
    await write(writer, [first])
    # Ahead of the store's clock, too.
    writer.now_ms = 4_000_000_000_000
    await writer.commit()
    ahead_ms = day_of(writer.now_ms) - 400 * DAY_MS
    floors: dict[Any, Any] = {"candle_floor_ms": ahead_ms, "footprint_floor_ms": ahead_ms}
    await client.hset(KEYS.state, mapping=floors)
    for key in (KEYS.candles, KEYS.minutes(FOOTPRINTS)):
        await client.zremrangebyscore(key, "-inf", f"({ahead_ms}")
    state = (await view_of(client)).state
    assert state and wrong_times(market, state) == Wrong(None, ahead_ms)
    begins_ms = await cut_history(client, market, FIRST_MS)
    assert begins_ms == first[-1].ts_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS
    writer.now_ms = second[-1].ts_ms
    await writer.claim()
    writer.builder.floor = Floor(400, begins_ms)
    for row in second:
        writer.now_ms = row.ts_ms
        await writer.commit(row)
    view = await view_of(client)
    assert view.state and view.state.refused == {} and wrong_times(market, view.state) is None
    candles = [codec.unpack_candle(packed) for packed in [*view.minutes[0], view.state.candle]]
    assert sum(candle.trades for candle in candles) == len(second)
    assert all(candle.rev == 0 for candle in candles)
    assert view.state.watermark_ms == second[-1].ts_ms


async def test_a_cut_that_would_leave_nothing_is_refused(writer: Writer, client: Redis) -> None:
    market = Market(writer.instrument)
    await writer.store.release(writer.token)
    with pytest.raises(BadInput, match="has no trades: there is nothing to cut"):
        await cut_history(client, market, FIRST_MS)
    await writer.claim()
    await writer.commit(writer.trade())
    with pytest.raises(BadInput, match="is of 2023-11-14: nothing would be left from 2023-11-15 on"):
        await cut_history(client, market, FIRST_MS)
    # It gave the symbol back.
    await writer.claim()


async def test_an_import_is_waited_for(client: Redis) -> None:
    writer = await Writer.begun(client)
    await write(writer, [[Trade(0, 1, 100, 5, BUY), Trade(FIRST_MS, 2, 100, 5, BUY)]])
    importing = "b" * 32
    assert not isinstance(await writer.store.claim(importing, NOTHING_SEEN, "import", force=True), LeaseObservation)
    waits = asyncio.Event()
    claimant = Claimant("tests", 60_000, lambda text: waits.set())
    cutting = asyncio.create_task(Cutter("", S, FIRST_MS, 10_000, claimant).cut(client, Market(INSTRUMENT)))
    await asyncio.wait_for(waits.wait(), 10)
    state = (await view_of(client)).state
    assert state and wrong_times(Market(INSTRUMENT), state) == Wrong(0, None)
    await writer.store.release(importing)
    assert await asyncio.wait_for(cutting, 10) == FIRST_MS


async def test_minutes_that_retention_has_dropped_are_not_called_there(writer: Writer, client: Redis) -> None:
    market = Market(writer.instrument)
    await write(writer, [[Trade(0, writer.trade().id, 100, 5, BUY)], *days(writer, FIRST_MS, 4, random.Random(11))])
    # Footprints are kept for less long than candles.
    floors: dict[Any, Any] = {"candle_floor_ms": FIRST_MS, "footprint_floor_ms": FIRST_MS + 2 * DAY_MS}
    await client.hset(KEYS.state, mapping=floors)
    await cut_history(client, market, FIRST_MS + DAY_MS)
    state = (await view_of(client)).state
    assert state and (state.candle_floor_ms, state.floor_ms(FOOTPRINTS)) == (FIRST_MS + DAY_MS, FIRST_MS + 2 * DAY_MS)


async def test_the_archive_is_not_read_any_more_for_what_was_cut(writer: Writer, client: Redis) -> None:
    await write(writer, [[Trade(0, writer.trade().id, 100, 5, BUY)], *days(writer, FIRST_MS, 3, random.Random(12))])
    month_ms, (first_ms, last_ms) = FIRST_MS - 14 * DAY_MS, (FIRST_MS, FIRST_MS + DAY_MS)
    periods = {"candles": (0, month_ms), "footprints": (0, first_ms, last_ms), "trades": (0, first_ms, last_ms)}
    for series, opens in periods.items():
        known: dict[Any, Any] = {f"{series}_{name}": 0 for name in ("from_ms", "version", "listed")}
        await client.hset(KEYS.archive, mapping=known)
        entries = {ManifestEntry(period_ms, 1).dump(): period_ms for period_ms in opens}
        await client.zadd(KEYS.archived(series), entries)
        await client.hset(KEYS.faults, f"{series}:0", b"{}")
        await client.hset(KEYS.faults, f"{series}:{last_ms}", b"{}")
    await cut_history(client, Market(writer.instrument), last_ms)
    left = {"candles": [month_ms], "footprints": [last_ms], "trades": [last_ms]}
    for series, expected in left.items():
        manifest = SymbolReader(client, S).manifest(series)
        known_now = await manifest.known(0, 1 << 50)
        # What is not there is known not to be: nothing is listed once more, which would bring it back.
        assert ([entry.period_ms for entry in known_now.entries], known_now.is_whole) == (expected, True)
        assert (await manifest.version(), [*(await manifest.outline()).faulty]) == ("1", [last_ms])
    archived = (await view_of(client)).archived.minutes
    assert (archived["candles"].from_ms, archived["footprints"].from_ms) == (last_ms, last_ms)
