"""`fleet push`"""

import asyncio
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Annotated, Any

import orjson
import typer
from redis.asyncio import Redis

from common.errors import BadInput
from common.settings import load
from common.store import inbox
from common.store.client import commit_client
from common.store.keys import SymbolKeys
from common.store.registry import Market, Registry
from infra.cli.options import DataOption, SymbolArgument, store_url

FIELDS = ("ts_ms", "price", "size", "side", "id")
# Pushed by one round trip.
PIECE = 500


class TradeSide(Enum):
    BUY = "buy"
    SELL = "sell"
    UNKNOWN = "unknown"


def push(
    symbol: SymbolArgument,
    price: Annotated[str | None, typer.Argument(metavar="[PRICE]", show_default=False, help="Such as 64000.5.")] = None,
    size: Annotated[str | None, typer.Argument(metavar="[SIZE]", show_default=False, help="Such as 0.25.")] = None,
    side: Annotated[TradeSide, typer.Option(help="The aggressor's.")] = TradeSide.UNKNOWN,
    trade_id: Annotated[
        str | None,
        typer.Option("--id", show_default=False, help="Pushed again under it, the trade counts once. Default: none."),
    ] = None,
    ts_ms: Annotated[
        int | None, typer.Option(min=1, show_default=False, help="When it was, ms since 1970 UTC. Default: now.")
    ] = None,
    data: DataOption = None,
) -> None:
    """Push a trade into a symbol's inbox; without a price, those of standard input.

    Standard input has one JSON object a line. The worker of the symbol takes trades from the inbox, each exactly once.
    They are checked before they are pushed: of one that can't be right the command says why, and ends with those before
    it pushed.

    Examples:

    - `fleet symbols add MY:BTCUSD --price-decimals 2 --size-decimals 8`
    - `fleet push MY:BTCUSD 64000.5 0.25 --side buy --id 17`
    - `echo '{"price": "64000.5", "size": "0.25", "side": "buy"}' | fleet push MY:BTCUSD`
    """
    if (price is None) != (size is None):
        raise BadInput(f"a price ({price}) without a size, expected both, or neither to read standard input")
    given = {"ts_ms": ts_ms, "price": price, "size": size, "side": side.value, "id": trade_id}
    rows: Iterable[Mapping[str, Any]] = [given] if price is not None else _lines()
    count = asyncio.run(_push(store_url(load(), data), symbol, rows))
    print(f"{count:,} {'trade' if count == 1 else 'trades'} pushed to {symbol}")


def _lines() -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(sys.stdin.buffer, 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            row = None
        if not isinstance(row, dict) or not row.keys() <= set(FIELDS):
            raise BadInput(f"line {number} is no trade, expected a JSON object of {', '.join(FIELDS)}")
        yield row


async def _push(url: str, symbol: str, rows: Iterable[Mapping[str, Any]]) -> int:
    async with commit_client(url) as client:
        market = await Registry(client).stored(symbol)
        if market is None:
            raise BadInput(f"symbol {symbol} is not there: fleet symbols add {symbol}")
        if market.kind != "inbox":
            raise BadInput(f"symbol {symbol} takes no pushes, its trades come from another source: {market.kind}")
        count, piece = 0, list[dict[str, str]]()
        try:
            for row in rows:
                piece.append(_entry(market, row))
                if len(piece) == PIECE:
                    count += await _sent(client, market, piece)
                    piece = []
        finally:
            count += await _sent(client, market, piece)
        return count


async def _sent(client: Redis, market: Market, entries: list[dict[str, str]]) -> int:
    await inbox.push(client, str(market.source.get("stream") or SymbolKeys(market.symbol).inbox), entries)
    return len(entries)


def _entry(market: Market, row: Mapping[str, Any]) -> dict[str, str]:
    """The fields of an inbox's entry. Raises BadInput."""
    entry = {name: str(row[name]) for name in FIELDS if row.get(name) is not None}
    entry.setdefault("ts_ms", str(time.time_ns() // 1_000_000))
    for name, read in (("price", market.instrument.price_ticks), ("size", market.instrument.size_lots)):
        if name not in entry:
            raise BadInput(f"a trade without a {name}, expected a price and a size")
        try:
            units = read(entry[name])
        except BadInput as error:
            raise BadInput(f"{name}: {error}") from None
        if units < 0 or (units == 0 and name == "price"):
            raise BadInput(f"{name} is {entry[name]}, expected {'0 or more' if name == 'size' else 'a number above 0'}")
    return entry
