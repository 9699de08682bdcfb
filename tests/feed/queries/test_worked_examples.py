"""The worked examples of docs/orderflow.md, each as a market that traded so, over HTTP."""

from decimal import Decimal
from typing import Any

import pytest

from common.market.timeframes.timeframe import MINUTE_MS
from tests.kit.flow_asked import answered, price, size
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, START_MS, Writer

FOOTPRINT, ORDERFLOW, PROFILE = (f"/v1/{path}/{INSTRUMENT.symbol}" for path in ("footprint", "orderflow", "profile"))
FIRST_MS = START_MS // (60 * MINUTE_MS) * 60 * MINUTE_MS
BUY, SELL = 0, 1
DIAGONAL = {100: (30, 10), 101: (5, 50), 102: (60, 6), 104: (20, 1)}
E1 = dict(zip(range(100, 107), (5, 20, 40, 60, 35, 30, 10), strict=True))
E2 = dict(zip(range(10, 15), (20, 30, 30, 20, 10), strict=True))
E3, E3_FAR = ({100: 4, 101: 10, 102: 1, far: 6} for far in (500, 1_000_000_000))


async def trade(writer: Writer, minute: int, ticks: int, lots: int, side: int = BUY) -> None:
    await writer.commit(writer.trade(FIRST_MS + minute * MINUTE_MS, ticks, lots, side))


async def trade_levels(writer: Writer, levels: dict[int, tuple[int, int]], minute: int = 0) -> None:
    for ticks, sides in levels.items():
        for side in (BUY, SELL):
            await trade(writer, minute, ticks, sides[side], side)


async def bar_of(feed: Served, **asked: Any) -> dict[str, Any]:
    (bar,) = (await answered(feed, FOOTPRINT, **({"stats": 1} | asked)))["bars"]
    found: dict[str, Any] = bar
    return found


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        (E1, {"standard": (102, 105), "tradingview": (102, 104), "two": (101, 105)}),
        (E2, {"standard": (11, 13), "tradingview": (11, 12), "two": (10, 12)}),
        (E3, {"standard": (100, 102), "tradingview": (100, 101)}),
        (E3_FAR, {"standard": (100, 102)}),
    ],
)
async def test_value_areas(
    feed: Served, writer: Writer, totals: dict[int, int], expected: dict[str, tuple[int, int]]
) -> None:
    for ticks, lots in totals.items():
        await trade(writer, 0, ticks, lots)
    for rule, (low, high) in expected.items():
        bar = await bar_of(feed, va=rule)
        assert (bar["val"], bar["vah"]) == (price(low), price(high)), rule
        (profile,) = (await answered(feed, PROFILE, row="0.01", va=rule))["profiles"]
        assert (profile["val"], profile["vah"]) == (price(low), price(high)), rule
    whole = await bar_of(feed, share=10_000)
    assert (whole["val"], whole["vah"]) == (price(min(totals)), price(max(totals)))


async def test_a_tie_of_the_poc_and_a_bar_of_prints_of_size_zero(feed: Served, writer: Writer) -> None:
    for ticks, lots in E2.items():
        await trade(writer, 0, ticks, lots)
    assert (await bar_of(feed))["poc"] == price(12)
    await trade(writer, 1, 10, 0)
    newest = (await answered(feed, FOOTPRINT, stats=1, limit=1))["bars"][0]
    assert (newest["poc"], newest["vah"], newest["deltaBp"]) == (None, None, None)


async def test_rows(feed: Served, writer: Writer) -> None:
    await trade(writer, 0, 7, 1)
    rows = {
        (row, align): (await bar_of(feed, row=price(row), align=align))["rows"][0]["p"]
        for row in (5, 10)
        for align in ("nearest", "floor")
    }
    assert rows == {(5, "nearest"): price(5), (5, "floor"): price(5), (10, "nearest"): price(10), (10, "floor"): 0}


async def test_imbalances(feed: Served, writer: Writer) -> None:
    await trade_levels(writer, DIAGONAL)
    for asked, expected in (
        ({}, {102: "sell", 104: "buy"}),
        ({"imb_zeros": "ignore"}, {}),
        ({"imb": 100}, {100: "sell", 102: "both", 104: "buy"}),
    ):
        bar = await bar_of(feed, **asked)
        assert {row["p"]: row["imb"] for row in bar["rows"] if "imb" in row} == {
            price(at): s for at, s in expected.items()
        }
    flow = (await answered(feed, ORDERFLOW, row="0.01", fields="buyImb,sellImb"))["bars"][0]
    assert (flow["buyImb"], flow["sellImb"]) == (1, 1)


async def test_a_stack_is_open_then_touched_then_filled(feed: Served, writer: Writer) -> None:
    await trade_levels(writer, {100: (0, 1), 101: (9, 1), 102: (9, 1), 103: (9, 0), 105: (9, 0)})
    zone = {"side": "buy", "low": price(101), "high": price(103), "rows": 3}
    told = [zone | {"state": "open"}]
    assert (await bar_of(feed))["zones"] == told
    for minute, low, more in (
        (1, 104, {}),
        (2, 103, {"state": "touched", "touched": FIRST_MS + 2 * MINUTE_MS}),
        (3, 100, {"state": "filled", "filled": FIRST_MS + 3 * MINUTE_MS}),
    ):
        await trade(writer, minute, low, 1)
        told = [told[0] | more]
        assert (await answered(feed, FOOTPRINT, stats=1))["bars"][0]["zones"] == told, minute


@pytest.mark.parametrize(("sold", "is_unfinished"), [(1, True), (0, False)])
async def test_an_auction_is_unfinished_where_both_sides_traded_at_the_extreme(
    feed: Served, writer: Writer, sold: int, is_unfinished: bool
) -> None:
    await trade_levels(writer, {100: (0, 5), 104: (21, sold)})
    # However high the rows.
    bar = await bar_of(feed, row="1", ua_min="0.02")
    assert bar.get("unfinished") == ([{"at": "high", "p": price(104), "state": "open"}] if is_unfinished else None)


async def test_the_mean_and_its_bands(feed: Served, writer: Writer) -> None:
    for minute, (ticks, lots) in enumerate(((100, 10), (102, 20), (104, 10))):
        await trade(writer, minute, ticks, lots)
    newest = (await answered(feed, ORDERFLOW, limit=1))["bars"][0]
    assert newest["vwap"] == price(102)
    bands = [newest[name] - newest["vwap"] for name in ("up1", "down1", "up2", "down2", "up3", "down3")]
    assert bands == [times * Decimal("0.0141") for times in (1, -1, 2, -2, 3, -3)]


async def test_the_running_delta_of_two_days(feed: Served, writer: Writer) -> None:
    day = 1_440
    for minute, delta in ((0, 5), (60, -2), (day, 4), (day + 60, 1)):
        await trade(writer, minute, 100, abs(delta), BUY if delta > 0 else SELL)
    for anchor, expected in (("day", (5, 3, 4, 5)), ("start", (5, 3, 7, 8))):
        bars = (await answered(feed, ORDERFLOW, fields="cvd", anchor=anchor))["bars"]
        assert [bar["cvd"] for bar in bars] == list(map(size, expected))
