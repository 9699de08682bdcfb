"""`GET /v1/profile/{symbol}`: each number as counting trades one by one has it."""

import random
from typing import Any

import pytest

from common.market.orderflow.ratios import basis_points
from common.market.orderflow.rows import height_for
from common.market.timeframes.timeframe import DAY_MS, MINUTE, MINUTE_MS, Timeframe, minute_of
from common.market.trade import Trade
from tests.kit import orderflow_oracle as oracle
from tests.kit.flow_asked import answered, price, size, written
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, START_MS, Writer, some_trades

PATH = f"/v1/profile/{INSTRUMENT.symbol}"
HEIGHT = 3
KINDS = {"session": "1d", "day": "1d", "week": "1w", "month": "1M"}


def expected(trades: list[Trade], height: int = HEIGHT) -> dict[str, Any]:
    rows = oracle.rows_of(trades, height)
    buy, sell, unknown = (sum(column) for column in list(zip(*rows.values(), strict=True))[:3])
    totals, prices = oracle.totals_of(rows), [trade.price_ticks for trade in trades]
    area, poc = oracle.value_area(totals, 7_000, "standard", height), oracle.poc(totals)
    told_rows = []
    for row, level in rows.items():
        named = zip(("bv", "sv", "uv", "bn", "sn", "un"), [*map(size, level[:3]), *level[3:]], strict=True)
        told_rows.append({"p": price(row)} | {name: value for name, value in named if value or name[0] != "u"})
    return {
        "v": size(buy + sell + unknown),
        "delta": size(buy - sell),
        **({"uv": size(unknown)} if unknown else {}),
        "deltaBp": basis_points(buy - sell, buy + sell + unknown),
        "n": len(trades),
        "high": price(max(prices)),
        "low": price(min(prices)),
        "poc": None if poc is None else price(poc),
        "vah": price(area[1]) if area else None,
        "val": price(area[0]) if area else None,
        "rows": told_rows,
    }


def figures(profile: dict[str, Any]) -> dict[str, Any]:
    ignored = ("from", "to", "isFinal", "partial", "rev")
    return {name: value for name, value in profile.items() if name not in ignored}


@pytest.mark.parametrize("kind", list(KINDS))
async def test_profiles_of_periods_are_what_counting_trades_makes_them(feed: Served, writer: Writer, kind: str) -> None:
    await written(writer, seed=1)
    timeframe = Timeframe.parse(KINDS[kind])
    answer = await answered(feed, PATH, kind=kind, row=price(HEIGHT), limit=100)
    bars = oracle.bars_of(writer.applied, timeframe)
    assert [figures(profile) for profile in answer["profiles"]] == list(map(expected, bars.values()))
    spans = [(profile["from"], profile["to"]) for profile in answer["profiles"]]
    assert spans == [(open_ms, timeframe.next_open(open_ms)) for open_ms in bars]
    assert (answer["row"], answer["align"], answer["lo"], answer["kind"]) == (price(HEIGHT), "floor", 0, kind)
    assert answer["cursor"] == writer.cursor
    (newest,) = (await answered(feed, PATH, kind=kind, row=price(HEIGHT)))["profiles"]
    assert newest == answer["profiles"][-1]


async def test_a_range_is_of_any_minutes_and_a_composite_of_several_sessions(feed: Served, writer: Writer) -> None:
    await written(writer, seed=2)
    trades = [trade for bar in oracle.bars_of(writer.applied, MINUTE).values() for trade in bar]
    rng = random.Random(2)
    for _ in range(8):
        start_ms, end_ms = sorted(minute_of(rng.choice(trades).ts_ms) for _ in range(2))
        asked = {"kind": "range", "row": price(HEIGHT), "start": start_ms, "end": end_ms + MINUTE_MS}
        (found,) = (await answered(feed, PATH, **asked))["profiles"]
        inside = [trade for trade in trades if start_ms <= trade.ts_ms < end_ms + MINUTE_MS]
        assert figures(found) == expected(inside)
        assert (found["from"], found["to"]) == (start_ms, end_ms + MINUTE_MS)
    days = list(oracle.bars_of(writer.applied, Timeframe.parse("1d")).items())
    (found,) = (await answered(feed, PATH, kind="composite", row=price(HEIGHT), limit=3))["profiles"]
    assert figures(found) == expected([trade for _, bar in days[-3:] for trade in bar])
    assert (found["from"], found["to"]) == (days[-3][0], days[-1][0] + DAY_MS)


