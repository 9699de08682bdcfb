"""`GET /v1/quotes`: a watchlist in one question."""

from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from common.store.keys import SYMBOLS, SymbolKeys
from common.store.registry import Market, Registry
from tests.kit.books import put_book
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, Writer

S = INSTRUMENT.symbol
OTHER = replace(INSTRUMENT, symbol="V:OTHER", price_decimals=3)
IDLE = replace(INSTRUMENT, symbol="V:IDLE")


@pytest.fixture
async def watchlist(writer: Writer, client: Redis) -> Redis:
    """One with a book and trades, one with trades alone, one on demand that nothing is known of."""
    await writer.commit(writer.trade(ticks=6_400_050))
    await put_book(writer)
    other = await Writer.begun(client, instrument=OTHER)
    await other.commit(other.trade(ticks=1_234_567))
    await Registry(client).add_symbol(Market(IDLE, {"kind": "venue", "demand": "on_demand"}))
    return client


async def test_each_row_is_the_quote_of_its_symbol_in_the_order_asked_for(feed: Served, watchlist: Redis) -> None:
    symbols = ["V:IDLE", S, "V:OTHER"]
    found = (await feed.json("/v1/quotes", symbols=",".join(symbols)))["quotes"]
    assert [row["symbol"] for row in found] == symbols
    for symbol, row in zip(symbols, found, strict=True):
        expected = await feed.json(f"/v1/quote/{symbol}")
        assert without_ages(row) == without_ages(expected)
    assert (found[1]["last"], found[2]["last"], found[0]["last"]) == (64000.5, 1234.567, None)
    assert found[1]["bid"] is not None and found[2]["bid"] is None


def without_ages(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"health": row["health"] | {"lastUpdateMsAgo": None}}


async def test_a_symbol_there_is_no_quote_of_is_a_row_that_says_why(feed: Served, watchlist: Redis) -> None:
    await watchlist.hset(SYMBOLS, "V:BROKEN", "[]")
    await watchlist.hset(SymbolKeys("V:OTHER").state, "format", "99")
    found = (await feed.json("/v1/quotes", symbols=f"TEST:NONE,{S},V:BROKEN,V:OTHER,{S}"))["quotes"]
    assert [row.get("error", {}).get("code") for row in found] == [
        "unknown_symbol",
        None,
        "unknown_symbol",
        "newer_format",
    ]
    assert found[0]["error"]["message"] == "symbol TEST:NONE is not registered, GET /v1/symbols lists those that are"


async def test_all_are_read_in_one_pipeline_and_nothing_is_asked_to_be_streamed(
    feed: Served, watchlist: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols = [f"V:S{number}" for number in range(97)]
    for symbol in symbols:
        market = Market(replace(INSTRUMENT, symbol=symbol), {"kind": "venue", "demand": "on_demand"})
        await Registry(watchlist).add_symbol(market)
    sent: list[int] = []
    execute = Pipeline.execute

    async def counted(pipe: Any, *args: Any, **options: Any) -> Any:
        sent.append(len(pipe))
        return await execute(pipe, *args, **options)

    monkeypatch.setattr(Pipeline, "execute", counted)
    found = (await feed.json("/v1/quotes", symbols=",".join([*symbols, S, "V:OTHER", "V:IDLE"])))["quotes"]
    assert len(found) == 100 and not any("error" in row for row in found)
    assert [count for count in sent if count > 100] == sent
    assert len(sent) == 1
    assert [key async for key in watchlist.scan_iter("*:demand")] == []


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({}, "symbols is missing, expected up to 100 of those that GET /v1/symbols lists"),
        ({"symbols": ""}, "symbol '' is not 1 to 32 characters of A-Z, 0-9 and :_.-"),
        ({"symbols": "A,,B"}, "symbol '' is not 1 to 32 characters of A-Z, 0-9 and :_.-"),
        ({"symbols": "btc"}, "symbol 'btc' is not 1 to 32 characters of A-Z, 0-9 and :_.-"),
        ({"symbols": ",".join(["A"] * 101)}, "symbols has 101 values, expected at most 100"),
        ({"symbol": "A"}, "parameter 'symbol' is not known here, expected symbols"),
    ],
)
async def test_what_is_no_watchlist_is_one_sentence(feed: Served, params: dict[str, str], sentence: str) -> None:
    answer = await feed.get("/v1/quotes", **params)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, sentence)


async def test_symbols_may_be_named_one_at_a_time(feed: Served, watchlist: Redis) -> None:
    answer = await feed.http.get(f"/v1/quotes?symbols={S}&symbols=V:OTHER")
    assert [row["symbol"] for row in answer.json()["quotes"]] == [S, "V:OTHER"]
