"""`GET /v1/orderflow/{symbol}`: each number as counting trades one by one has it."""

import io
import random
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby, product
from typing import Any

import polars as pl
import pytest
from redis.asyncio import Redis

from common.frames.orderflow.table import FLOW_FIELDS
from common.market.orderflow.anchors import Anchor
from common.market.orderflow.ratios import basis_points
from common.market.orderflow.vwap import deviation, mean
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe
from common.market.trade import Trade
from feed.bars import flow
from feed.queries.stated_pages import StatedPages
from tests.kit import orderflow_oracle as oracle
from tests.kit.flow_asked import answered, price, size, written
from tests.kit.orderflow_oracle import moments_of
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, START_MS, Writer, some_trades
from workers.symbol.commit import Retention

PATH = f"/v1/orderflow/{INSTRUMENT.symbol}"
FOOTPRINTS = f"/v1/footprint/{INSTRUMENT.symbol}"
Bars = dict[int, list[Trade]]


def hundredths(ticks: int | None) -> Decimal | None:
    return None if ticks is None else Decimal(ticks).scaleb(-INSTRUMENT.price_decimals - 2)


def anchor_of(open_ms: int, bars: Bars, text: str) -> int | None:
    anchor = Anchor.parse(text)
    period = anchor.period(None)
    if period:
        return period.open_of(open_ms)
    since_ms = next(iter(bars)) if anchor.at_ms is None else anchor.at_ms
    return since_ms if open_ms >= since_ms else None


def expected_bar(
    open_ms: int, trades: list[Trade], since: list[Trade] | None, delta: tuple[int, int] | tuple[None, None]
) -> dict[str, Any]:
    """`since`: all trades from the bar's anchor to its end."""
    rows = oracle.rows_of(trades)
    buy, sell, unknown, *counts = (sum(column) for column in zip(*rows.values(), strict=True))
    whole, prices = buy + sell + unknown, [trade.price_ticks for trade in trades]
    totals, flagged = oracle.totals_of(rows), oracle.imbalances(rows, 300, 0, "count")
    area, poc = oracle.value_area(totals, 7_000, "standard"), oracle.poc(totals)
    moments = moments_of((trade.price_ticks, trade.size_lots) for trade in since or [])
    middle, away = mean(moments), deviation(moments)
    bands = {
        f"{side}{times}": None if middle is None or away is None else hundredths(middle + sign * times * away)
        for times in (1, 2, 3)
        for side, sign in (("up", 1), ("down", -1))
    }
    each = (Decimal(whole) / len(trades)).quantize(Decimal("0.01"), ROUND_HALF_UP).scaleb(-INSTRUMENT.size_decimals)
    signed = [trade.size_lots * (1, -1, 0)[trade.side] for trade in since or []]
    return {
        "t": open_ms,
        "v": size(whole),
        "bv": size(buy),
        "sv": size(sell),
        "uv": size(unknown),
        "delta": size(buy - sell),
        "deltaBp": basis_points(buy - sell, whole),
        "buyBp": basis_points(buy, buy + sell),
        **{name: None if lots is None else size(lots) for name, lots in zip(("dmin", "dmax"), delta, strict=True)},
        "cvd": None if since is None else size(sum(signed)),
        "n": len(trades),
        **dict(zip(("bn", "sn", "un"), counts, strict=True)),
        "perTrade": each,
        "range": price(max(prices) - min(prices)),
        "poc": None if poc is None else price(poc),
        "vah": price(area[1]) if area else None,
        "val": price(area[0]) if area else None,
        "buyImb": len(flagged[0]),
        "sellImb": len(flagged[1]),
        "vwap": None if since is None else hundredths(middle),
        **bands,
    }


def expected_bars(writer: Writer, timeframe: Timeframe, anchor: str) -> list[dict[str, Any]]:
    bars, ranges = oracle.bars_of(writer.applied, timeframe), oracle.delta_ranges(writer.applied, timeframe)
    found = []
    for anchor_ms, group in groupby(bars.items(), lambda bar: anchor_of(bar[0], bars, anchor)):
        since: list[Trade] = []
        for open_ms, trades in group:
            since = since + trades
            found.append(expected_bar(open_ms, trades, None if anchor_ms is None else since, ranges[open_ms]))
    return found


def told(answer: dict[str, Any]) -> list[dict[str, Any]]:
    flags = ("isFinal", "partial", "anchorPartial")
    return [{name: value for name, value in bar.items() if name not in flags} for bar in answer["bars"]]


