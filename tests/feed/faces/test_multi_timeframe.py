"""`/api/multi-timeframe/ohlcv/...`: several timeframes in one answer, which agree with each other and `/v1/candles`."""

import asyncio
import os
import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from common.market.candle import Candle
from common.market.coding.bar_json import open_ended, run_of
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS, Timeframe
from feed.faces.multi_timeframe.rows import CURRENT_ROW, NAMES, ROW
from tests.kit.frames import bars_frame
from tests.kit.served import Served, served
from tests.kit.strategies import LAW, candles, instruments
from tests.kit.writer import INSTRUMENT, Writer, random_step
from tests.scale import scaled

S = INSTRUMENT.symbol
OHLCV = f"/api/multi-timeframe/ohlcv/{S}"
CURRENT = f"{OHLCV}/current"
HOUR_MS = 60 * MINUTE_MS
# Of which all timeframes are to agree.
ANSWERS = int(os.environ.get("AGREEING_ANSWERS", scaled(2_000)))
# As clients spell them: one of them twice.
SPELLED = ["1min", "5min", "5m", "15min", "1h", "4h", "1d", "1w", "30s"]


def row_of(bar: dict[str, Any]) -> dict[str, Any]:
    """A bar of /v1/candles as a row here."""
    ts = bar["t"] // 1000 if bar["t"] % 1000 == 0 else bar["t"] / 1000
    row = {"ts": ts} | {name: bar[name] for name in (*NAMES, "isFinal", "rev")}
    return row | ({"partial": True} if bar.get("partial") else {})


async def bars(feed: Served, timeframe: str, limit: int) -> list[dict[str, Any]]:
    return list((await feed.json(f"/v1/candles/{S}", timeframe=timeframe, limit=limit))["bars"])


