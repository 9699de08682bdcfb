"""`fleet candles` and `fleet quote`: the newest bars of a symbol, and the newest prices of many."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import typer

from common import log
from common.errors import BadInput
from common.market.instrument import check_symbol
from common.market.timeframes.timeframe import SECOND_MS, Timeframe
from common.settings import Settings, load
from common.store.registry import Registry
from feed.queries import candles as candles_endpoint
from feed.queries.quotes import quotes_of
from infra.cli import tables
from infra.cli.agreement import with_agreed
from infra.cli.answers import answered, queries_of
from infra.cli.options import DataOption, store_session
from infra.cli.tables import Cell, Column, Row
from infra.cli.watched import HEALTHY, Watched, decimals

# Of a screen that is filled by them.
SHOWN, MAX_SHOWN = 20, 1_000

QUOTE_COLUMNS = (
    Column("symbol"),
    Column("last", is_right=True),
    Column("bid", is_right=True),
    Column("ask", is_right=True),
    Column("last trade (UTC)", rank=1),
    # Never left out: what is simulated says so.
    Column("state", folds=True),
)


def candles(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as SIMULATED:BTCUSD; fleet symbols list.")],
    timeframe: Annotated[str, typer.Option(help="Any `<n><unit>`: 10s, 1m, 15m, 4h, 1d, 1w, 1M.")] = "15m",
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=MAX_SHOWN, help="How many bars.")] = SHOWN,
    end: Annotated[str, typer.Option(metavar="TIME", help="UTC time, day or ms: the last that opens before it.")] = "",
    data: DataOption = None,
) -> None:
    """Show the newest candles of a symbol, as they are now.

    As `GET /v1/candles` has them; `fleet watch` follows them, `fleet export candles` writes them to a file.
    Example: `fleet candles SIMULATED:BTCUSD --timeframe 1h --end 2026-01-12`
    """
    settings, length = load(), Timeframe.parse(timeframe)
    log.setup("warning", settings.log_format)
    asked = {"timeframe": timeframe, "limit": str(limit), "end": end}
    with store_session(settings, data) as url:
        found = asyncio.run(answered(with_agreed(settings, url), url, candles_endpoint.ENDPOINT, symbol, asked))
    answer = json.loads(found, parse_float=Decimal)
    if not answer["bars"]:
        raise BadInput(f"{symbol} has nothing to show in that time")
    shown = Watched(symbol, length, "", is_connected=True, health=answer["health"])
    shown.by_open = {bar["t"]: bar for bar in answer["bars"]}
    to = tables.console()
    for line in shown.lines(to.width, MAX_SHOWN * 2):
        to.print(line)


def quote(
    symbols: Annotated[list[str] | None, typer.Argument(metavar="[SYMBOL]...", help="Default: all there are.")] = None,
    data: DataOption = None,
) -> None:
    """Show the last price of symbols, and the best bid and ask of those that have a book.

    As `GET /v1/quotes` has them: nothing begins to stream for it. Example: `fleet quote SIMULATED:BTCUSD`
    """
    settings = load()
    log.setup("warning", settings.log_format)
    wanted = list(dict.fromkeys(map(check_symbol, symbols or ())))
    with store_session(settings, data) as url:
        rows = asyncio.run(_quotes(with_agreed(settings, url), url, wanted))
    if rows:
        tables.print_table(tables.console(), QUOTE_COLUMNS, map(_quote_row, rows))
    else:
        print("no symbols yet: fleet symbols add")


async def _quotes(settings: Settings, url: str, symbols: Sequence[str]) -> list[dict[str, Any]]:
    async with queries_of(settings, url) as queries:
        answer = await quotes_of(queries, symbols or await Registry(queries.client).names())
    rows: list[dict[str, Any]] = json.loads(answer.body(), parse_float=Decimal)["quotes"]
    for row in rows:
        if symbols and row.get("error", {}).get("code") == "unknown_symbol":
            raise BadInput(f"symbol {row['symbol']} is not there: fleet symbols list")
    return rows


def _quote_row(row: dict[str, Any]) -> Row:
    if "error" in row:
        return row["symbol"], "", "", "", "", Cell(row["error"]["message"], "red")
    known = [row[name] for name in ("last", "bid", "ask")]
    digits = max((decimals(price) for price in known if price is not None), default=0)
    prices = ["" if price is None else f"{Decimal(price):.{digits}f}" for price in known]
    mode = row["health"]["mode"]
    state = f"{mode} simulated" if row.get("simulated") else mode
    return row["symbol"], *prices, _time(row["lastT"]), Cell(state, "" if mode in HEALTHY else "yellow")


def _time(ts_ms: int | None) -> str:
    return "" if ts_ms is None else f"{datetime.fromtimestamp(ts_ms // SECOND_MS, UTC):%m-%d %H:%M:%S}"
