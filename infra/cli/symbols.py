"""`fleet symbols`: the wanted fleet."""

import asyncio
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, TypedDict

import typer

from common.errors import BadInput
from common.market.instrument import Hours, Ids, Instrument, check_symbol
from common.market.kinds import InstrumentKind
from common.market.timeframes.calendars import ALWAYS, sessions_of
from common.redact import redacted_url
from common.settings import load
from common.store.client import commit_client
from common.store.jobs import Jobs
from common.store.registry import Market, open_store
from infra.cli import tables
from infra.cli.change import change
from infra.cli.options import DataOption, KindOption, SymbolArgument, TradingHours, store_url
from infra.cli.tables import Column, Row
from infra.local import markets, venues
from infra.local.kinds import usual_kind
from infra.local.venues import Demand
from infra.paths import data_folder
from workers.rollup.work import is_of
from workers.venues.names import VENUE_NAMES

app = typer.Typer(help="The symbols the fleet is to run: list, add, remove.", no_args_is_help=True)

# More are never queued (workers.rollup.rq_queue.MAX_QUEUED).
ALL_JOBS = 10_000

COLUMNS = (
    Column("symbol"),
    Column("kind"),
    Column("source"),
    Column("price decimals", is_right=True),
    Column("size decimals", is_right=True),
    Column("ids"),
    Column("trades", folds=True),
)


class Trading(TypedDict):
    """When a market trades, as in Instrument."""

    calendar: str
    zone: str
    hours: Hours


class SourceKind(Enum):
    VENUE = "venue"
    INBOX = "inbox"
    SIMULATOR = "simulator"


@app.command("list")
def list_symbols(data: DataOption = None) -> None:
    """Show every symbol with its decimals and where its trades come from."""
    found = asyncio.run(_all(store_url(load(), data)))
    if found:
        tables.print_table(tables.console(), COLUMNS, map(_row, found.values()))
    else:
        print("no symbols yet: fleet symbols add")


@app.command()
def add(
    symbols: Annotated[
        list[str],
        typer.Argument(metavar="SYMBOL", help="1 to 32 of A-Z 0-9 : _ . - such as BINANCE:BTCUSDT or MY:BTCUSD."),
    ],
    source: Annotated[
        SourceKind | None,
        typer.Option(
            metavar="KIND",
            help="venue: live from an exchange; inbox: trades that anybody pushes; simulator: made up. "
            f"Default, unless --stream is given: venue for a symbol of {', '.join(VENUE_NAMES)}; "
            "simulator for one of SIMULATED; else inbox.",
            show_default=False,
        ),
    ] = None,
    on_demand: Annotated[
        bool, typer.Option("--on-demand/--always", help="Stream from the venue only while somebody looks, or always.")
    ] = False,
    price_decimals: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, max=18, help="Decimals of a price. Default: 2.", show_default=False),
    ] = None,
    size_decimals: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=18, help="Decimals of a size. Default: 8.", show_default=False)
    ] = None,
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
    price: Annotated[
        str | None, typer.Option(help="Price a simulated market begins at. Default: 100.", show_default=False)
    ] = None,
    calendar: Annotated[
        str, typer.Option(help="When it trades: 24x7, FOREX, or an exchange such as XNYS, XNSE, CMES.")
    ] = ALWAYS,
    zone: Annotated[
        str, typer.Option(help="Where the days of 24x7 begin, such as Europe/Berlin. An exchange has its own.")
    ] = "UTC",
    hours: Annotated[
        TradingHours,
        typer.Option(metavar="HOURS", help="Of a stock exchange. regular: its main session; extended: all around it."),
    ] = TradingHours.REGULAR,
    kind: KindOption = None,
    data: DataOption = None,
) -> None:
    """Add symbols; a running fleet takes them up within a second or two.

    A venue is asked for the decimals of its symbols. Of several symbols all are added, or none. Without `--kind` a
    symbol of a venue is what that venue trades, one of the calendar FOREX is forex, and any other is `other`.

    Examples:

    - `fleet symbols add BINANCE:BTCUSDT COINBASE:BTC-USD`
    - `fleet symbols add KRAKEN:XBT-USD --on-demand`
    - `fleet symbols add MY:BTCUSD --price-decimals 2 --size-decimals 8`
    - `fleet symbols add COINBASE:BTC-USD --stream trades-COINBASE-BTC-USD --contiguous`
    - `fleet symbols add NASDAQ:GOOG --price-decimals 4 --size-decimals 0 --calendar XNAS --hours extended`
    - `fleet symbols add NSE:NIFTY50 --price-decimals 2 --size-decimals 0 --calendar XNSE --kind index`
    - `fleet symbols add SIMULATED:XRPUSD --price-decimals 4 --price 0.52`
    """
    sessions_of(calendar, zone, hours.value)
    trading: Trading = {"calendar": calendar, "zone": zone, "hours": hours.value}
    kinds = {check_symbol(symbol): _kind(symbol, source, stream) for symbol in symbols}
    of_venues = [symbol for symbol, kind in kinds.items() if kind is SourceKind.VENUE]
    others = [symbol for symbol, kind in kinds.items() if kind is not SourceKind.VENUE]
    of_others = {
        "--price-decimals": price_decimals is not None,
        "--size-decimals": size_decimals is not None,
        "--contiguous": contiguous,
        "--stream": stream is not None,
        "--trim": trim is not None,
    }
    for symbol in of_venues:
        _check_of_venue(symbol, [option for option, given in of_others.items() if given])
    if on_demand and others:
        raise BadInput(f"--on-demand does not go with {others[0]}, which is not streamed from a venue")
    decimals = (2 if price_decimals is None else price_decimals, 8 if size_decimals is None else size_decimals)
    ids: Ids = "contiguous" if contiguous else "unique"
    made = [
        _simulated(symbol, decimals, price)
        if kinds[symbol] is SourceKind.SIMULATOR
        else Market(Instrument(symbol, *decimals, ids), _inbox(stream, trim))
        for symbol in others
    ]
    demand: Demand = "on_demand" if on_demand else "always"
    settings = load()
    folder = data_folder(data or settings.data_dir)
    asyncio.run(_add(store_url(settings, data), made, of_venues, folder, demand, trading, kind))
    for symbol in kinds:
        print(f"{symbol} added")