@pytest.mark.parametrize("seed", range(scaled(6)))
async def test_the_rows_are_those_bars_whatever_has_happened(feed: Served, writer: Writer, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(8):
        for _ in range(6):
            await random_step(writer, rng)
        lookback = rng.choice((1, 3, 100, 1_000))
        answer = await feed.json(OHLCV, timeframes=",".join(SPELLED), lookback=lookback)
        assert list(answer) == ["symbol", "timeframes", "cursor", "health"]
        assert (answer["symbol"], answer["cursor"], answer["health"]["mode"]) == (S, writer.cursor, "LIVE")
        assert list(answer["timeframes"]) == SPELLED
        for spelled, rows in answer["timeframes"].items():
            assert rows == [row_of(bar) for bar in await bars(feed, spelled, lookback)], spelled


async def test_by_default_it_has_three_timeframes_and_a_hundred_bars(feed: Served, writer: Writer) -> None:
    open_ms = writer.now_ms // MINUTE_MS * MINUTE_MS
    for minute in range(120):
        await writer.commit(writer.trade(open_ms + minute * MINUTE_MS))
    answer = await feed.json(OHLCV)
    assert {spelled: len(rows) for spelled, rows in answer["timeframes"].items()} == {
        "1min": 100,
        "5min": len(await bars(feed, "5m", 100)),
        "15min": len(await bars(feed, "15m", 100)),
    }
    # One at a time, or with commas between.
    repeated = await feed.http.get(OHLCV, params=[("timeframes", "1h"), ("timeframes", "4h,1d"), ("lookback", "2")])
    assert list(repeated.json()["timeframes"]) == ["1h", "4h", "1d"]


async def test_the_newest_bar_has_both_spellings_whether_it_grows_or_not(feed: Served, writer: Writer) -> None:
    assert (await feed.json(CURRENT, timeframes="1min,1h"))["current"] == {"1min": None, "1h": None}
    open_ms = (writer.now_ms // HOUR_MS + 1) * HOUR_MS
    await writer.commit(writer.trade(open_ms, ticks=10_000, lots=5), writer.trade(open_ms + 10, ticks=9_900, lots=7))
    long_names = {"open": 100, "high": 100, "low": 99, "close": 99, "volume": 0.012}
    bar = {"ts": open_ms // 1_000, **{name: long_names[long] for name, long in NAMES.items()}, **long_names}
    growing = (await feed.json(CURRENT, timeframes="1min,1h"))["current"]
    for spelled in ("1min", "1h"):
        assert growing[spelled] == bar | {"is_complete": False, "rev": 0, "timeframe": spelled}
    # The clock closes the minute: until the next trade it is the newest one.
    writer.now_ms += 2 * MINUTE_MS
    await writer.commit()
    after = (await feed.json(CURRENT, timeframes="1min,1h"))["current"]
    assert after["1min"] == bar | {"is_complete": True, "rev": 0, "timeframe": "1min"}
    assert after["1h"]["is_complete"] is False


def volumes(rows: list[dict[str, Any]], timeframe: str) -> dict[int, Decimal]:
    """What rows of minutes add up to, by the opens of such a timeframe, in seconds: of those they reach back to."""
    length, found = Timeframe.parse(timeframe), dict[int, Decimal]()
    for row in rows:
        open_s = length.open_of(row["ts"] * 1_000) // 1_000
        found[open_s] = found.get(open_s, Decimal()) + Decimal(str(row["v"]))
    found.pop(min(found))
    return found


def agree(minutes: list[dict[str, Any]], longer: list[dict[str, Any]], timeframe: str) -> bool:
    """Whether the longer bars are the sums of the minutes, and end as the last of these does."""
    told = {row["ts"]: Decimal(str(row["v"])) for row in longer}
    sums = volumes(minutes, timeframe)
    return all(told[open_s] == volume for open_s, volume in sums.items()) and minutes[-1]["c"] == longer[-1]["c"]


@pytest.mark.timeout(60 + ANSWERS // 20)
async def test_all_timeframes_agree_while_commits_come_without_a_rest(feed: Served, writer: Writer) -> None:
    """And answers asked one by one don't: the control."""
    rng = random.Random(1)
    for _ in range(40):
        await writer.commit(writer.trade(writer.now_ms + rng.randrange(60_000)))
    done = asyncio.Event()

    async def fire() -> None:
        while not done.is_set():
            at_ms = writer.now_ms + rng.randrange(3_000)
            await writer.commit(writer.trade(at_ms, rng.randrange(9_000, 11_000), rng.randrange(1, 99)))

    firing = asyncio.create_task(fire())
    timeframes, apart, commits = ("5min", "15min", "1h", "1d"), 0, writer.seq
    try:
        for _ in range(ANSWERS):
            answer = await feed.json(OHLCV, timeframes=",".join(("1min", *timeframes)), lookback=1_000)
            found = answer["timeframes"]
            for timeframe in timeframes[:-1]:
                assert agree(found["1min"], found[timeframe], timeframe), answer["cursor"]
            # Of days, the newest one ends where the last minute does.
            assert found["1d"][-1]["c"] == found["1min"][-1]["c"]
            minutes = [row_of(bar) for bar in await bars(feed, "1m", 1_000)]
            apart += not agree(minutes, [row_of(bar) for bar in await bars(feed, "5m", 1_000)], "5min")
    finally:
        done.set()
        await firing
    assert apart and writer.seq > commits + 20


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lookback": 0}, "lookback is 0, expected 1 to 1000"),
        ({"lookback": 1_001}, "lookback is 1001, expected 1 to 1000"),
        ({"lookback": "x"}, "lookback is 'x', expected a whole number"),
        ({"timeframes": ",".join(["1m"] * 17)}, "timeframes has 17 values, expected at most 16"),
        ({"timeframe": "1m"}, "parameter 'timeframe' is not known here, expected timeframes, lookback"),
    ],
)
async def test_what_can_t_be_is_refused_in_a_sentence(
    feed: Served, writer: Writer, params: dict[str, Any], message: str
) -> None:
    answer = await feed.get(OHLCV, **params)
    assert (answer.status_code, answer.json()["error"]) == (400, {"code": "bad_input", "message": message})


@pytest.mark.parametrize("timeframes", ["", "5x", "1m,,5m", "0m", "1m 5m"])
async def test_a_timeframe_that_can_t_be_is_named(feed: Served, writer: Writer, timeframes: str) -> None:
    answer = await feed.get(OHLCV, timeframes=timeframes)
    assert answer.status_code == 400 and "timeframe" in answer.json()["error"]["message"]
    assert (await feed.get("/api/multi-timeframe/ohlcv/NO:SUCH")).status_code == 404


async def test_a_symbol_without_a_trade_has_empty_lists(redis_url: str, writer: Writer) -> None:
    async with served(redis_url) as feed:
        answer = await feed.json(OHLCV)
    assert answer["timeframes"] == {"1min": [], "5min": [], "15min": []} and answer["cursor"] == "0-"


@LAW
@given(st.lists(st.tuples(candles(), st.booleans(), st.booleans()), max_size=6), instruments())
def test_many_bars_are_written_as_each_is(bars: list[tuple[Candle, bool, bool]], instrument: Instrument) -> None:
    for form in (ROW, CURRENT_ROW):
        written = [form.bar(candle, instrument, is_final=final) for candle, final, _ in bars]
        for at, (_, _, partial) in enumerate(bars):
            written[at] = run_of([open_ended(written[at])], [0] if partial else [])
        assert form.bars(bars_frame(bars), instrument) == written
        assert all(orjson.loads(text) for text in written)


async def test_a_name_without_its_venue_is_the_symbol_that_one_venue_has(
    feed: Served, writer: Writer, client: Redis
) -> None:
    await writer.commit(writer.trade())
    await Writer(client, replace(INSTRUMENT, symbol="NSE:NIFTY50")).register()
    for path in ("ohlcv/NIFTY50", "ohlcv/NIFTY50/current"):
        assert (await feed.json(f"/api/multi-timeframe/{path}"))["symbol"] == "NSE:NIFTY50"
        # Where symbols are told in full, they are asked for in full.
    assert (await feed.get("/v1/candles/NIFTY50")).status_code == 404
    await Writer(client, replace(INSTRUMENT, symbol="BSE:NIFTY50")).register()
    answer = await feed.get("/api/multi-timeframe/ohlcv/NIFTY50")
    sentence = "symbol NIFTY50 is of several venues, expected one of BSE:NIFTY50, NSE:NIFTY50"
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, sentence)
    # One of that very name is it, whatever venues have.
    await Writer(client, replace(INSTRUMENT, symbol="NIFTY50")).register()
    assert (await feed.json("/api/multi-timeframe/ohlcv/NIFTY50"))["symbol"] == "NIFTY50"
    for unknown in ("NIFTY", "NSE:NIFTY", "50"):
        answer = await feed.get(f"/api/multi-timeframe/ohlcv/{unknown}")
        assert answer.json()["error"]["message"].startswith(f"symbol {unknown} is not registered")
