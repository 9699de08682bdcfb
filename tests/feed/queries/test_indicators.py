"""`GET /v1/indicators/{symbol}`: the values of the bars that are answered, whatever range is asked."""

import io
import random
from typing import Any

import numpy as np
import polars as pl
import pytest

from common.frames.schema import SHOWN, conform
from common.indicators import engine
from common.indicators.bars import IndicatorBars
from common.indicators.ids import parse
from common.indicators.table import KINDS
from common.indicators.values import values_of
from common.market.timeframes.timeframe import MINUTE_MS, Timeframe
from common.market.trade import Trade
from feed.bars import indicators as bars_of_indicators
from tests.kit.served import Served, served
from tests.kit.writer import INSTRUMENT, START_MS, Writer

PATH = f"/v1/indicators/{INSTRUMENT.symbol}"
CANDLES = f"/v1/candles/{INSTRUMENT.symbol}"
FIRST_MS = START_MS // (60 * MINUTE_MS) * 60 * MINUTE_MS
MINUTES = 1_200
SOME = (
    "RSI_5",
    "EMA_9",
    "MACD_3_6_4",
    "STOCH_5_3_3",
    "SUPERTREND_5_2",
    "ADX_5",
    "VWAP",
    "CVD_all",
    "OBV",
    "BBANDS_10_2",
)
# Told in prices or sizes, so that these are what 1e-9 is of.
ROOM = 1e-9 * 120


async def written(writer: Writer, minutes: int = MINUTES, seed: int = 1) -> None:
    """A trade or three in most minutes, the last of which still grows."""
    rng, ticks = random.Random(seed), 10_000
    trades: list[Trade] = []
    for minute in range(minutes):
        if rng.random() < 0.1 and minute:
            continue
        for at in range(rng.randint(1, 3)):
            ticks = max(ticks + rng.randint(-40, 40), 1_000)
            ts_ms = FIRST_MS + minute * MINUTE_MS + at * 1_000
            trades.append(writer.trade(ts_ms, ticks=ticks, lots=rng.randint(1, 500), side=rng.randint(0, 2)))
    for at in range(0, len(trades), 500):
        await writer.commit(*trades[at : at + 500])


async def asked(feed: Served, *ids: str, **params: Any) -> dict[str, Any]:
    return await feed.json(PATH, id=",".join(ids), **params)


def by_open(answer: dict[str, Any]) -> dict[int, dict[str, float | None]]:
    """Values of each bar, by id and output."""
    columns = {
        f"{name}.{output}": values
        for name, outputs in answer["indicators"].items()
        for output, values in outputs.items()
    }
    return {ms: {name: values[at] for name, values in columns.items()} for at, ms in enumerate(answer["t"])}


async def test_values_are_those_of_the_bars_of_the_same_question(feed: Served, writer: Writer) -> None:
    await written(writer)
    for params in (
        {"timeframe": "5m"},
        {"timeframe": "1m", "limit": 40},
        {"timeframe": "5m", "start": FIRST_MS, "limit": 7},
    ):
        bars, answer = (await feed.json(CANDLES, **params))["bars"], await asked(feed, *KINDS, **params)
        assert answer["t"] == [bar["t"] for bar in bars]
        assert answer["isFinal"] == [bar["isFinal"] for bar in bars]
        assert list(answer["indicators"]) == list(KINDS)
        assert answer["warmFrom"] == {} and "settled" not in answer


