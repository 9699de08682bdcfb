"""`fleet symbols`: the wanted fleet."""

import asyncio
import zlib
from enum import Enum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from common.errors import BadInput
from common.market.instrument import Ids, Instrument
from common.settings import load
from common.store.registry import Market, open_store
from infra.cli.options import DataOption, store_url
from workers.sources import SOURCES

app = typer.Typer(help="The symbols the fleet is to run: list, add, remove.", no_args_is_help=True)

SymbolArgument = Annotated[str, typer.Argument(metavar="SYMBOL", help="1 to 32 of A-Z 0-9 : _ . - such as MY:BTCUSD.")]


class Kind(Enum):
    INBOX = "inbox"
    SIMULATOR = "simulator"


@app.command("list")
def list_symbols(data: DataOption = None) -> None:
    """Show every symbol with its decimals and where its trades come from."""
    markets = asyncio.run(_all(store_url(load(), data)))
    table = Table("symbol", "source", "price decimals", "size decimals", "ids")
    for market in markets.values():
        i = market.instrument
        table.add_row(market.symbol, market.kind, str(i.price_decimals), str(i.size_decimals), i.ids)
    Console().print(table if markets else "no symbols yet: fleet symbols add")


@app.command()
def add(
    symbol: SymbolArgument,
    source: Annotated[Kind, typer.Option(help="inbox: trades that anybody pushes; simulator: made up.")] = Kind.INBOX,
    price_decimals: Annotated[int, typer.Option(min=0, max=18, help="Decimals of a price.")] = 2,
    size_decimals: Annotated[int, typer.Option(min=0, max=18, help="Decimals of a size.")] = 8,
    contiguous: Annotated[
        bool, typer.Option("--contiguous", help="Trade ids count on by one: a hole in them is a lost trade.")
    ] = False,
    stream: Annotated[
        str | None,
        typer.Option(help="Read this Redis stream, not the inbox: cryptofeed's trades-COINBASE-BTC-USD, say."),
    ] = None,
    trim: Annotated[
        bool | None, typer.Option(help="Cut the stream behind the worker. Default: our inbox yes, another stream no.")
    ] = None,
    price: Annotated[str, typer.Option(help="Price a simulated market begins at.")] = "100",
    data: DataOption = None,
) -> None:
    """Add a symbol; a running fleet takes it up within a second or two.

    Examples:

    - `fleet symbols add MY:BTCUSD --price-decimals 2 --size-decimals 8`
    - `fleet symbols add COINBASE:BTC-USD --stream trades-COINBASE-BTC-USD --contiguous`
    - `fleet symbols add SIMULATED:XRPUSD --source simulator --price-decimals 4 --price 0.52`
    """
    if source is Kind.SIMULATOR:
        if not symbol.startswith("SIMULATED:"):
            raise BadInput(f"symbol {symbol!r} of a simulated market must begin with SIMULATED:")
        market = _simulated(Instrument(symbol, price_decimals, size_decimals, "contiguous"), price)
    else:
        ids: Ids = "contiguous" if contiguous else "unique"
        market = Market(Instrument(symbol, price_decimals, size_decimals, ids), _inbox(stream, trim))
    assert market.kind in SOURCES
    if not asyncio.run(_add(store_url(load(), data), market)):
        raise BadInput(f"symbol {symbol} is there already: fleet symbols list")
    print(f"{symbol} added")


@app.command()
def remove(
    symbol: SymbolArgument,
    purge: Annotated[bool, typer.Option("--purge", help="Delete its candles and trades, too.")] = False,
    data: DataOption = None,
) -> None:
    """Take a symbol off the fleet. Its data stays unless --purge is given."""
    if not asyncio.run(_remove(store_url(load(), data), symbol, purge)):
        raise BadInput(f"symbol {symbol} is not there: fleet symbols list")
    print(f"{symbol} removed{' with its data' if purge else ''}")


def _inbox(stream: str | None, trim: bool | None) -> dict[str, object]:
    found: dict[str, object] = {"kind": "inbox", "trim": stream is None if trim is None else trim}
    return found | ({"stream": stream} if stream else {})


def _simulated(instrument: Instrument, price: str) -> Market:
    if instrument.price_ticks(price) <= 0:
        raise BadInput(f"--price is {price!r}, expected a price above 0")
    return Market(instrument, {"kind": "simulator", "seed": zlib.crc32(instrument.symbol.encode()), "price": price})


async def _all(url: str) -> dict[str, Market]:
    async with open_store(url) as store:
        return await store.symbols()


async def _add(url: str, market: Market) -> bool:
    async with open_store(url) as store:
        return await store.add_symbol(market)


async def _remove(url: str, symbol: str, purge: bool) -> bool:
    async with open_store(url) as store:
        return await store.remove_symbol(symbol, purge=purge)
