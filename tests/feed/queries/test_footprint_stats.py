"""`GET /v1/footprint/{symbol}` with what is said of bars and rows: each number as counting trades one by one has it."""

import random
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from redis.asyncio import Redis

from common.market.orderflow.ratios import basis_points
from common.market.orderflow.rows import Align, height_for, lowest_offset
from common.market.timeframes.timeframe import DAY_MS, MINUTE, Timeframe
from common.market.trade import Trade
from feed.bars.by_trade import TapeTogether
from feed.bars.recipe import BarRecipe
from feed.bars.source import BarRows
from feed.bars.together import ClosedTogether
from feed.reading.bounds import Bounds
from tests.kit import orderflow_oracle as oracle
from tests.kit.flow_asked import answered, price, size, written
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, Writer, some_trades
from workers.symbol.commit import Retention

PATH = f"/v1/footprint/{INSTRUMENT.symbol}"
IMB, IMB_MIN, STACK, UA_MIN = 150, 3, 2, 2


def expected_bar(
    trades: list[Trade],
    after_ms: int,
    minutes: dict[int, list[Trade]],
    height: int,
    align: Align,
    delta: tuple[int, int] | tuple[None, None],
) -> dict[str, Any]:
    """All but when it opens and whether it is final."""
    offset = lowest_offset(height, align)
    rows, ticks = oracle.rows_of(trades, height, offset), oracle.rows_of(trades)
    buy, sell, total = (sum(column) for column in list(zip(*rows.values(), strict=True))[:3])
    area = oracle.value_area(oracle.totals_of(rows), 7_000, "standard", height)
    poc = oracle.poc(oracle.totals_of(rows))
    flagged = oracle.imbalances(rows, IMB, IMB_MIN, "count", height)
    told: dict[str, Any] = {
        "delta": size(buy - sell),
        "deltaBp": basis_points(buy - sell, buy + sell + total),
        **{name: None if lots is None else size(lots) for name, lots in zip(("dmin", "dmax"), delta, strict=True)},
        "poc": None if poc is None else price(poc),
        "val": price(area[0]) if area else None,
        "vah": price(area[1]) if area else None,
        "imb": [sorted(map(price, rows_)) for rows_ in flagged],
    }
    zones = []
    for side, at in (("buy", 0), ("sell", 1)):
        for low, high, count in oracle.stacks(flagged[at], STACK, height):
            bottom, top = low + offset, high + offset + height - 1
            state = oracle.state_of(minutes, after_ms, bottom, top, from_above=side == "buy")
            zones.append({"side": side, "low": price(bottom), "high": price(top), "rows": count} | state)
    unfinished = []
    for end, tick, at in (("high", max(ticks), 0), ("low", min(ticks), 1)):
        if min(ticks[tick][:2]) > 0 and ticks[tick][at] >= UA_MIN:
            state = oracle.state_of(minutes, after_ms, tick, tick, from_above=end == "low")
            unfinished.append({"at": end, "p": price(tick)} | state)
    zeros = [
        {"without": side, "low": price(low + offset), "high": price(high + offset + height - 1), "rows": count}
        for side, at in (("buy", 0), ("sell", 1))
        for low, high, count in oracle.stacks(oracle.zero_prints(rows, at), 1, height)
    ]
    told |= {name: found for name, found in (("zones", zones), ("unfinished", unfinished)) if found}
    return told | ({"zeroPrints": zeros} if zeros else {})


def told_bar(bar: dict[str, Any]) -> dict[str, Any]:
    rows = bar["rows"]
    flags = [[row["p"] for row in rows if row.get("imb") in (side, "both")] for side in ("buy", "sell")]
    told = {name: found for name, found in bar.items() if name not in ("t", "isFinal", "rows", "partial")}
    return told | {"imb": flags}


async def test_every_figure_is_what_counting_trades_makes_it(feed: Served, writer: Writer) -> None:
    await written(writer, seed=1)
    minutes = oracle.bars_of(writer.applied, MINUTE)
    rules = {"imb": IMB, "imb_min": size(IMB_MIN), "stack": STACK, "ua_min": size(UA_MIN)}
    grids: list[tuple[str, Align]] = [("0.01", "nearest"), ("0.05", "floor"), ("0.04", "nearest")]
    for text, (row, align) in product(("1m", "15m", "1d", "1s", "90s"), grids):
        timeframe, height = Timeframe.parse(text), INSTRUMENT.price_ticks(row)
        answer = await answered(feed, PATH, timeframe=text, row=row, align=align, stats=1, limit=5_000, **rules)
        bars, ranges = oracle.bars_of(writer.applied, timeframe), oracle.delta_ranges(writer.applied, timeframe)
        # Seconds are held against bars as short; all others against minutes.
        later = minutes if timeframe.of_minutes else bars
        expected = [
            expected_bar(trades, timeframe.next_open(open_ms), later, height, align, ranges[open_ms])
            for open_ms, trades in bars.items()
        ]
        assert [told_bar(bar) for bar in answer["bars"]] == expected, (text, row, align)
        assert [bar["t"] for bar in answer["bars"]] == list(bars)
        assert answer["lo"] == price(lowest_offset(height, align)) and answer["cursor"] == writer.cursor
        assert (answer["row"], answer["align"], answer["va"], answer["share"]) == (
            Decimal(row),
            align,
            "standard",
            7_000,
        )


