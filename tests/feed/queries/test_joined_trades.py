"""`GET /v1/trades/{symbol}` with `join_ms` and `min`: what one order traded, and only the large ones."""

import io
import random
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import polars as pl
import pytest

from common.market.trade import SIDE_NAMES, Trade
from tests.kit.flow_asked import answered, price, size
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, Writer

PATH = f"/v1/trades/{INSTRUMENT.symbol}"


async def written(writer: Writer, count: int = 200) -> list[Trade]:
    rng = random.Random(1)
    for _ in range(count):
        writer.now_ms += rng.choice((0, 0, 0, 1, 5, 400))
        await writer.commit(
            writer.trade(None, 10_000 + rng.randint(0, 5), rng.randint(0, 20), rng.choice((0, 0, 1, 2)))
        )
    return sorted((one.trade for one in writer.applied), key=lambda trade: (trade.ts_ms, trade.id))


def orders(trades: list[Trade], join_ms: int, least: int = 0) -> list[dict[str, Any]]:
    groups: list[list[Trade]] = []
    for trade in trades:
        if groups and groups[-1][-1].side == trade.side and trade.ts_ms - groups[-1][-1].ts_ms <= join_ms:
            groups[-1].append(trade)
        else:
            groups.append([trade])
    return [told(group) for group in groups if sum(trade.size_lots for trade in group) >= least]


def told(group: list[Trade]) -> dict[str, Any]:
    lots, prices = sum(trade.size_lots for trade in group), [trade.price_ticks for trade in group]
    turnover = sum(trade.price_ticks * trade.size_lots for trade in group)
    mean = (Decimal(turnover) / lots).quantize(Decimal("0.01"), ROUND_HALF_UP).scaleb(-2) if lots else None
    return {
        "t": group[0].ts_ms,
        "to": group[-1].ts_ms,
        "q": size(lots),
        "side": SIDE_NAMES[group[0].side],
        "n": len(group),
        "low": price(min(prices)),
        "high": price(max(prices)),
        "vwap": mean,
        "firstId": group[0].id,
        "lastId": group[-1].id,
    }


@pytest.mark.parametrize("join_ms", [0, 1, 5, 60_000])
async def test_trades_that_follow_one_another_on_one_side_are_one_order(
    feed: Served, writer: Writer, join_ms: int
) -> None:
    trades = await written(writer)
    answer = await answered(feed, PATH, join_ms=join_ms, limit=1_000)
    assert answer["trades"] == orders(trades, join_ms)
    assert "next" not in answer
    least = size(30)
    assert (await answered(feed, PATH, join_ms=join_ms, min=least, limit=1_000))["trades"] == orders(
        trades, join_ms, 30
    )


@pytest.mark.parametrize(("take", "join_ms"), [("newest", 0), ("newest", 5), ("oldest", 0), ("oldest", 5)])
async def test_pages_have_whole_orders_each_once(feed: Served, writer: Writer, take: str, join_ms: int) -> None:
    trades = await written(writer)
    pages, asked = list[list[dict[str, Any]]](), dict[str, Any](join_ms=join_ms, take=take, limit=40)
    while True:
        answer = await answered(feed, PATH, **asked)
        pages.append(answer["trades"])
        if "next" not in answer:
            break
        asked |= answer["next"]
    found = pages if take == "oldest" else pages[::-1]
    assert [order for page in found for order in page] == orders(trades, join_ms)
    assert len(pages) > 4


async def test_large_trades_alone_are_told_as_trades_are(feed: Served, writer: Writer) -> None:
    await written(writer)
    every = (await answered(feed, PATH, limit=1_000))["trades"]
    large = await answered(feed, PATH, limit=1_000, min=size(15))
    assert large["trades"] == [trade for trade in every if trade["q"] >= size(15)]
    first = await answered(feed, PATH, limit=50, min=size(15))
    older = await answered(feed, PATH, limit=1_000, min=size(15), **first["next"])
    assert older["trades"] + first["trades"] == large["trades"]


async def test_orders_are_rows_of_tables_as_well(feed: Served, writer: Writer) -> None:
    trades = await written(writer, 60)
    expected = orders(trades, 0)
    table = pl.read_ipc_stream(io.BytesIO((await feed.get(PATH, join_ms=0, format="arrow")).content))
    assert table["size"].to_list() == [order["q"] for order in expected]
    assert table["vwap"].to_list() == [order["vwap"] for order in expected]
    csv = (await feed.get(PATH, join_ms=0, format="csv")).text.splitlines()
    assert csv[0] == "ts_ms,last_ms,size,side,low,high,vwap,n,first_id,last_id"
    assert len(csv) == len(expected) + 1
    response = await feed.get(PATH, join_ms=0, format="csv", limit=20)
    assert response.status_code == 400 and "expected start=" in response.json()["error"]["message"]


async def test_without_trades_there_are_no_orders(feed: Served, writer: Writer) -> None:
    assert (await answered(feed, PATH, join_ms=0, min="1"))["trades"] == []
    await writer.commit(writer.trade(), writer.trade())
    # All of one order: it can't be cut, and is told as far as it was read.
    (only,) = (await answered(feed, PATH, join_ms=0, limit=1))["trades"]
    assert only["n"] == 1


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"join_ms": -1}, "join_ms is -1, expected 0 to 60000"),
        ({"join_ms": 60_001}, "join_ms is 60001, expected 0 to 60000"),
        ({"min": "-1"}, "min is '-1', expected a size"),
        ({"min": "much"}, "min is 'much', expected a size"),
        ({"min": "0.0001"}, "number '0.0001' has more than 3 decimals"),
    ],
)
async def test_what_cannot_be_meant_is_refused_in_one_sentence(
    feed: Served, writer: Writer, asked: dict[str, Any], sentence: str
) -> None:
    response = await feed.get(PATH, **asked)
    assert response.status_code == 400
    assert sentence in response.json()["error"]["message"]