@app.command()
def remove(
    symbol: SymbolArgument,
    purge: Annotated[bool, typer.Option("--purge", help="Delete its candles and trades, too.")] = False,
    data: DataOption = None,
) -> None:
    """Take a symbol off the fleet. Its data stays unless --purge is given; what is archived always does."""
    settings = load()
    url = store_url(settings, data)
    if not asyncio.run(_remove(url, symbol, purge)):
        raise BadInput(f"symbol {symbol} is not there: fleet symbols list")
    print(f"{symbol} removed{' with its data' if purge else ''}")
    if purge and settings.archive_url:
        print(f"its archive stays: {redacted_url(settings.archive_url)}")
    if purge:
        asyncio.run(_withdraw_jobs(settings.queue_redis_url or url, symbol))


app.command()(change)


def _row(market: Market) -> Row:
    i = market.instrument
    decimals = str(i.price_decimals), str(i.size_decimals)
    return market.symbol, market.instrument_kind, market.kind, *decimals, i.ids, _trading_text(i)


def _trading_text(instrument: Instrument) -> str:
    """The calendar, and what of it is not as usual."""
    unusual = (instrument.zone, "UTC"), (instrument.hours, "regular")
    return " ".join([instrument.calendar, *(found for found, usual in unusual if found != usual)])


def _inbox(stream: str | None, trim: bool | None) -> dict[str, object]:
    found: dict[str, object] = {"kind": "inbox", "trim": stream is None if trim is None else trim}
    return found | ({"stream": stream} if stream else {})


def _kind(symbol: str, source: SourceKind | None, stream: str | None) -> SourceKind:
    """Where a symbol's trades come from, if it is not said: from where its prefix names, unless a stream is given."""
    if source is not None:
        return source
    if stream is not None:
        return SourceKind.INBOX
    if symbol.startswith(markets.PREFIX):
        return SourceKind.SIMULATOR
    return SourceKind.VENUE if venues.place_of(symbol) else SourceKind.INBOX


def _check_of_venue(symbol: str, options: list[str]) -> None:
    """`options`: those given that a symbol of a venue has no use for."""
    if venues.place_of(symbol) is None:
        raise BadInput(f"symbol {symbol!r} is of no venue, expected VENUE:NAME with one of {', '.join(VENUE_NAMES)}")
    if options:
        raise BadInput(f"{options[0]} does not go with {symbol} of a venue: leave it out, or give --source inbox")


def _simulated(symbol: str, decimals: tuple[int, int], price: str | None) -> Market:
    if not symbol.startswith(markets.PREFIX):
        raise BadInput(f"symbol {symbol!r} of a simulated market must begin with {markets.PREFIX}")
    return markets.simulated(symbol, *decimals, price)


async def _all(url: str) -> dict[str, Market]:
    async with open_store(url) as store:
        return await store.symbols()


async def _add(
    url: str,
    made: list[Market],
    of_venues: list[str],
    folder: Path,
    demand: Demand,
    trading: Trading,
    kind: InstrumentKind | None,
) -> None:
    """Add the markets and the symbols of venues: all of them, or none if one is there or unknown to its venue."""
    async with open_store(url) as store:
        known = await store.symbols()
        for symbol in (*(market.symbol for market in made), *of_venues):
            if symbol in known:
                raise _there_already(symbol)
        for market in made + await venues.listed(url, of_venues, folder, demand):
            instrument, usual = replace(market.instrument, **trading), usual_kind(market.symbol, trading["calendar"])
            market = replace(market, instrument=instrument, instrument_kind=kind or usual)
            if not await store.add_symbol(market):
                raise _there_already(market.symbol)


def _there_already(symbol: str) -> BadInput:
    return BadInput(f"symbol {symbol} is there already: fleet symbols list")


async def _remove(url: str, symbol: str, purge: bool) -> bool:
    async with open_store(url) as store:
        return await store.remove_symbol(symbol, purge=purge)


async def _withdraw_jobs(url: str, symbol: str) -> None:
    async with commit_client(url) as client:
        jobs = Jobs(client)
        await jobs.withdraw(job for job in await jobs.queued(ALL_JOBS) if is_of(job, symbol))
        await jobs.forget(job for job in await jobs.failures() if is_of(job, symbol))