@pytest.mark.parametrize(
    "anchor", ["session", "day", "week", "month", "start", str(START_MS // DAY_MS * DAY_MS + DAY_MS)]
)
async def test_every_figure_is_what_counting_trades_makes_it(feed: Served, writer: Writer, anchor: str) -> None:
    await written(writer, seed=1)
    for timeframe in ("1m", "15m", "1d", "90s"):
        bars = oracle.bars_of(writer.applied, Timeframe.parse(timeframe))
        expected = expected_bars(writer, Timeframe.parse(timeframe), anchor)
        asked = {"timeframe": timeframe, "row": "0.01", "anchor": anchor}
        answer = await answered(feed, PATH, **asked, limit=5_000)
        assert told(answer) == expected, timeframe
        assert answer["anchors"] == sorted(
            {ms for ms in (anchor_of(at, bars, anchor) for at in bars) if ms is not None}
        )
        # The same bars are told of by pages: what came before a page counts all the same.
        if anchor != "start":
            for bounds in ({"limit": 3}, {"start": list(bars)[2], "limit": 4}):
                page = told(await answered(feed, PATH, **asked, **bounds))
                at = [bar["t"] for bar in expected].index(page[0]["t"])
                assert page == expected[at : at + len(page)], (timeframe, bounds)


async def test_a_growing_bar_tells_how_its_delta_ran(feed: Served, writer: Writer) -> None:
    """Of closed minutes and the open one: these are read apart."""
    hour_ms = 60 * MINUTE_MS
    start_ms = START_MS // hour_ms * hour_ms + hour_ms
    for minute, lots in enumerate((5, 8, 2, 4, 1)):
        await writer.commit(writer.trade(start_ms + minute * MINUTE_MS, lots=lots, side=minute % 2))
    for timeframe in ("15m", "1h", "1d"):
        (bar,) = (await answered(feed, PATH, timeframe=timeframe, fields="delta,dmin,dmax"))["bars"]
        assert [bar[name] for name in ("delta", "dmin", "dmax")] == [size(lots) for lots in (-4, -5, 5)]
        assert not bar["isFinal"]


async def test_fields_are_columns_in_all_forms(feed: Served, writer: Writer) -> None:
    await written(writer, seed=2, count=4)
    whole = await answered(feed, PATH, timeframe="15m")
    assert whole["row"] and whole["align"] == "floor" and whole["va"] == "standard"
    for fields in ("cvd", "delta,vwap", "poc,missing", "bn,up1", ",".join(FLOW_FIELDS)):
        names = fields.split(",")
        some = told(await answered(feed, PATH, timeframe="15m", fields=fields))
        assert some == [{name: bar[name] for name in ("t", *names) if name in bar} for bar in told(whole)]
        arrow = await feed.get(PATH, timeframe="15m", fields=fields, format="arrow")
        table = pl.read_ipc_stream(io.BytesIO(arrow.content))
        assert table.columns == ["t", *names, "isFinal", "partial", "anchorPartial"]
        csv = await feed.get(PATH, timeframe="15m", fields=fields, format="csv")
        assert csv.text.splitlines()[0] == ",".join(table.columns)
        for name in names:
            expected = [bar.get(name) for bar in some]
            assert table[name].to_list() == expected
            read = [line.split(",")[table.columns.index(name)] for line in csv.text.splitlines()[1:]]
            assert [Decimal(text) if text else None for text in read] == expected


async def test_what_is_missing_since_the_anchor_is_said(feed: Served, writer: Writer) -> None:
    """A hole in the second hour of the day: later bars are whole, and their sums are not."""
    start_ms = START_MS // DAY_MS * DAY_MS + DAY_MS
    hour_ms = 60 * MINUTE_MS
    await writer.commit(writer.trade(start_ms - hour_ms))
    for hour in range(6):
        if hour == 2:
            writer.trade()
        await writer.commit(writer.trade(start_ms + hour * hour_ms))
    answer = await answered(feed, PATH, timeframe="1h", fields="cvd")
    flags = [(bar.get("partial", False), bar.get("anchorPartial", False)) for bar in answer["bars"]]
    assert flags == [(False, True), (False, False), (True, True), (True, True), *[(False, True)] * 3]
    assert answer["anchors"] == [start_ms - DAY_MS, start_ms]
    assert start_ms + hour_ms < answer["reliableSince"] <= start_ms + 2 * hour_ms + 1
    later = await answered(feed, PATH, timeframe="1h", fields="cvd", anchor=start_ms + 3 * hour_ms)
    assert later["reliableSince"] == later["anchor"] == start_ms + 3 * hour_ms
    assert [bar["cvd"] for bar in later["bars"]] == [None] * 4 + [size(5 * count) for count in (1, 2, 3)]


async def test_bars_without_rows_have_the_figures_of_candles(feed: Served, client: Redis) -> None:
    writer = Writer(client, retention=Retention(candle_days=400, footprint_days=2))
    await writer.register()
    await writer.claim()
    for _ in range(6):
        await writer.commit(writer.trade(lots=5), writer.trade(lots=2, side=1, ticks=10_004))
        writer.now_ms += DAY_MS
        await writer.roll_up()
    await writer.commit()
    bars = (await answered(feed, PATH, timeframe="1h", anchor="month"))["bars"]
    assert [bar.get("missing") for bar in bars] == [size(7)] * 3 + [None] * 3
    assert [bar["cvd"] for bar in bars] == [size(3 * count) for count in range(1, 7)]
    # The mean is that of candles. What the deviation is made of is gone, for as long as the anchor reaches back there.
    assert {bar["vwap"] for bar in bars} == {Decimal("100.0114")}
    assert {bar["up1"] for bar in bars} == {bars[0]["poc"]} == {None}
    assert [(bar["bn"], bar["sn"], bar["n"]) for bar in bars] == [(None, None, 2)] * 3 + [(1, 1, 2)] * 3
    told = (await answered(feed, PATH, timeframe="1h", fields="poc"))["bars"]
    assert [bar.get("missing") for bar in told] == [size(7)] * 3 + [None] * 3
    assert bars[-1]["poc"] == price(10_000)
    assert (await answered(feed, PATH, timeframe="1h"))["bars"][-1]["up1"] is not None


async def test_pages_are_cut_where_they_are_long_enough(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(9)
    for _ in range(6):
        await writer.commit(*some_trades(writer, rng, 40))
    monkeypatch.setattr("feed.bars.footprints.ROWS_AT_ONCE", 40)
    feed.services.queries.answer_bytes = 8_000
    whole, bounds = list[dict[str, Any]](), dict[str, int]()
    expected = expected_bars(writer, Timeframe.parse("1m"), "week")
    for _ in range(40):
        page = await answered(feed, PATH, row="0.01", anchor="week", **bounds)
        whole = told(page) + whole
        if "next" not in page:
            break
        assert page["anchors"] and page["bars"]
        bounds = page["next"]
    assert whole == expected


async def test_a_symbol_without_a_commit_has_no_bars(feed: Served, writer: Writer) -> None:
    for timeframe, anchor in product(("1m", "1d", "1s"), ("session", "start", "60000")):
        answer = await answered(feed, PATH, timeframe=timeframe, anchor=anchor)
        assert (answer["bars"], answer["anchors"], answer["reliableSince"]) == ([], [], None)
    assert (await feed.get(PATH, format="csv")).text.startswith("t,v,bv,")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"anchor": "year"}, "anchor is 'year', expected session, day, week, month, start or ms since 1970 at which"),
        ({"anchor": "61000"}, "anchor is '61000', expected session, day,"),
        ({"fields": "vwap,poc,volume"}, "fields has 'volume', expected some of v,bv,sv,"),
        ({"fields": ""}, "fields has '', expected some of v,bv,sv,"),
        ({"align": ""}, "align is '', expected nearest or floor"),
        ({"row": "auto "}, "row is 'auto ', expected auto or a multiple of the tick 0.01"),
        ({"limit": 0}, "limit is 0, expected 1 to 50000"),
        ({"format": "xml"}, "format is 'xml', expected json or csv or arrow"),
        ({"stats": 1}, "parameter 'stats' is not known here"),
    ],
)
async def test_what_cannot_be_meant_is_refused_in_one_sentence(
    feed: Served, writer: Writer, asked: dict[str, Any], sentence: str
) -> None:
    response = await feed.get(PATH, **asked)
    assert response.status_code == 400
    assert sentence in response.json()["error"]["message"]


