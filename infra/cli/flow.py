"""`fleet footprint`, `fleet profile` and `fleet indicators`: what the feed answers, on a terminal."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from common import log
from common.errors import BadInput
from common.settings import load
from feed.queries import footprint as footprint_endpoint
from feed.queries import indicators as indicators_endpoint
from feed.queries import profile as profile_endpoint
from feed.queries.endpoint import Endpoint
from feed.queries.queries import SymbolQueries
from infra.cli.agreement import with_agreed
from infra.cli.answers import answered
from infra.cli.options import DataOption, store_session
from infra.cli.pictures import footprint_picture, indicator_lines, profile_picture

SymbolArgument = Annotated[str, typer.Argument(metavar="SYMBOL", help="Symbol to show.")]
RowOption = Annotated[str, typer.Option(metavar="HEIGHT", help="Height of a row, in the price; or auto.")]
EndOption = Annotated[str, typer.Option(metavar="TIME", help="UTC time, day or ms: the last that opens before it.")]

Answer = Mapping[str, Any]
# Where none is named.
SHOWN_INDICATORS = ("RSI_14", "EMA_20", "MACD_12_26_9", "BBANDS_20_2", "ATR_14", "VWAP")


def footprint(
    symbol: SymbolArgument,
    timeframe: Annotated[str, typer.Option(help="Length of a bar.")] = "15m",
    row: RowOption = "auto",
    end: EndOption = "",
    data: DataOption = None,
) -> None:
    """Show the newest bars of a symbol with what was sold and bought at each price.

    As `GET /v1/footprint` has it. Example: `fleet footprint SIMULATED:BTCUSD --timeframe 5m`
    """
    asked = {"timeframe": timeframe, "row": row, "align": "floor", "limit": "8", "fields": "vah,val,imb", "end": end}
    _show(footprint_endpoint.ENDPOINT, symbol, asked, data, "bars", footprint_picture)


def profile(
    symbol: SymbolArgument,
    kind: Annotated[str, typer.Option(help="session, day, week or month.")] = "session",
    row: RowOption = "auto",
    end: EndOption = "",
    data: DataOption = None,
) -> None:
    """Show how much was traded at each price in the newest session of a symbol.

    As `GET /v1/profile` has it. Example: `fleet profile SIMULATED:BTCUSD --kind week`
    """
    asked = {"kind": kind, "row": row, "max_rows": "30", "end": end}
    if kind in ("range", "composite", "tpo"):
        raise BadInput(f"--kind is {kind!r}, expected session, day, week or month")
    _show(profile_endpoint.ENDPOINT, symbol, asked, data, "profiles", profile_picture)


def indicators(
    symbol: SymbolArgument,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Such as RSI_14 or MACD_12_26_9.")] = None,
    timeframe: Annotated[str, typer.Option(help="Length of a bar.")] = "15m",
    end: EndOption = "",
    data: DataOption = None,
) -> None:
    """Show indicators of the newest bars of a symbol.

    As `GET /v1/indicators` has them. Example: `fleet indicators SIMULATED:BTCUSD RSI_14 MACD VWAP`
    """
    asked = {"timeframe": timeframe, "id": ",".join(ids or SHOWN_INDICATORS), "limit": "4", "end": end}
    _show(indicators_endpoint.ENDPOINT, symbol, asked, data, "t", indicator_lines)


def _show(
    endpoint: Endpoint[SymbolQueries, Any],
    symbol: str,
    asked: Mapping[str, str],
    data: Path | None,
    rows: str,
    picture: Callable[[Answer], Iterable[str]],
) -> None:
    settings = load()
    log.setup("warning", settings.log_format)
    with store_session(settings, data) as url:
        found = asyncio.run(answered(with_agreed(settings, url), url, endpoint, symbol, asked))
    answer: Answer = json.loads(found, parse_float=Decimal, parse_int=Decimal)
    if not answer[rows]:
        raise BadInput(f"{symbol} has nothing to show in that time")
    for line in picture(answer):
        print(line)