async def test_every_value_is_that_of_all_bars(feed: Served, writer: Writer) -> None:
    """By hand, of the candles that the feed answers."""
    await written(writer, 400)
    read = pl.read_ipc_stream(
        io.BytesIO((await feed.get(CANDLES, timeframe="5m", limit=50_000, format="arrow")).content)
    )
    ticks, lots = INSTRUMENT.price_decimals, INSTRUMENT.size_decimals
    scaled = {"o": ticks, "h": ticks, "l": ticks, "c": ticks, "v": lots, "bv": lots, "uv": lots, "q": ticks + lots}
    whole = {name: read[name].cast(pl.String).str.replace(".", "", literal=True).cast(pl.Int64) for name in scaled}
    frame = pl.DataFrame(
        {
            "open_ms": read["t"],
            **dict(zip(("open_ticks", "high_ticks", "low_ticks", "close_ticks"), map(whole.get, "ohlc"), strict=True)),
            "volume_lots": whole["v"],
            "buy_lots": whole["bv"],
            "sell_lots": whole["v"] - whole["bv"] - whole["uv"],
            "turnover": whole["q"].cast(pl.Int128),
            "trades": read["n"],
            "rev": read["rev"],
            "sources": pl.Series([1] * len(read), dtype=pl.UInt8),
        }
    )
    bars = IndicatorBars.of(conform(frame, SHOWN), INSTRUMENT.scale)
    answer = await asked(feed, *KINDS, timeframe="5m")
    for name in KINDS:
        for output, values in values_of(bars, parse(name)).items():
            told = np.array([np.nan if each is None else each for each in answer["indicators"][name][output]])
            assert np.array_equal(told, values, equal_nan=True), (name, output)


async def test_two_answers_agree_whatever_range_was_asked(feed: Served, writer: Writer) -> None:
    await written(writer)
    whole = by_open(await asked(feed, *SOME, limit=5_000))
    opens, rng = list(whole), random.Random(2)
    for at in range(25):
        some = rng.randrange(len(opens) - 60)
        start_ms, end_ms, limit = opens[some], opens[some + rng.randrange(60)] + MINUTE_MS, rng.randint(1, 60)
        bounds = ({"start": start_ms}, {"end": end_ms}, {"start": start_ms, "end": end_ms})[at % 3]
        answer = await asked(feed, *SOME, **bounds, limit=limit)
        assert answer["warmFrom"] == {} and "settled" not in answer
        for ms, values in by_open(answer).items():
            assert values == pytest.approx(whole[ms], rel=1e-9, abs=ROOM), (ms, bounds)


