"""`fleet candles` and `fleet quote` on a terminal of 80 columns, word for word."""

import asyncio
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from common.store.client import commit_client
from common.store.registry import Market, Registry
from infra.cli.commands import app
from tests.kit.books import put_book
from tests.kit.writer import INSTRUMENT, Writer

S = INSTRUMENT.symbol
LONG = "BINANCE_USDM:1000PEPEUSDT_261225"
# 2023-11-14T22:30Z.
START_MS = 1_700_001_000_000


@pytest.fixture
def url(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("COLUMNS", "80")
    asyncio.run(_traded(redis_url))
    return redis_url


async def _traded(url: str) -> None:
    async with commit_client(url) as client:
        writer = await Writer.begun(client)
        for minute in range(4):
            await writer.commit(writer.trade(START_MS + minute * 60_000, 10_000 + 3 * minute, 1_500, minute % 2))
        await put_book(writer)
        # As fine as prices can be.
        fine = await Writer.begun(client, instrument=replace(INSTRUMENT, symbol=LONG, price_decimals=10))
        await fine.commit(fine.trade(START_MS, 640_005_000_000_001, 12_345))
        await Registry(client).add_symbol(Market(replace(INSTRUMENT, symbol="V:IDLE"), {"kind": "simulator"}))


def fleet(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert all(len(line) <= 80 for line in done.output.splitlines()), done.output
    return "\n" + done.output


def test_candles_are_those_of_the_newest_bars(url: str) -> None:
    assert (
        fleet("candles", S, "--timeframe", "1m", "--limit", "3")
        == """
TEST:BTC.USD_1-2 1m
Live
open (UTC)     open    high     low   close  volume  delta  trades
11-14 22:31  100.03  100.03  100.03  100.03     1.5   -1.5       1
11-14 22:32  100.06  100.06  100.06  100.06     1.5    1.5       1
11-14 22:33  100.09  100.09  100.09  100.09     1.5   -1.5       1  growing
"""
    )


def test_prices_are_never_cut(url: str) -> None:
    assert (
        fleet("candles", LONG)
        == """
BINANCE_USDM:1000PEPEUSDT_261225 15m
Live
open (UTC)               high               low             close
11-14 22:30  64000.5000000001  64000.5000000001  64000.5000000001  growing
"""
    )


def test_quotes_are_of_the_symbols_named_or_of_all(url: str) -> None:
    assert (
        fleet("quote")
        == """
              last     bid     ask  state
BINANCE_USDM:1000PEPEUSDT_261225
  64000.5000000001                  LIVE
TEST:BTC.USD_1-2
            100.09  100.00  100.05  LIVE
V:IDLE
                                    UNASSIGNED simulated
"""
    )
    assert fleet("quote", S, S).count(S) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("candles", S, "--timeframe", "1x"), "timeframe '1x' is not"),
        (("candles", S, "--end", "2001-01-01"), "has nothing to show in that time"),
        (("candles", S, "--end", "soon"), "end is 'soon', expected"),
        (("candles", "V:NONE"), "symbol V:NONE is not registered"),
        (("quote", S, "V:NONE"), "symbol V:NONE is not there: fleet symbols list"),
        (("quote", "btc"), "symbol 'btc' is not 1 to 32 characters"),
    ],
)
def test_what_cannot_be_shown_is_said(url: str, arguments: tuple[str, ...], sentence: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exception and sentence in str(done.exception), done.exception