async def test_the_profile_so_far_ends_as_the_profile(feed: Served, writer: Writer) -> None:
    await written(writer, seed=3)
    answer = await answered(feed, PATH, row=price(HEIGHT), limit=100, developing="15m")
    days = oracle.bars_of(writer.applied, Timeframe.parse("1d"))
    for profile, trades in zip(answer["profiles"], days.values(), strict=True):
        *_, last = profile["developing"]
        assert {name: last[name] for name in ("poc", "vah", "val")} == {
            name: profile[name] for name in ("poc", "vah", "val")
        }
        for told in profile["developing"]:
            so_far = expected([trade for trade in trades if trade.ts_ms < told["t"] + 15 * MINUTE_MS])
            assert told == {"t": told["t"]} | {name: so_far[name] for name in ("poc", "vah", "val")}
        opens = {trade.ts_ms // (15 * MINUTE_MS) * 15 * MINUTE_MS for trade in trades}
        assert [told["t"] for told in profile["developing"]] == sorted(opens)


async def test_nodes_are_rows_that_stand_out(feed: Served, writer: Writer) -> None:
    await written(writer, seed=4)
    answer = await answered(feed, PATH, row="0.01", limit=100, nodes=1)
    for profile, trades in zip(
        answer["profiles"], oracle.bars_of(writer.applied, Timeframe.parse("1d")).values(), strict=True
    ):
        high, low = oracle.nodes(oracle.totals_of(oracle.rows_of(trades)), 1)
        assert profile["nodes"] == {"high": list(map(price, high)), "low": list(map(price, low))}


async def test_a_poc_is_naked_until_it_is_traded_at_and_unknown_across_a_hole(feed: Served, writer: Writer) -> None:
    """Days whose points of control are 10,000, 10,100, ...: the next day does not come back, a later one may."""
    day_ms = START_MS // DAY_MS * DAY_MS

    async def trade(day: int, ticks: int, minute: int = 0, lots: int = 5) -> None:
        await writer.commit(writer.trade(day_ms + day * DAY_MS + minute * MINUTE_MS, ticks, lots))

    async def states(**asked: Any) -> list[Any]:
        answer = await answered(feed, PATH, naked=1, row="0.01", limit=10, **asked)
        return [profile["pocState"] for profile in answer["profiles"]]

    for day in range(4):
        await trade(day, 10_000 + 100 * day)
    naked, developing = {"state": "naked"}, {"state": "developing"}
    assert await states() == [naked, naked, naked, developing]
    await trade(4, 10_150)
    # A jump over a price between two minutes is no touch.
    await trade(4, 10_060, minute=10, lots=1)
    assert await states() == [naked, naked, naked, naked, developing]
    await trade(4, 10_100, minute=605, lots=1)
    touched = {"state": "touched", "t": day_ms + 4 * DAY_MS + 605 * MINUTE_MS}
    assert await states() == [naked, touched, naked, naked, developing]
    writer.trade()
    await trade(5, 10_500)
    found = await states()
    hole_ms = day_ms + 4 * DAY_MS + 605 * MINUTE_MS
    assert found[1] == touched
    assert {state["state"] for state in (found[0], found[2], found[3])} == {"unknown"}
    assert all(hole_ms <= state["t"] <= hole_ms + MINUTE_MS for state in (found[0], found[2], found[3]))


async def test_time_at_a_price(feed: Served, writer: Writer) -> None:
    day_ms = START_MS // DAY_MS * DAY_MS + DAY_MS
    # A 100-103, B 102-104, D 103-104, E 101-102: the third half hour has no trades.
    for bracket, prices in ((0, (100, 103)), (1, (102, 104)), (3, (103, 104)), (4, (101, 102))):
        for ticks in prices:
            await writer.commit(writer.trade(day_ms + bracket * 30 * MINUTE_MS, ticks))
    (found,) = (await answered(feed, PATH, kind="tpo", row="0.01"))["profiles"]
    assert [(row["p"], row["n"], row["letters"]) for row in found["rows"]] == [
        (price(100), 1, "A"),
        (price(101), 2, "AE"),
        (price(102), 3, "ABE"),
        (price(103), 3, "ABD"),
        (price(104), 2, "BD"),
    ]
    assert (found["poc"], found["val"], found["vah"]) == (price(102), price(101), price(103))
    assert found["ib"] == {"low": price(100), "high": price(104), "final": True}
    assert (found["singlePrints"], found["tails"]) == ([], {"low": None, "high": None})
    assert (found["poorLow"], found["poorHigh"], found["isFinal"]) == (False, True, False)


async def test_a_height_is_worked_out_for_the_highest_profile(feed: Served, writer: Writer) -> None:
    rng = random.Random(5)
    for _ in range(6):
        await writer.commit(*some_trades(writer, rng, 40))
    days = oracle.bars_of(writer.applied, Timeframe.parse("1d")).values()
    highest = max(max(t.price_ticks for t in day) - min(t.price_ticks for t in day) for day in days)
    for most in (1, 50, 2_000):
        answer = await answered(feed, PATH, limit=100, max_rows=most)
        assert answer["row"] == price(height_for(highest + 1, most))
        whole = [sum(row["bv"] + row["sv"] + row.get("uv", 0) for row in each["rows"]) for each in answer["profiles"]]
        assert whole == [profile["v"] for profile in answer["profiles"]]


@pytest.mark.parametrize("kind", ["session", "month", "composite", "tpo"])
async def test_a_symbol_without_a_commit_has_no_profiles(feed: Served, writer: Writer, kind: str) -> None:
    assert (await answered(feed, PATH, kind=kind))["profiles"] == []
    assert (await answered(feed, PATH, kind="range", start=0, end=60_000))["profiles"] == []


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"kind": "year"}, "kind is 'year', expected session or day or week or month or range or composite or tpo"),
        ({"kind": "range"}, "a range needs start and end, expected start < end"),
        ({"kind": "range", "start": 60_000, "end": 60_000}, "a range needs start and end, expected start < end"),
        ({"kind": "range", "start": 1, "end": 60_000}, "start is 1, expected the begin of a minute"),
        ({"kind": "range", "start": 0, "end": 60_001}, "end is 60001, expected the begin of a minute"),
        ({"kind": "composite", "naked": 1}, "naked is 1 of a composite, expected kind session, day, week or month"),
        ({"kind": "tpo", "developing": "1h"}, "a tpo has neither developing nor nodes"),
        ({"limit": 101}, "limit is 101, expected 1 to 100"),
        ({"max_rows": 0}, "max_rows is 0, expected 1 to 2000"),
        ({"nodes": 51}, "nodes is 51, expected 1 to 50"),
        ({"min_share": 10_001}, "min_share is 10001, expected 0 to 10000"),
        ({"developing": "90s"}, "developing is '90s', expected a timeframe of whole minutes"),
        ({"align": "floor"}, "parameter 'align' is not known here"),
    ],
)
async def test_what_cannot_be_meant_is_refused_in_one_sentence(
    feed: Served, writer: Writer, asked: dict[str, Any], sentence: str
) -> None:
    response = await feed.get(PATH, **asked)
    assert response.status_code == 400
    assert sentence in response.json()["error"]["message"]


async def test_what_would_cost_too_much_is_refused(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await writer.commit(writer.trade(ticks=1), writer.trade(ticks=1_000_000))
    response = await feed.get(PATH, kind="tpo", row="0.01")
    assert (response.status_code, "more than 10000 rows" in response.text) == (400, True)
    monkeypatch.setattr("feed.bars.profiles.MAX_ROWS_SO_FAR", 1)
    response = await feed.get(PATH, row="0.01", developing=1)
    assert (response.status_code, "rows so far are too many" in response.text) == (400, True)