async def test_nothing_is_computed_that_was_not_asked_for(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(writer, 60)
    calls: list[str] = []
    library = engine.library()

    class Counting:
        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            return getattr(library, name)

    monkeypatch.setattr(engine, "library", Counting)
    await feed.json(CANDLES, timeframe="5m")
    await feed.json("/v1/indicators")
    assert calls == []
    await asked(feed, "EMA_3", "VWAP", timeframe="5m")
    assert calls == ["EMA"]


async def test_a_growing_bar_is_told_or_left_out(feed: Served, writer: Writer) -> None:
    await written(writer, 100)
    growing = await asked(feed, *SOME, timeframe="5m")
    final = await asked(feed, *SOME, timeframe="5m", final="true")
    assert growing["isFinal"][-1] is False and all(final["isFinal"])
    assert final["t"] == growing["t"][:-1]
    kept = by_open(growing)
    assert by_open(final) == {ms: kept[ms] for ms in final["t"]}


async def test_an_amended_bar_makes_a_fresh_answer(feed: Served, writer: Writer) -> None:
    await written(writer, 600)
    before = by_open(await asked(feed, *SOME, timeframe="5m"))
    late_ms = FIRST_MS + 301 * MINUTE_MS
    await writer.commit(writer.trade(late_ms, ticks=15_000, lots=900))
    after = by_open(await asked(feed, *SOME, timeframe="5m"))
    opened_ms = Timeframe.parse("5m").open_of(late_ms)
    assert all(before[ms] == after[ms] for ms in before if ms < opened_ms)
    assert before[opened_ms] != after[opened_ms]
    async with served(str(feed.services.settings.redis_url)) as other:
        assert by_open(await asked(other, *SOME, timeframe="5m")) == after


@pytest.mark.parametrize("align", ["5m", "15m", "1h"])
async def test_a_row_has_the_newest_value_that_was_over_by_its_end(feed: Served, writer: Writer, align: str) -> None:
    """At every watermark: what a row had is what it has later."""
    rng, seen = random.Random(3), dict[int, tuple[Any, ...]]()
    longer = Timeframe.parse(align)
    for minute in range(0, 200, 5):
        trades = [
            writer.trade(FIRST_MS + at * MINUTE_MS, ticks=10_000 + rng.randint(-99, 99))
            for at in range(minute, minute + 5)
        ]
        await writer.commit(*trades)
        if minute % 35:
            continue
        answer = await asked(feed, "SMA_2", timeframe="5m", align=align)
        values = by_open(await asked(feed, "SMA_2", timeframe=align, final="true"))
        for ms, is_final, as_of, value in zip(
            answer["t"], answer["isFinal"], answer["asOf"], answer["indicators"]["SMA_2"]["value"], strict=True
        ):
            assert as_of is None or longer.next_open(as_of) <= ms + 5 * MINUTE_MS
            assert value == (None if as_of is None else values[as_of]["SMA_2.value"])
            if is_final:
                assert seen.setdefault(ms, (as_of, value)) == (as_of, value)
    assert sum(as_of is not None for as_of, _ in seen.values()) > 10


async def test_bars_without_trades_are_another_series(feed: Served, writer: Writer) -> None:
    await written(writer, 300)
    for params in ({"limit": 50}, {"start": FIRST_MS + 100 * MINUTE_MS, "limit": 30}):
        bars = (await feed.json(CANDLES, fill="flat", **params))["bars"]
        answer = await asked(feed, "SMA_5", "VWAP", "OBV_all", fill="flat", **params)
        assert answer["fill"] == "flat" and answer["t"] == [bar["t"] for bar in bars]
        closes = [bar["c"] for bar in bars]
        means = [sum(closes[at - 4 : at + 1]) / 5 for at in range(4, len(bars))]
        assert answer["indicators"]["SMA_5"]["value"][4:] == pytest.approx(means)
        plain = by_open(await asked(feed, "VWAP", "OBV_all", limit=5_000))
        told = by_open(answer)
        for name in ("VWAP.value", "OBV_all.value"):
            assert all(told[ms][name] == plain[ms][name] for ms in told if ms in plain)


async def test_what_retention_has_dropped_is_said(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(writer, 300)
    monkeypatch.setattr(bars_of_indicators, "is_beginning", lambda cover: False)
    answer = await asked(feed, "EMA_5", "EMA_200", "SMA_5", "SUPERTREND_5_2", timeframe="5m")
    opens = answer["t"]
    assert answer["warmFrom"]["EMA_200"] is None
    assert answer["warmFrom"]["SMA_5"] == opens[4]
    assert answer["settled"] == {"SUPERTREND_5_2": False}


async def test_sums_say_since_when_and_what_they_lack(feed: Served, writer: Writer) -> None:
    await written(writer, 60)
    writer.next_id += 5
    await writer.commit(writer.trade(FIRST_MS + 61 * MINUTE_MS))
    answer = await asked(feed, "CVD", "OBV_all", "SMA_3", "ICHIMOKU")
    assert answer["since"] == {"CVD": FIRST_MS // 86_400_000 * 86_400_000, "OBV_all": answer["t"][0]}
    assert answer["reliableSince"]["OBV_all"] > answer["t"][0]
    assert answer["partials"]["OBV_all"][-1] and answer["partials"]["SMA_3"][-1]
    assert not answer["partials"]["SMA_3"][0]
    assert answer["shift"] == {"ICHIMOKU": {"ISA": 25, "ISB": 25, "ICS": -25}}
    assert len(answer["gaps"]) == 1


async def test_tables_have_a_column_for_each_output(feed: Served, writer: Writer) -> None:
    await written(writer, 60)
    answer = await asked(feed, "SMA_5", "MACD_3_6_4", timeframe="5m")
    names = ["t", "isFinal", "SMA_5", "MACD_3_6_4.MACD", "MACD_3_6_4.MACDs", "MACD_3_6_4.MACDh"]
    tables = {
        form: (await feed.get(PATH, id=["SMA_5", "MACD_3_6_4"], timeframe="5m", format=form)).content
        for form in ("csv", "arrow")
    }
    for table in (pl.read_csv(tables["csv"]), pl.read_ipc_stream(io.BytesIO(tables["arrow"]))):
        assert table.columns == names
        assert table["SMA_5"].to_list() == answer["indicators"]["SMA_5"]["value"]
        assert table["MACD_3_6_4.MACDh"].to_list() == answer["indicators"]["MACD_3_6_4"]["MACDh"]


async def test_as_many_ids_as_one_question_may_have(feed: Served, writer: Writer) -> None:
    await written(writer, 60)
    ids = [f"SMA_{n}" for n in range(1, 65)]
    one = await feed.json(PATH, id=ids)
    assert list(one["indicators"]) == ids == list((await asked(feed, *ids))["indicators"])
    response = await feed.get(PATH, id=[*ids, "SMA_65"])
    assert response.status_code == 400 and "expected at most 64" in response.text


@pytest.mark.parametrize("count", [0, 1])
async def test_hardly_any_bars(feed: Served, writer: Writer, count: int) -> None:
    for _ in range(count):
        await writer.commit(writer.trade(FIRST_MS))
    for params in (
        {},
        {"align": "1h"},
        {"fill": "flat"},
        {"final": "true"},
        {"start": FIRST_MS},
        {"timeframe": "10s"},
        {"timeframe": "1d"},
    ):
        answer = await asked(feed, *KINDS, **params)
        for outputs in answer["indicators"].values():
            assert all(len(values) == len(answer["t"]) for values in outputs.values())


@pytest.mark.parametrize("timeframe", ["10s", "15m", "1d", "1w"])
async def test_bars_of_any_timeframe(feed: Served, writer: Writer, timeframe: str) -> None:
    await written(writer, 200)
    answer = await asked(feed, *SOME, timeframe=timeframe, limit=20)
    assert answer["t"] == [bar["t"] for bar in (await feed.json(CANDLES, timeframe=timeframe, limit=20))["bars"]]


async def test_the_list_is_the_table(feed: Served) -> None:
    listed = (await feed.json("/v1/indicators"))["indicators"]
    assert [each["name"] for each in listed] == list(KINDS)
    macd = next(each for each in listed if each["name"] == "MACD")
    assert macd["id"] == "MACD_12_26_9" and macd["warmup"] == 399 and macd["outputs"] == ["MACD", "MACDs", "MACDh"]
    assert macd["first"] == {"MACD": 25, "MACDs": 33, "MACDh": 33}


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"id": ""}, "there is no indicator ''"),
        ({"id": "RSJ_14"}, "there is no indicator 'RSJ', expected one such as RSI"),
        ({"id": "SMA_5,EMA_0"}, "length of 'EMA_0' is 0, expected 1 to 1000"),
        ({"id": "RSI_1000"}, "expected at most 20000"),
        ({"id": "SMA_5", "final": "yes"}, "final is 'yes', expected false or true"),
        ({"id": "SMA_5", "align": "1m", "timeframe": "5m"}, "align is 1m, expected 5m or longer"),
        ({"id": "SMA_5", "align": "soon"}, "'soon'"),
        ({"id": "SMA_5", "align": "1h", "fill": "flat"}, "fill is flat, expected none with align"),
        ({"id": "SMA_5", "limit": 0}, "limit is 0"),
        ({"id": "SMA_5", "start": 2_000, "end": 1_000}, "start 2000 is after end 1000"),
        ({"id": "SMA_5", "format": "xml"}, "format is 'xml'"),
        ({"id": "SMA_5", "anchor": "day"}, "parameter 'anchor' is not known here"),
        ({"id": "%00", "timeframe": "1m"}, "there is no indicator"),
    ],
)
async def test_what_can_not_be_answered_is_refused_in_a_sentence(
    feed: Served, writer: Writer, params: dict[str, Any], sentence: str
) -> None:
    await writer.commit(writer.trade())
    response = await feed.get(PATH, **params)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "bad_input" and sentence in response.json()["error"]["message"]


async def test_a_closed_range_that_is_held_is_not_answered_again(feed: Served, writer: Writer) -> None:
    """Until something before it is amended, for values remember that."""
    await written(writer, 200)
    closed: dict[str, str | int] = {
        "id": "EMA_9",
        "start": FIRST_MS + 100 * MINUTE_MS,
        "end": FIRST_MS + 150 * MINUTE_MS,
    }
    tag = (await feed.get(PATH, **closed)).headers["etag"]

    async def again() -> int:
        return (await feed.http.get(PATH, params=closed, headers={"if-none-match": tag})).status_code

    assert await again() == 304
    await writer.commit(writer.trade(FIRST_MS + 50 * MINUTE_MS, ticks=20_000))
    assert await again() == 200