@pytest.mark.parametrize("timeframe", ["1m", "15m", "1d", "1s"])
async def test_all_is_of_one_commit_whatever_is_written_meanwhile(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch, timeframe: str
) -> None:
    await written(writer, seed=6, count=4)
    rng, at_commit = random.Random(7), {writer.cursor: len(writer.applied)}
    reads: dict[type, Any] = {ClosedTogether: ClosedTogether.read, TapeTogether: TapeTogether.read}

    async def read(self: Any, recipe: BarRecipe, bounds: Bounds) -> BarRows:
        found: BarRows = await reads[type(self)](self, recipe, bounds)
        if len(at_commit) < 12:
            # Some of them late: closed minutes are amended. And time goes on.
            await writer.commit(*some_trades(writer, rng, rng.choice((0, 1, 5))))
            at_commit[writer.cursor] = len(writer.applied)
        return found

    for kind in reads:
        monkeypatch.setattr(kind, "read", read)
    for _ in range(3):
        answer = await answered(feed, PATH, timeframe=timeframe, row="auto", stats=1, limit=5_000)
        bars = oracle.bars_of(writer.applied[: at_commit[answer["cursor"]]], Timeframe.parse(timeframe))
        assert [bar["t"] for bar in answer["bars"]] == list(bars)
        for bar, trades in zip(answer["bars"], bars.values(), strict=True):
            sides = [sum(trade.size_lots for trade in trades if trade.side == side) for side in (0, 1)]
            assert bar["delta"] == size(sides[0] - sides[1])
            assert sum(row["bv"] for row in bar["rows"]) == size(sides[0])
            assert "missing" not in bar
    assert len(at_commit) > 8


