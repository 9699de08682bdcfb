"""15m candles of sealed days: where they are read in place of minutes, and that no answer is another one for it."""

from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from common.frames.spans import is_of_steps, uneven_days
from common.market.instrument import Instrument
from common.market.timeframes.periods import MONTH
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe, day_of
from common.store.keys import SymbolKeys
from common.store.months import RolledMonth
from common.store.parts import Seal
from common.store.reads import SymbolReader
from common.store.registry import Market
from common.store.rollups import RollupStore
from feed.queries.candles import CandleQuery
from feed.queries.queries import Queries
from feed.reading.bounds import Window
from feed.reading.rolled_days import planned
from tests.kit.asked import candles_of
from tests.kit.writer import INSTRUMENT, START_MS, Writer
from workers.rollup.day import roll_day

pytestmark = pytest.mark.anyio

KEYS, MARKET = SymbolKeys(INSTRUMENT.symbol), Market(INSTRUMENT)
FIRST_MS = day_of(START_MS) + DAY_MS
# Over the end of November.
DAYS = 20
HOUR = Timeframe.parse("1h")


class Reads:
    """What is fetched: days by their minutes, and months."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.days: list[int] = []
        self.months: list[int] = []
        blocks, rolled = SymbolReader.blocks, SymbolReader.rolled_months

        async def of_days(reader: SymbolReader, series: Any, days: Any) -> Any:
            self.days += days
            return await blocks(reader, series, days)

        async def of_months(reader: SymbolReader, months: Any) -> Any:
            self.months += months
            return await rolled(reader, months)

        patch.setattr(SymbolReader, "blocks", of_days)
        patch.setattr(SymbolReader, "rolled_months", of_months)

    def take(self) -> tuple[list[int], list[int]]:
        found = [(day_ms - FIRST_MS) // DAY_MS for day_ms in self.days], self.months
        self.days, self.months = [], []
        return found


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


async def write(writer: Writer, days: int = DAYS) -> None:
    """Days of some trades, rolled up and sealed."""
    for day in range(days):
        times = (FIRST_MS + day * DAY_MS + number * 7 * MINUTE_MS for number in range(200))
        await writer.commit(*(writer.trade(at_ms, 10_000 + at_ms // MINUTE_MS % 97) for at_ms in times))
    await writer.commit(writer.trade(FIRST_MS + (days + 1) * DAY_MS))
    await writer.roll_up()


async def bars(client: Redis, timeframe: str = "1h", window: Window | None = None) -> list[dict[str, Any]]:
    """Asked of a feed that has only just been started."""
    query = CandleQuery(Timeframe.parse(timeframe), window or Window(None, None, 5_000), "none", "json")
    found: list[dict[str, Any]] = orjson.loads(await candles_of(Queries(client, 6_000), MARKET, query))["bars"]
    return found


async def by_minute(client: Redis, timeframe: str = "1h", window: Window | None = None) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("feed.bars.recipe.is_of_steps", lambda *_: False)
        return await bars(client, timeframe, window)


async def correct(writer: Writer, day: int) -> None:
    """A late trade of a day, which is sealed."""
    await writer.commit(writer.trade(FIRST_MS + day * DAY_MS + 5_000, 12_345))


async def test_whole_sealed_days_are_read_by_their_15m_candles(writer: Writer, client: Redis, reads: Reads) -> None:
    await write(writer)
    november = MONTH.open_of(FIRST_MS)
    found = await bars(client)
    assert reads.take() == ([], [november, MONTH.next_open(november)])
    assert found == await by_minute(client) and len(found) > DAYS * 20
    assert reads.take() == (list(range(DAYS)), [])
    # Of the first day a part is asked for.
    window = Window(FIRST_MS + DAY_MS // 2, FIRST_MS + 3 * DAY_MS, 5_000)
    found = await bars(client, window=window)
    assert reads.take() == ([0], [november])
    assert found == await by_minute(client, window=window)


@pytest.mark.parametrize("timeframe", ["1m", "10m", "16m", "50m"])
async def test_bars_that_begin_within_a_quarter_of_an_hour_are_made_of_minutes(
    writer: Writer, client: Redis, reads: Reads, timeframe: str
) -> None:
    await write(writer, 3)
    assert await bars(client, timeframe)
    assert reads.take() == ([0, 1, 2], [])


@pytest.mark.parametrize("timeframe", ["15m", "45m", "6h", "12h", "5d", "1w", "1M"])
async def test_all_others_are_made_of_15m_candles(writer: Writer, client: Redis, timeframe: str) -> None:
    await write(writer)
    assert await bars(client, timeframe) == await by_minute(client, timeframe)


async def test_an_amended_day_is_read_by_its_minutes_until_it_is_sealed_again(
    writer: Writer, client: Redis, reads: Reads
) -> None:
    await write(writer)
    await correct(writer, 3)
    reads.take()
    found = await bars(client)
    assert reads.take()[0] == [3]
    assert found == await by_minute(client)
    await writer.roll_up()
    reads.take()
    assert await bars(client) == found
    assert reads.take()[0] == []


async def sealed_without_months(writer: Writer, day: int) -> None:
    """As by a release that knows no 15m candles, or by an import."""
    await correct(writer, day)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.rollup.day._makes_month", lambda *_: False)
        await writer.roll_up()


async def test_a_day_that_was_sealed_without_its_month_is_read_by_its_minutes(
    writer: Writer, client: Redis, reads: Reads
) -> None:
    await write(writer)
    await sealed_without_months(writer, 3)
    reads.take()
    found = await bars(client)
    assert reads.take()[0] == [3]
    assert found == await by_minute(client)
    # Whoever makes the month next, makes all of it.
    await correct(writer, 5)
    await writer.roll_up()
    reads.take()
    found = await bars(client)
    assert reads.take()[0] == []
    assert found == await by_minute(client)


async def test_it_is_the_digest_that_keeps_an_answer_right(
    writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    await write(writer)
    await sealed_without_months(writer, 3)
    monkeypatch.setattr(RolledMonth, "has", lambda month, seal: seal.day_ms in month.days)
    assert await bars(client) != await by_minute(client)


@pytest.mark.parametrize("block", [b"?", None])
async def test_a_block_that_is_not_the_one_that_is_named_is_not_taken(
    writer: Writer, client: Redis, reads: Reads, block: bytes | None
) -> None:
    """However long it is not: no question waits for a roll-up that minutes can do without."""
    await write(writer, 3)
    expected, (month,) = await by_minute(client), await client.hkeys(KEYS.rolled_15m)
    await client.delete(KEYS.rolled_15m)
    if block:
        await client.hset(KEYS.rolled_15m, month, block)
    reads.take()
    assert await bars(client) == expected
    assert reads.take() == ([0, 1, 2], [int(month)])


async def test_a_month_that_is_made_again_while_it_is_fetched_is_read_once_more(
    writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(writer, 3)
    read, asked = SymbolReader.rolled_months, list[int]()

    async def late(reader: SymbolReader, months: Any) -> Any:
        if not asked:
            await correct(writer, 1)
            await writer.roll_up()
        asked.append(len(months))
        return await read(reader, months)

    monkeypatch.setattr(SymbolReader, "rolled_months", late)
    found = await bars(client)
    assert len(asked) == 2 and found == await by_minute(client)
    assert 123.45 in [bar["h"] for bar in found]


async def test_what_is_dropped_is_not_answered_by_15m_candles(writer: Writer, client: Redis) -> None:
    await write(writer)
    keep_ms = FIRST_MS + 4 * DAY_MS
    month: Any = await client.hgetall(KEYS.rolled_15m)
    await client.hset(KEYS.state, "candle_floor_ms", keep_ms)
    found = await bars(client)
    assert found == await by_minute(client) and found[0]["t"] == keep_ms
    assert month == await client.hgetall(KEYS.rolled_15m)


def seals(*days: int) -> list[Seal]:
    return [Seal(day * DAY_MS, {"candles": 1}, {"candles": f"digest{day}"}) for day in days]


def month_of(*days: int) -> RolledMonth:
    return RolledMonth.made(0, 1, "digest", {day * DAY_MS: f"digest{day}" for day in days})


def plan_of(days: list[Seal], month: RolledMonth, amended: tuple[int, ...] = (), span: Any = (0, 31 * DAY_MS)) -> Any:
    made = planned([days], [month], span, {day * DAY_MS for day in amended}, lambda *_: set())
    by_minute = [[seal.day_ms // DAY_MS for seal in stretch] for stretch in made.by_minute]
    return by_minute, [(run.from_ms // DAY_MS, run.to_ms // DAY_MS) for run in made.rolled]


def test_days_are_read_in_runs_of_one_kind() -> None:
    assert plan_of(seals(0, 1, 2, 3), month_of(0, 1, 2, 3)) == ([], [(0, 4)])
    assert plan_of(seals(0, 1, 2, 3), month_of(0, 1, 3)) == ([[2]], [(0, 2), (3, 4)])
    assert plan_of(seals(0, 1, 2, 3), month_of(0, 1, 2, 3), amended=(1, 2)) == ([[1, 2]], [(0, 1), (3, 4)])
    assert plan_of(seals(0, 1, 2, 3), month_of(0, 1, 2, 3), span=(1, 3 * DAY_MS)) == ([[0]], [(1, 3)])


def test_rows_of_a_day_that_is_not_sealed_any_more_lie_in_no_run() -> None:
    assert plan_of(seals(0, 2), month_of(0, 1, 2)) == ([], [(0, 1), (2, 3)])
    assert plan_of(seals(1, 2), month_of(0, 1, 2)) == ([], [(1, 3)])


def test_months_of_a_year_are_read_as_one() -> None:
    # From November 1970 to February 1971; of December nothing was rolled up, and in January a day is behind.
    days = {month_ms: range(month_ms, MONTH.next_open(month_ms), DAY_MS) for month_ms in _months(304 * DAY_MS, 4)}
    stretches = [[Seal(day, {"candles": 1}, {"candles": str(day)}) for day in each] for each in days.values()]
    november, december, january, february = days
    made = [
        RolledMonth.made(month_ms, 1, "", {day: str(day) for day in days[month_ms] if day != january + DAY_MS})
        for month_ms in (november, january, february)
    ]
    plan = planned(stretches, made, (0, 1 << 50), set(), lambda *_: set())
    assert plan.by_minute == [stretches[1], stretches[2][1:2]]
    assert [(len(run.months), run.from_ms, run.to_ms) for run in plan.rolled] == [
        (1, november, december),
        (2, january, january + DAY_MS),
        (2, january + 2 * DAY_MS, MONTH.next_open(february)),
    ]


def _months(open_ms: int, count: int) -> list[int]:
    found = [open_ms]
    while len(found) < count:
        found.append(MONTH.next_open(found[-1]))
    return found


@pytest.mark.parametrize(("timeframe", "expected"), [("15m", True), ("3h", True), ("1M", True), ("20m", False)])
def test_a_bar_is_made_of_whole_quarters_of_an_hour_or_not(timeframe: str, expected: bool) -> None:
    assert is_of_steps(Timeframe.parse(timeframe), 15 * MINUTE_MS) is expected


# The week from Sunday, 2023-11-12, on.
WEEK_MS = 1_699_747_200_000


@pytest.mark.parametrize(
    ("calendar", "expected"),
    [
        ("24x7", set()),
        # One session follows the other, but for Friday's, to which the minute at its close belongs.
        ("CMES", {5}),
        # So does the prints' of every closing auction.
        ("XNYS", {1, 2, 3, 4, 5}),
    ],
)
def test_sessions_say_on_which_days_15m_candles_may_not_stand_for_minutes(calendar: str, expected: set[int]) -> None:
    timeframe = Instrument("A", 2, 2, calendar=calendar).anchored(HOUR)
    found = uneven_days(timeframe, 15 * MINUTE_MS, WEEK_MS, WEEK_MS + 6 * DAY_MS)
    assert {(day_ms - WEEK_MS) // DAY_MS for day_ms in found if day_ms < WEEK_MS + 7 * DAY_MS} == expected


async def test_a_store_in_the_format_before_has_none(writer: Writer, client: Redis) -> None:
    await client.set("{}:format", 2)
    await write(writer, 3)
    assert not await client.exists(KEYS.months, KEYS.rolled_15m)
    assert (await RollupStore(client, INSTRUMENT.symbol).due()).unrolled_ms == MONTH.open_of(FIRST_MS)
    assert await roll_day(client, MARKET, FIRST_MS) is False
