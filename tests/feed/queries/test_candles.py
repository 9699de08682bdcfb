"""`GET /v1/candles/{symbol}` and `/current`: windows, shapes, forms, filling."""

import csv
import io
import random
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest
from redis.asyncio import Redis

from common.market.builder.gaps import DISCONNECT, UNFILLABLE, Gap
from common.market.candle import SIMULATED
from common.market.timeframes.timeframe import DAY_MS, Timeframe
from common.store.keys import SymbolKeys
from common.store.parts import Minutes, Part, Range
from common.store.reads import SymbolReader, View
from feed.bars.days import MAX_DIRTY_MS
from tests.kit.bars_oracle import expected
from tests.kit.served import Served, served
from tests.kit.writer import INSTRUMENT, Writer, some_trades

S = INSTRUMENT.symbol
PATH = f"/v1/candles/{S}"
MINUTE_MS = 60_000
# A minute's open, at noon.
NOON_MS = 1_700_049_600_000


async def minutes(writer: Writer, *numbers: int) -> None:
    """A trade in each of these minutes after noon, one commit each; the last minute stays open."""
    for number in numbers:
        await writer.commit(writer.trade(NOON_MS + number * MINUTE_MS, ticks=10_000 + number))


async def opens(feed: Served, **params: Any) -> list[int]:
    """The opens of the bars, in minutes after noon."""
    return [(bar["t"] - NOON_MS) // MINUTE_MS for bar in (await feed.json(PATH, **params))["bars"]]


async def test_the_answer_has_bars_cursor_coverage_gaps_and_health(feed: Served, writer: Writer) -> None:
    await minutes(writer, 0, 1)
    answer = await feed.json(PATH)
    assert list(answer) == ["symbol", "timeframe", "bars", "cursor", "coverage", "gaps", "health"]
    assert (answer["symbol"], answer["timeframe"], answer["cursor"]) == (S, "1m", writer.cursor)
    assert answer["coverage"] == [[NOON_MS, NOON_MS + MINUTE_MS]]
    assert answer["bars"][0] == {
        "t": NOON_MS,
        "o": 100,
        "h": 100,
        "l": 100,
        "c": 100,
        "v": 0.005,
        "bv": 0.005,
        "q": 0.5,
        "n": 1,
        "isFinal": True,
        "rev": 0,
        "source": "live",
    }
    assert not answer["bars"][1]["isFinal"]
    assert answer["health"]["mode"] == "LIVE" and answer["health"]["gapsDetected"] == 0


async def test_without_bounds_the_newest_bars_are_answered_the_growing_one_included(
    feed: Served, writer: Writer
) -> None:
    await minutes(writer, *range(8))
    assert await opens(feed, limit=3) == [5, 6, 7]
    assert await opens(feed, timeframe="5m", limit=3) == [0, 5]


async def test_start_is_inclusive_and_end_exclusive(feed: Served, writer: Writer) -> None:
    await minutes(writer, *range(8))
    window = {"start": NOON_MS + 2 * MINUTE_MS, "end": NOON_MS + 6 * MINUTE_MS}
    assert await opens(feed, **window) == [2, 3, 4, 5]
    assert await opens(feed, start=window["start"] + 1, end=window["end"] + 1) == [3, 4, 5, 6]
    assert await opens(feed, start=NOON_MS, end=NOON_MS) == []
    # A bar belongs to where it opens: its later minutes come with it.
    answer = await feed.json(PATH, timeframe="5m", start=NOON_MS, end=NOON_MS + 1)
    assert [bar["n"] for bar in answer["bars"]] == [5]


async def test_the_limit_keeps_the_newest_bars_but_the_oldest_from_a_start_without_an_end(
    feed: Served, writer: Writer
) -> None:
    await minutes(writer, *range(8))
    assert await opens(feed, start=NOON_MS, end=NOON_MS + 6 * MINUTE_MS, limit=2) == [4, 5]
    assert await opens(feed, end=NOON_MS + 6 * MINUTE_MS, limit=2) == [4, 5]
    assert await opens(feed, start=NOON_MS + 1, limit=2) == [1, 2]
    assert await opens(feed, start=NOON_MS + 6 * MINUTE_MS, limit=5) == [6, 7]


async def test_walking_forward_from_a_start_and_back_from_an_end_sees_every_bar_once(
    feed: Served, writer: Writer
) -> None:
    await minutes(writer, *range(0, 200, 7))
    for timeframe, ms in (("1m", MINUTE_MS), ("15m", 15 * MINUTE_MS)):
        whole = await opens(feed, timeframe=timeframe)
        forward, start = [], NOON_MS
        while page := await opens(feed, timeframe=timeframe, start=start, limit=3):
            forward += page
            start = NOON_MS + page[-1] * MINUTE_MS + ms
        back: list[int] = []
        end = NOON_MS + 1_000 * MINUTE_MS
        while page := await opens(feed, timeframe=timeframe, end=end, limit=3):
            back = page + back
            end = NOON_MS + page[0] * MINUTE_MS
        assert whole == forward == back


async def test_sparse_minutes_are_read_further_back_until_the_limit(feed: Served, writer: Writer) -> None:
    await minutes(writer, 0, 900, 901, 5_000)
    assert await opens(feed, limit=3) == [900, 901, 5_000]
    assert await opens(feed, timeframe="1h", limit=3) == [0, 900, 4_980]


@pytest.mark.parametrize(("timeframe", "step_ms"), [("1m", MINUTE_MS), ("5m", 5 * MINUTE_MS), ("1s", 1_000)])
async def test_on_demand_each_bar_is_told_with_the_time_of_its_last_trade(
    feed: Served, writer: Writer, timeframe: str, step_ms: int
) -> None:
    times_ms = [NOON_MS + at_ms for at_ms in (0, 400, 70_500, 299_999, 300_000, 300_001)]
    for at_ms in times_ms:
        await writer.commit(writer.trade(at_ms))
    last_ms = {at_ms - at_ms % step_ms: at_ms for at_ms in times_ms}
    dated = await feed.json(PATH, timeframe=timeframe, updated=1)
    assert {bar["t"]: bar.pop("lastUpdatedAt") for bar in dated["bars"]} == last_ms
    # Else they are the same.
    assert dated["bars"] == (await feed.json(PATH, timeframe=timeframe))["bars"]
    # A late trade that is not the last of its bar leaves it so.
    await writer.commit(writer.trade(NOON_MS + 70_400))
    assert [bar["lastUpdatedAt"] for bar in (await feed.json(PATH, timeframe=timeframe, updated=1))["bars"]]
    filled = await feed.json(PATH, timeframe="1m", updated=1, fill="flat")
    assert filled["bars"][2]["lastUpdatedAt"] == NOON_MS + 70_500
    answer = await feed.get(PATH, updated=1, format="csv")
    assert answer.json()["error"]["message"] == "updated is 1 and format is csv, expected format=json with it"


async def test_times_are_ms_or_utc_text(feed: Served, writer: Writer) -> None:
    await minutes(writer, *range(4))
    assert await opens(feed, start="2023-11-15T12:01:00Z", end="2023-11-15T12:03:00+00:00") == [1, 2]
    assert await opens(feed, start="2023-11-15T12:01:00.000Z") == [1, 2, 3]


async def test_empty_minutes_are_filled_flat_on_demand(feed: Served, writer: Writer) -> None:
    await minutes(writer, 0, 3)
    answer = await feed.json(PATH, fill="flat")
    assert [bar["n"] for bar in answer["bars"]] == [1, 0, 0, 1]
    flat = answer["bars"][1]
    assert {flat["o"], flat["h"], flat["l"], flat["c"]} == {100}
    assert (flat["v"], flat["q"], flat["isFinal"]) == (0, 0, True)
    assert await opens(feed, fill="flat", limit=2) == [2, 3]
    # The bar before the window lends its close.
    inside = {"start": NOON_MS + MINUTE_MS, "end": NOON_MS + 3 * MINUTE_MS}
    assert await opens(feed, fill="flat", **inside) == [1, 2]
    assert await opens(feed, fill="flat", start=NOON_MS + MINUTE_MS, limit=1) == [1]
    assert await opens(feed, fill="flat", start=NOON_MS - 60 * MINUTE_MS, limit=2) == [0, 1]


async def test_flat_bars_go_on_as_far_as_the_clock_has_closed(feed: Served, writer: Writer) -> None:
    await minutes(writer, 0)
    writer.now_ms += 3 * MINUTE_MS + 30_000
    await writer.commit()
    answer = await feed.json(PATH, fill="flat")
    assert [(bar["n"], bar["isFinal"]) for bar in answer["bars"]] == [(1, True), (0, True), (0, True), (0, False)]


async def test_filling_milliseconds_of_a_long_silence_is_bounded_by_the_limit(feed: Served, writer: Writer) -> None:
    await minutes(writer, 0, 100_000)
    answer = await feed.json(PATH, fill="flat", timeframe="1ms", limit=100)
    assert [bar["t"] for bar in answer["bars"]] == [NOON_MS + 100_000 * MINUTE_MS + at for at in range(-99, 1)]


@pytest.mark.parametrize("timeframe", ["1m", "15m", "1d", "1M", "1s", "250ms", "90s"])
async def test_all_forms_say_the_same(feed: Served, writer: Writer, timeframe: str) -> None:
    rng = random.Random(1)
    for _ in range(30):
        await writer.commit(*some_trades(writer, rng, 20))
    for fill in ("none", "flat"):
        asked = {"timeframe": timeframe, "limit": 50, "fill": fill}
        text = (await feed.get(PATH, **asked)).content
        bars = orjson.loads(text)["bars"]
        exact = [_plain(bar) for bar in _decimals(text)]
        table = await feed.get(PATH, format="csv", **asked)
        assert table.headers["content-type"].startswith("text/csv")
        assert [_of_csv(row) for row in csv.DictReader(io.StringIO(table.text))] == exact
        arrow = await feed.get(PATH, format="arrow", **asked)
        assert arrow.headers["content-type"] == "application/vnd.apache.arrow.stream"
        rows = pa.ipc.open_stream(arrow.content).read_all().to_pylist()
        assert [_plain(row) for row in rows] == exact
        assert len(bars) == len(exact) > 0


def _decimals(text: bytes) -> list[dict[str, Any]]:
    import json

    found: list[dict[str, Any]] = json.loads(text, parse_float=Decimal)["bars"]
    return found


def _plain(bar: dict[str, Any]) -> dict[str, str]:
    """All columns of a table, whatever of them a form leaves out."""
    whole = {"uv": 0, "partial": False} | bar
    return {name: _text(value) for name, value in sorted(whole.items())}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{Decimal(value).normalize():f}" if isinstance(value, int | Decimal) else str(value)


def _of_csv(row: dict[str, str]) -> dict[str, str]:
    return {name: _text(value) for name, value in sorted(row.items())}


@pytest.mark.parametrize("timeframe", ["1m", "1h", "1w", "3M", "1s", "1ms", "100s"])
async def test_every_timeframe_equals_the_oracle(feed: Served, writer: Writer, client: Redis, timeframe: str) -> None:
    rng = random.Random(2)
    for _ in range(20):
        await writer.commit(*some_trades(writer, rng, 30))
    answer = await feed.json(PATH, timeframe=timeframe, limit=5_000)
    assert answer["bars"] == list((await expected(client, writer, Timeframe.parse(timeframe))).values())


async def test_bars_before_the_first_kept_trade_are_not_made_up_and_the_first_is_partial(
    feed: Served, client: Redis
) -> None:
    writer = Writer(client, trades_kept=50)
    await writer.register()
    await writer.claim()
    for _ in range(200):
        writer.now_ms += 1_000
        await writer.commit(writer.trade())
    bars = (await feed.json(PATH, timeframe="1s"))["bars"]
    assert len(bars) == 50
    assert [bar.get("partial", False) for bar in bars] == [True] + 49 * [False]
    assert len((await feed.json(PATH, timeframe="1m"))["bars"]) == 4


async def test_the_first_bar_and_bars_over_a_hole_are_partial(feed: Served, writer: Writer, client: Redis) -> None:
    await writer.commit(writer.trade(NOON_MS + 30_000))
    await minutes(writer, 1, 2)
    writer.trade()
    await minutes(writer, 4, 5)
    answer = await feed.json(PATH)
    assert [bar.get("partial", False) for bar in answer["bars"]] == [True, False, True, True, False]
    assert answer["gaps"] == [
        {
            "from": NOON_MS + 2 * MINUTE_MS,
            "to": NOON_MS + 4 * MINUTE_MS,
            "firstId": 4,
            "lastId": 4,
            # It was there when the answer was read, and the ledger does not have it.
            "state": "repairing",
            "cause": "unknown",
        }
    ]
    known = Gap(4, 4, NOON_MS, NOON_MS, DISCONNECT, NOON_MS, UNFILLABLE, missing=1)
    dumped: dict[Any, Any] = {known.id: known.dump()}
    await client.hset(SymbolKeys(INSTRUMENT.symbol).gaps, mapping=dumped)
    (told,) = (await feed.json(PATH))["gaps"]
    assert (told["state"], told["cause"]) == ("unfillable", "disconnect")
    assert answer["health"]["gapsDetected"] == 1
    assert len(answer["coverage"]) == 2
    # Only what touches the answer.
    newest = await feed.json(PATH, limit=1)
    assert newest["gaps"] == [] and len(newest["coverage"]) == 1 and newest["health"]["gapsDetected"] == 1


async def test_simulated_data_says_so(feed: Served, client: Redis) -> None:
    writer = Writer(client, sources=SIMULATED)
    await writer.register(kind="simulator")
    await writer.claim()
    await writer.commit(writer.trade())
    answer = await feed.json(PATH)
    assert answer["simulated"] is True and answer["bars"][0]["source"] == "simulated"
    assert (await feed.json(f"{PATH}/current"))["simulated"] is True


async def test_current_is_the_growing_bar_or_null(feed: Served, writer: Writer) -> None:
    path = f"{PATH}/current"
    assert (await feed.json(path))["bar"] is None
    await minutes(writer, 0, 1)
    for timeframe in ("1m", "1h", "1s", "1M"):
        answer = await feed.json(path, timeframe=timeframe)
        whole = await feed.json(PATH, timeframe=timeframe)
        assert answer["bar"] == whole["bars"][-1]
        assert answer["cursor"] == writer.cursor and answer["health"] == whole["health"] | {
            "lastUpdateMsAgo": answer["health"]["lastUpdateMsAgo"]
        }
    writer.now_ms += 10 * MINUTE_MS
    await writer.commit()
    assert (await feed.json(path))["bar"] is None
    assert (await feed.json(path, timeframe="1h"))["bar"]["n"] == 2


async def test_a_symbol_without_a_commit_has_an_empty_answer(feed: Served, writer: Writer) -> None:
    for params in ({}, {"timeframe": "1s"}, {"fill": "flat"}, {"start": 0}):
        answer = await feed.json(PATH, **params)
        assert (answer["bars"], answer["cursor"], answer["coverage"]) == ([], "0-", [])
    for form in ("csv", "arrow"):
        assert (await feed.get(PATH, format=form)).status_code == 200


async def test_a_long_history_is_read_in_parts_that_fit_together(
    redis_url: str, writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.bars.recipe.CHUNK", 7)
    monkeypatch.setattr("feed.bars.tail.CHUNK", 7)
    rng = random.Random(3)
    for _ in range(40):
        await writer.commit(*some_trades(writer, rng, 20))
    async with served(redis_url) as feed:
        for timeframe in ("1m", "1h", "1M"):
            bars = list((await expected(client, writer, Timeframe.parse(timeframe))).values())
            for form in ({}, {"fill": "none", "format": "json", "start": 0}):
                assert (await feed.json(PATH, timeframe=timeframe, limit=5_000, **form))["bars"] == bars
            assert (await feed.json(PATH, timeframe=timeframe, limit=2))["bars"] == bars[-2:]
            assert (await feed.json(PATH, timeframe=timeframe, limit=2, start=0))["bars"] == bars[:2]


async def roll_days(writer: Writer, days: int) -> None:
    """So many finished days with a trade each, and the first trade of the next."""
    for _ in range(days + 1):
        await writer.commit(writer.trade())
        writer.now_ms += DAY_MS
    await writer.commit()


async def test_who_asked_for_few_days_is_given_more_of_them_later(feed: Served, writer: Writer) -> None:
    await roll_days(writer, 8)
    await writer.roll_up()
    for limit in (2, 3, 100):
        bars = (await feed.json(PATH, timeframe="1d", limit=limit))["bars"]
        assert len(bars) == min(limit, 9)
        forward = (await feed.json(PATH, timeframe="1d", start=0, limit=limit))["bars"]
        assert len(forward) == min(limit, 9)


async def test_days_that_wait_for_their_roll_up_are_not_read_all_at_once(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, asked = SymbolReader.view, list[Range]()

    async def noting(self: SymbolReader, *parts: Part) -> View:
        candles = [wanted for part in parts if isinstance(part, Minutes) for wanted in part.ranges]
        asked.extend(wanted for wanted in candles if wanted.newest is None and wanted.oldest is None)
        return await read(self, *parts)

    await roll_days(writer, 20)
    monkeypatch.setattr(SymbolReader, "view", noting)
    assert len((await feed.json(PATH, timeframe="1w", limit=100))["bars"]) >= 3
    assert all(wanted.end_ms - wanted.start_ms <= MAX_DIRTY_MS for wanted in asked)
