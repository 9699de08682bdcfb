"""Roll-ups of a market whose calendar is corrected: what is stored, counted and answered is by what is known now."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from common.market.candle import Candle, merge_all
from common.market.coding import candle_blocks, codec
from common.market.instrument import Instrument
from common.market.timeframes.calendar_exceptions import SessionException
from common.market.timeframes.periods import DAY, MONTH, WEEK
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe, day_of
from common.store.calendars import CalendarStore, adopt, outside_of
from common.store.keys import SymbolKeys
from common.store.registry import Market, Registry
from common.store.rollups import RollupStore
from feed.queries.candles import CandleQuery
from feed.queries.queries import Queries
from feed.reading.bounds import Window
from tests.kit.asked import candles_of
from tests.kit.times import ms
from tests.kit.writer import Writer
from tests.scale import scaled
from workers.rollup.day import roll_day, roll_days

pytestmark = pytest.mark.anyio

PLAIN = Instrument("NSE:TEST", 2, 3, "contiguous", calendar="XNSE")
KEYS = SymbolKeys(PLAIN.symbol)
SERIES = {"1d": DAY, "1w": WEEK, "1M": MONTH}
FIRST_MS, DAYS = ms("2024-01-15"), 60


@pytest.fixture
def writer_options() -> dict[str, Any]:
    return {"instrument": PLAIN}


@pytest.fixture
async def writer(writer: Writer) -> Writer:
    """Sixty days with some minutes each, in sessions and between them, on Saturdays and Sundays as well."""
    rng = random.Random(4)
    for number in range(DAYS):
        moments = sorted(rng.sample(range(24 * 60), 12))
        times = (FIRST_MS + number * DAY_MS + minute * MINUTE_MS + rng.randrange(MINUTE_MS) for minute in moments)
        await writer.commit(*(writer.trade(ts_ms, ticks=rng.randint(9_000, 11_000)) for ts_ms in times))
    await writer.commit(writer.trade(FIRST_MS + (DAYS + 40) * DAY_MS))
    return writer


async def market(client: Redis) -> Market:
    found = await Registry(client).stored(PLAIN.symbol)
    assert found
    return found


async def roll_all(client: Redis) -> None:
    for day_ms in reversed((await RollupStore(client, PLAIN.symbol).due()).days):
        assert await roll_day(client, await market(client), day_ms)


async def rolled(client: Redis) -> dict[str, dict[int, Candle]]:
    found = {}
    for name in SERIES:
        members: Any = await client.zrange(KEYS.rolled(name), 0, -1, withscores=True)
        found[name] = {int(score): codec.unpack_candle(member) for member, score in members}
    return found


async def minutes(client: Redis) -> list[Candle]:
    sealed: Any = await client.hvals(KEYS.sealed("candles"))
    opened: Any = await client.zrange(KEYS.candles, 0, -1)
    members = [member for block in sealed for member in candle_blocks.members(block)] + opened
    return sorted(map(codec.unpack_candle, members), key=lambda candle: candle.open_ms)


async def expected(client: Redis, instrument: Instrument) -> tuple[dict[str, dict[int, Candle]], int]:
    """Of all minutes, by the sessions of the instrument; and how many trades no session holds."""
    found, finished_ms = await minutes(client), FIRST_MS + DAYS * DAY_MS
    anchored = {name: instrument.anchored(timeframe) for name, timeframe in SERIES.items()}
    inside = [each for each in found if anchored["1d"].holds(each.open_ms)]
    outside = sum(
        each.trades for each in found if not anchored["1d"].holds(each.open_ms) and each.open_ms < finished_ms
    )
    return {name: _merged(inside, timeframe) for name, timeframe in anchored.items()}, outside


def _merged(candles: list[Candle], timeframe: Timeframe) -> dict[int, Candle]:
    groups: dict[int, list[Candle]] = {}
    for candle in candles:
        groups.setdefault(timeframe.open_of(candle.open_ms), []).append(candle)
    return {open_ms: merge_all(group).rename(open_ms) for open_ms, group in groups.items()}


def some_exceptions(rng: random.Random, count: int) -> list[SessionException]:
    """Days dropped, sessions on days without one, other opens and closes."""
    found = []
    for number in rng.sample(range(DAYS), count):
        day = datetime.fromtimestamp((FIRST_MS + number * DAY_MS) / 1_000, UTC).date()
        opens, closes = f"{rng.randint(6, 11):02}:15", f"{rng.randint(12, 22):02}:00"
        times = rng.choice([(None, None), (opens, closes), (opens, closes)])
        if day.weekday() < 5 and times[0]:
            times = rng.choice([times, (None, closes)])
        found.append(SessionException.of(day.isoformat(), *times))
    return found


async def bars_of(client: Redis, timeframe: str) -> dict[int, int]:
    """What a feed answers that has just been started: trades by bar."""
    queries = Queries(client, 6_000)
    asked = CandleQuery(Timeframe.parse(timeframe), Window(None, None, 5_000), "none", "json")
    answer = orjson.loads(await candles_of(queries, await market(client), asked))
    return {bar["t"]: bar["n"] for bar in answer["bars"]}


@pytest.mark.parametrize("seed", range(scaled(3)))
async def test_whatever_is_said_of_a_calendar_roll_ups_and_answers_are_by_what_is_known_now(
    client: Redis, writer: Writer, seed: int
) -> None:
    rng, calendars = random.Random(seed), CalendarStore(client)
    await roll_all(client)
    said: list[SessionException] = []
    for _ in range(3):
        removed = [each.label_ms for each in said if rng.random() < 0.5]
        added = some_exceptions(rng, 3)
        said = list((await calendars.change("XNSE", added, removed)).days)
        now = (await market(client)).instrument
        wanted, outside = await expected(client, now)
        for timeframe in SERIES:
            answered = await bars_of(client, timeframe)
            assert answered == {at: bar.trades for at, bar in wanted[timeframe].items()}, "before it is adopted"
        assert (await adopt(client, [now]))[PLAIN.symbol] > 0
        assert await bars_of(client, "1d") == {at: bar.trades for at, bar in wanted["1d"].items()}, "while days are due"
        await roll_all(client)
        assert await rolled(client) == {
            name: {at: bar for at, bar in bars.items() if at < FIRST_MS + DAYS * DAY_MS}
            for name, bars in wanted.items()
        }
        assert await bars_of(client, "1w") == {at: bar.trades for at, bar in wanted["1w"].items()}
        assert (await outside_of(client, [PLAIN.symbol]))[PLAIN.symbol][0] == outside
        assert not await adopt(client, [now]), "adopted twice"


async def test_what_a_job_has_made_by_another_calendar_is_not_taken_in(
    client: Redis, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    day_ms, before = ms("2024-01-20"), await market(client)
    stage, changes = RollupStore.stage, [SessionException.of("2024-01-20", "00:30", "23:30")]

    async def meanwhile(self: RollupStore, *args: Any) -> Any:
        if changes:
            await CalendarStore(client).change("XNSE", [changes.pop()])
            await adopt(client, [(await market(client)).instrument])
        return await stage(self, *args)

    monkeypatch.setattr(RollupStore, "stage", meanwhile)
    assert not await roll_day(client, before, day_ms)
    assert day_ms in (await RollupStore(client, PLAIN.symbol).due()).days
    assert await roll_day(client, await market(client), day_ms)
    assert ms("2024-01-19T19:00") in (await rolled(client))["1d"]


async def test_a_process_that_knows_an_older_version_does_not_undo_a_newer_one(client: Redis, writer: Writer) -> None:
    older = (await market(client)).instrument
    calendars = CalendarStore(client)
    for close in ("12:00", "13:00"):
        await calendars.change("XNSE", [SessionException.of("2024-01-17", None, close)])
    newer = (await market(client)).instrument
    assert (older.exceptions.version, newer.exceptions.version) == (0, 2)
    assert await adopt(client, [newer])
    assert not await adopt(client, [older])
    # A job of the older one does nothing, for it would do it wrongly.
    await roll_days(client, Market(older), FIRST_MS, FIRST_MS + DAYS * DAY_MS)
    assert not (await rolled(client))["1d"]
    await roll_days(client, Market(newer), FIRST_MS, FIRST_MS + DAYS * DAY_MS)
    assert (await rolled(client))["1d"]


async def test_a_calendar_that_is_changed_by_two_at_once_has_what_both_say(client: Redis) -> None:
    calendars = CalendarStore(client)
    read, others = client.hget, [SessionException.of("2024-01-17", None, "12:00")]

    async def overtaken(*args: Any) -> Any:
        found = await read(*args)
        if others:
            await CalendarStore(client).change("XNSE", [others.pop()])
        return found

    calendars._client = replace_hget(client, overtaken)
    now = await calendars.change("XNSE", [SessionException.of("2024-01-18", None, None)])
    assert ([each.day for each in now.days], now.version) == (["2024-01-17", "2024-01-18"], 2)


def replace_hget(client: Redis, hget: Any) -> Any:
    class Overtaken:
        def __getattr__(self, name: str) -> Any:
            return hget if name == "hget" else getattr(client, name)

    return Overtaken()


async def test_days_that_the_archive_alone_has_are_marked_too(client: Redis, writer: Writer) -> None:
    await roll_all(client)
    floor_ms = ms("2024-02-20")
    await client.hset(KEYS.state, "candle_floor_ms", floor_ms)
    await client.hset(KEYS.archive, "candles_from_ms", day_of(FIRST_MS))
    await CalendarStore(client).change("XNSE", [SessionException.of("2024-02-18", "09:15", "10:00")])
    marked = await adopt(client, [(await market(client)).instrument])
    dirty: Any = await client.zrange(KEYS.dirty, 0, -1)
    wanted = {ms("2024-02-18") + number * DAY_MS for number in range(-8, 9)}
    assert marked == {PLAIN.symbol: 17} and wanted <= set(map(int, dirty))


async def test_a_market_comes_with_what_its_calendar_has_otherwise(client: Redis) -> None:
    await Registry(client).add_symbol(Market(PLAIN, {"kind": "inbox"}))
    await Registry(client).add_symbol(Market(replace(PLAIN, symbol="T:BOM", calendar="XBOM"), {"kind": "inbox"}))
    version = await Registry(client).version()
    await CalendarStore(client).change("XNSE", [SessionException.of("2024-03-02", "09:15", "10:00")])
    assert await Registry(client).version() != version
    markets = await Registry(client).symbols()
    assert [len(each.instrument.exceptions.days) for each in markets.values()] == [1, 0]
    sessions = markets[PLAIN.symbol].instrument.sessions
    assert sessions and sessions.holds(ms("2024-03-02T04:00"))
    # It is not the symbol's own: the instrument is the same.
    assert markets[PLAIN.symbol].instrument == PLAIN