async def test_an_anchor_further_back_than_may_be_read_is_refused(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(writer, seed=3)
    monkeypatch.setattr("feed.reading.budget.QueryBudget.has_room", lambda self, rows: self.rows + rows < 150)
    monkeypatch.setattr("feed.bars.recipe.FOOTPRINT_CHUNK", 5)
    monkeypatch.setattr("feed.bars.recipe.FOOTPRINT_PART", 5)
    response = await feed.get(PATH, limit=2, anchor="month")
    assert response.status_code == 400
    assert "lies further back than one request may read" in response.json()["error"]["message"]


async def test_deltas_are_those_of_footprints(feed: Served, writer: Writer) -> None:
    await written(writer, seed=4, count=4)
    rows = await answered(feed, FOOTPRINTS, timeframe="15m", row="auto", align="floor", fields="vah,val")
    flow = await answered(feed, PATH, timeframe="15m")
    for name in ("row", "align", "lo", "va", "share", "cursor"):
        assert rows[name] == flow[name]
    for one, other in zip(rows["bars"], flow["bars"], strict=True):
        assert all(one[name] == other[name] for name in ("t", "delta", "poc", "vah", "val"))


async def test_sessions_begin_running_sums_and_days_of_utc_do_where_asked(feed: Served, client: Redis) -> None:
    """Of a stock exchange that trades from 14:30 to 21:00 UTC."""
    instrument = replace(INSTRUMENT, symbol="TEST:STOCK", calendar="XNYS", zone="America/New_York")
    writer = await Writer.begun(client, instrument=instrument)
    # A Wednesday and a Thursday of January 2024.
    opens = [1_704_897_000_000, 1_704_983_400_000]
    for open_ms in opens:
        for minute, side in ((0, 0), (45, 0), (389, 1)):
            await writer.commit(writer.trade(open_ms + minute * MINUTE_MS, lots=5 - 2 * side, side=side))
    path = f"/v1/orderflow/{instrument.symbol}"
    for anchor, expected in (
        ("session", [5, 10, 7, 5, 10, 7]),
        ("day", [5, 10, 7, 5, 10, 7]),
        ("week", [5, 10, 7, 12, 17, 14]),
    ):
        for limit in (500, 2):
            answer = await answered(feed, path, timeframe="30m", fields="cvd,vwap,up1", anchor=anchor, limit=limit)
            assert [bar["cvd"] for bar in answer["bars"]] == [size(lots) for lots in expected[-limit:]], anchor
    sessions = await answered(feed, path, timeframe="30m", fields="cvd")
    assert sessions["anchors"] == opens
    profiles = (await answered(feed, f"/v1/profile/{instrument.symbol}", kind="session", limit=5))["profiles"]
    assert [(profile["from"], profile["v"]) for profile in profiles] == [(open_ms, size(13)) for open_ms in opens]
    (found,) = (await answered(feed, f"/v1/profile/{instrument.symbol}", kind="tpo"))["profiles"]
    assert [row["letters"] for row in found["rows"]] == ["ABM"]


@pytest.mark.parametrize("path", [PATH, f"{FOOTPRINTS}?stats=1"])
async def test_what_is_asked_again_is_worked_out_once_a_commit(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    await written(writer, seed=6, count=4)
    worked_out, read_flow = [], flow.read_flow

    async def counted(*asked: Any) -> Any:
        worked_out.append(asked)
        return await read_flow(*asked)

    for module in ("orderflow", "footprints"):
        monkeypatch.setattr(f"feed.bars.{module}.read_flow", counted)
    asked = {"timeframe": "15m"} | ({"stats": "1"} if "stats" in path else {})
    first, same = [await answered(feed, path.partition("?")[0], **asked) for _ in range(2)]
    assert len(worked_out) == 1
    assert {**first, "health": None} == {**same, "health": None}
    await writer.commit(writer.trade(lots=9))
    news = await answered(feed, path.partition("?")[0], **asked)
    assert len(worked_out) == 2 and news["cursor"] == writer.cursor and news["bars"] != first["bars"]
    # What the roll-up does to a day is no commit, and may change what is kept.
    writer.now_ms += DAY_MS
    await writer.commit(writer.trade())
    before = await answered(feed, path.partition("?")[0], **asked)
    await writer.roll_up()
    assert (await answered(feed, path.partition("?")[0], **asked))["bars"] == before["bars"]
    assert len(worked_out) == 4


@pytest.mark.parametrize("bound", ["MAX_KEPT_ROWS", "MAX_PART_ROWS"])
async def test_answers_are_the_same_however_many_levels_are_kept_and_read_at_once(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    await written(writer, seed=7)
    middle_ms = (writer.applied[0].trade.ts_ms + writer.now_ms) // 2
    questions = [
        {"timeframe": timeframe, **bounds}
        for timeframe in ("7m", "1h", "1d")
        for bounds in ({}, {"limit": 2}, {"start": middle_ms, "limit": 3}, {"end": middle_ms, "anchor": "month"})
    ]

    async def answers() -> list[Any]:
        feed.services.queries.stated_pages = StatedPages()
        return [{**(await answered(feed, PATH, **asked)), "health": None} for asked in questions]

    expected = await answers()
    monkeypatch.setattr(f"feed.bars.closed.{bound}", 0)
    monkeypatch.setattr("feed.bars.recipe.FOOTPRINT_PART", 60)
    monkeypatch.setattr("feed.bars.recipe.FOOTPRINT_CHUNK", 7)
    assert await answers() == expected