async def test_a_height_is_worked_out_of_the_last_closed_bars(feed: Served, writer: Writer) -> None:
    await written(writer, seed=2, ticks=300)
    answer = await answered(feed, PATH, timeframe="15m", row="auto", limit=5_000)
    bars = list(oracle.bars_of(writer.applied, Timeframe.parse("15m")).values())
    closed = bars[: len([bar for bar in answer["bars"] if bar["isFinal"]])][-50:]
    ranges = sorted(max(t.price_ticks for t in bar) - min(t.price_ticks for t in bar) + 1 for bar in closed)
    assert answer["row"] == price(height_for(ranges[(len(ranges) - 1) // 2], 20))
    assert (answer["align"], "va" in answer) == ("nearest", False)
    assert sum(len(bar["rows"]) for bar in answer["bars"]) < sum(len(oracle.rows_of(bar)) for bar in bars)


async def test_what_is_asked_for_is_told_and_nothing_else(feed: Served, writer: Writer) -> None:
    await written(writer, seed=3, count=3)
    plain = await feed.get(PATH, timeframe="15m", row="0.05")
    stated = await feed.get(PATH, timeframe="15m", row="0.05", align="nearest")
    head = '"timeframe":"15m"'
    found, expected = (answer.text.partition('"health"')[0] for answer in (stated, plain))
    assert found == expected.replace(head, f'{head},"row":0.05,"align":"nearest","lo":-0.02')
    some = await answered(feed, PATH, timeframe="15m", fields="vah,deltaBp")
    names = {name for bar in some["bars"] for name in bar} - {"partial"}
    assert names == {"t", "isFinal", "delta", "deltaBp", "poc", "vah", "rows"}
    assert [bar["rows"] for bar in some["bars"]] == [
        bar["rows"] for bar in (await answered(feed, PATH, timeframe="15m"))["bars"]
    ]


async def test_windows_limits_and_pages_are_those_of_candles(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(writer, seed=4)
    monkeypatch.setattr("feed.bars.footprints.ROWS_AT_ONCE", 5)
    middle_ms = (writer.applied[0].trade.ts_ms + writer.now_ms) // 2
    for asked in ({"limit": 3}, {"start": 0, "limit": 2}, {"end": middle_ms, "limit": 4}, {"start": middle_ms}):
        for timeframe in ("1m", "1h", "1s", "1d"):
            found = await answered(feed, PATH, timeframe=timeframe, stats=1, **asked)
            candles = await answered(feed, f"/v1/candles/{INSTRUMENT.symbol}", timeframe=timeframe, **asked)
            assert [bar["t"] for bar in found["bars"]] == [bar["t"] for bar in candles["bars"]]
            for name in ("cursor", "coverage", "gaps"):
                assert found[name] == candles[name]


async def test_volume_without_rows_is_missing_and_not_nothing(feed: Served, client: Redis) -> None:
    """Footprints of a day go before its candles."""
    writer = Writer(client, retention=Retention(candle_days=400, footprint_days=2))
    await writer.register()
    await writer.claim()
    for _ in range(6):
        await writer.commit(writer.trade(lots=5), writer.trade(lots=2, side=1))
        writer.now_ms += DAY_MS
        await writer.roll_up()
    await writer.commit()
    bars = (await answered(feed, PATH, stats=1))["bars"]
    gone, there = bars[:3], bars[3:]
    assert {bar["missing"] for bar in gone} == {size(7)} and all(bar["partial"] and not bar["rows"] for bar in gone)
    assert {(bar["delta"], bar["deltaBp"], bar["poc"], bar["vah"]) for bar in gone} == {(size(3), 4_286, None, None)}
    assert not any("missing" in bar or "partial" in bar for bar in there)
    assert {bar["poc"] for bar in there} == {price(10_000)}


async def test_a_symbol_without_a_commit_has_no_bars(feed: Served, writer: Writer) -> None:
    for timeframe, row in product(("1m", "1d", "1s"), ("auto", "0.01")):
        assert (await answered(feed, PATH, timeframe=timeframe, row=row, stats=1))["bars"] == []


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"row": "0.005"}, "row is '0.005', expected auto or a multiple of the tick 0.01"),
        ({"row": "0"}, "row is '0', expected auto or a multiple of the tick 0.01"),
        ({"align": "ceil"}, "align is 'ceil', expected nearest or floor"),
        ({"stats": "yes"}, "stats is 'yes', expected 0 or 1"),
        ({"fields": "vah,,val"}, "fields has '', expected some of deltaBp,dmin,"),
        ({"fields": "poc"}, "fields has 'poc', expected some of deltaBp,dmin,"),
        ({"stats": 1, "va": "mine"}, "va is 'mine', expected standard or tradingview or two"),
        ({"stats": 1, "share": 10_001}, "share is 10001, expected 0 to 10000"),
        ({"stats": 1, "share": -1}, "share is -1, expected 0 to 10000"),
        ({"stats": 1, "imb": 99}, "imb is 99, expected 100 to 100000"),
        ({"stats": 1, "imb": 100_001}, "imb is 100001, expected 100 to 100000"),
        ({"stats": 1, "imb_min": "0.0001"}, "imb_min is '0.0001', expected 0 or a multiple of the least size 0.001"),
        ({"stats": 1, "imb_min": "-1"}, "imb_min is '-1', expected 0 or a multiple of the least size 0.001"),
        ({"stats": 1, "ua_min": "1e30"}, "ua_min is '1e30', expected 0 or a multiple of the least size 0.001"),
        ({"stats": 1, "stack": 1}, "stack is 1, expected 2 to 1000"),
        ({"stats": 1, "zero_min": 0}, "zero_min is 0, expected 1 to 1000"),
        ({"imb": 300}, "imb is a rule of what was not asked for, expected stats=1 or fields"),
    ],
)
async def test_what_cannot_be_meant_is_refused_in_one_sentence(
    feed: Served, writer: Writer, asked: dict[str, Any], sentence: str
) -> None:
    response = await feed.get(PATH, **asked)
    assert response.status_code == 400
    assert sentence in response.json()["error"]["message"]


@pytest.mark.parametrize("share", [0, 10_000])
async def test_the_edges_of_parameters_are_answered(feed: Served, writer: Writer, share: int) -> None:
    await written(writer, seed=5, count=2)
    edges = {
        "imb": 100_000,
        "imb_min": "0",
        "imb_zeros": "ignore",
        "stack": 1_000,
        "zero_min": 1_000,
        "poc_of": "delta",
    }
    for rule in ("standard", "tradingview", "two"):
        assert (await answered(feed, PATH, timeframe="1h", row="1000000", stats=1, share=share, va=rule, **edges))[
            "bars"
        ]
