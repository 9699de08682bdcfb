"""`fleet import`"""

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from common import log
from common.archive.archive import Archive
from common.errors import BadInput
from common.market.candle import IMPORT, SIMULATED
from common.market.instrument import Instrument, check_symbol
from common.series import CANDLES
from common.settings import Settings, load
from common.store.instrument import exists_otherwise
from common.store.lease import holder_name
from common.store.registry import Market, open_store
from infra.cli.agreement import kept_longer, to_write
from infra.cli.options import DataOption, TradingHours, date_text, store_session
from infra.cli.refused import exit_by, print_conflicts, print_refused, way_out_told
from infra.cli.replay import IdsChoice, SourceChoice, ids_of, is_there, market_of_files, progress_bar
from workers.imports.candles import CandleFile
from workers.imports.files import ImportFile
from workers.imports.importer import Importer
from workers.imports.reach import Reach
from workers.imports.target import is_fed
from workers.imports.work import Done
from workers.run import WorkerSettings

app = typer.Typer(help="Import files in bulk: history by the day, faster than a replay.", no_args_is_help=True)


_KNOWN = "Not needed of a symbol that exists."
PriceDecimals = Annotated[
    int | None, typer.Option(min=0, max=18, help=f"Decimals of a price: 2 makes 0.01 one tick. {_KNOWN}")
]
SizeDecimals = Annotated[
    int | None, typer.Option(min=0, max=18, help=f"Decimals of a size: 8 makes 0.00000001 one lot. {_KNOWN}")
]

CalendarOption = Annotated[
    str | None,
    typer.Option(help=f"When it trades: 24x7, FOREX, or an exchange such as XNYS, XNSE. {_KNOWN}", show_default=False),
]
ZoneOption = Annotated[
    str | None, typer.Option(help="Where the days of 24x7 begin, such as Europe/Berlin.", show_default=False)
]
WithinOption = Annotated[
    bool, typer.Option("--within-retention", help="Leave out days older than what is kept, do not keep more for them.")
]
HoursOption = Annotated[
    TradingHours | None, typer.Option(help="Of a stock exchange: its main session, or all.", show_default=False)
]


@app.command()
def trades(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="CSV, Parquet, or Binance's dumps of trades; also .gz, .zip."),
    ],
    symbol: Annotated[str, typer.Option(help="Symbol the trades are applied to, such as BINANCE:BTCUSDT.")],
    price_decimals: PriceDecimals = None,
    size_decimals: SizeDecimals = None,
    calendar: CalendarOption = None,
    zone: ZoneOption = None,
    hours: HoursOption = None,
    source: Annotated[SourceChoice, typer.Option(help="What the candles say of where they come from.")] = (
        SourceChoice.IMPORT
    ),
    ids: Annotated[
        IdsChoice, typer.Option(help="Whether trade ids count on by one, so that a hole in them is a lost trade.")
    ] = IdsChoice.AUTO,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Count rows that are no trades, do not stop.")] = False,
    within_retention: WithinOption = False,
    data: DataOption = None,
) -> None:
    """Import trades: candles and footprints of whole days, in atomic steps.

    The files may come in any order. Run again, it goes on where it was stopped; trades that were applied already are
    not applied twice. The archive has them too, if there is one. The symbol may be one that a venue feeds: its live
    trades wait until the import is done. docs/import.md has the formats and the rules.

    Exit code 3: all was read, and trades were refused because others had been applied under their ids.

    Examples:

    - `fleet import trades trades.parquet --symbol TEST:BTCUSD --price-decimals 2 --size-decimals 8`
    - `fleet import trades BTCUSDT-trades-*.zip --symbol BINANCE:BTCUSDT`
    """
    settings = load()
    log.setup("warning", settings.log_format)
    bits = SIMULATED if source is SourceChoice.SIMULATED else IMPORT
    with store_session(settings, data) as url:
        settings = to_write(settings, url)
        known, is_new = asyncio.run(_known(url, symbol)), not asyncio.run(is_there(url, symbol))
        trading = _trading(calendar, zone, hours)
        instrument = _instrument(known, symbol, price_decimals, size_decimals, trading)
        if known is None or ids is not IdsChoice.AUTO:
            heads = (ImportFile(path, instrument, skip_bad).first_ids() for path in files)
            instrument = replace(instrument, ids=ids_of(ids, lambda: next(filter(None, heads), [])))
        market = kept_longer(settings, url, market_of_files(instrument, bits))
        importer = _importer(settings, url, market, bits)
        importer.files = [ImportFile(path, instrument, skip_bad) for path in files]
        importer.within_retention = within_retention
        _say_what_waits(known)
        with way_out_told(symbol, is_new=is_new):
            done = asyncio.run(_run(importer))
    _report(importer, done)


@app.command()
def candles(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="CSV, Parquet, or Binance's dumps of 1m klines; also .gz, .zip."),
    ],
    symbol: Annotated[str, typer.Option(help="Symbol the candles are of, such as BINANCE:BTCUSDT.")],
    price_decimals: PriceDecimals = None,
    size_decimals: SizeDecimals = None,
    calendar: CalendarOption = None,
    zone: ZoneOption = None,
    hours: HoursOption = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Count rows that are no candles, do not stop.")] = False,
    minutes: Annotated[
        bool, typer.Option("--minutes", help="They are of a minute each, though no two of a file are a minute apart.")
    ] = False,
    within_retention: WithinOption = False,
    data: DataOption = None,
) -> None:
    """Import minute candles, for history of which there are no trades: without footprints.

    A minute that the symbol has already is left as it is. The symbol must be one of its own, or a replay's.
    docs/import.md has the formats and the rules.

    Example: `fleet import candles BTCUSDT-1m-*.zip --symbol TEST:BTCUSD --price-decimals 2 --size-decimals 8`
    """
    settings = load()
    log.setup("warning", settings.log_format)
    with store_session(settings, data) as url:
        settings = to_write(settings, url)
        known, is_new = asyncio.run(_known(url, symbol)), not asyncio.run(is_there(url, symbol))
        trading = _trading(calendar, zone, hours)
        instrument = _instrument(known, symbol, price_decimals, size_decimals, trading)
        market = kept_longer(settings, url, market_of_files(instrument, IMPORT))
        importer = _importer(settings, url, market, IMPORT)
        importer.files = [CandleFile(path, instrument, skip_bad, minutes) for path in files]
        importer.within_retention = within_retention
        with way_out_told(symbol, is_new=is_new):
            done = asyncio.run(_run(importer))
    _report(importer, done, "candles")


async def _known(url: str, symbol: str) -> Market | None:
    async with open_store(url) as registry:
        return await registry.market(check_symbol(symbol))


def _trading(calendar: str | None, zone: str | None, hours: TradingHours | None) -> dict[str, str]:
    """What was said of when it trades."""
    said = {"calendar": calendar, "zone": zone, "hours": hours.value if hours else None}
    return {name: text for name, text in said.items() if text is not None}


def _instrument(
    known: Market | None,
    symbol: str,
    price_decimals: int | None,
    size_decimals: int | None,
    trading: Mapping[str, str],
) -> Instrument:
    """What the symbol is; options say it of one that is new, and may say it again of one that exists."""
    chosen = {"price_decimals": price_decimals, "size_decimals": size_decimals}
    given = {name: value for name, value in chosen.items() if value is not None}
    if known:
        asked = replace(known.instrument, **given, **trading)  # type: ignore[arg-type]
        if asked != known.instrument:
            raise BadInput(exists_otherwise(known.instrument, asked))
        return known.instrument
    if len(given) < len(chosen):
        raise BadInput(f"symbol {symbol} is new: --price-decimals and --size-decimals say how exact its numbers are")
    made = Instrument(symbol, given["price_decimals"], given["size_decimals"], **trading)  # type: ignore[arg-type]
    # A calendar that is not known is told before a file is read.
    _ = made.sessions
    return made


def _say_what_waits(known: Market | None) -> None:
    if known and is_fed(known):
        print(f"{known.symbol}: what its {known.kind} brings waits until the import is done, and is fetched then")


def _importer(settings: Settings, url: str, market: Market, sources: int) -> Importer:
    worker = WorkerSettings.of(settings, redis_url=url)
    archive = Archive.open(settings.archive_url, settings.archive_s3_endpoint) if settings.archive_url else None
    of_trades = archive if settings.archive_trades else None
    return Importer(url, market, [], sources, worker.term, worker.bounds, holder_name(), of_trades, archive)


async def _run(importer: Importer) -> Done:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, importer.stop)
    with progress_bar(importer.market.symbol) as (bar, task):

        def show(done: Done) -> None:
            rate = done.trades / max(bar.tasks[task].elapsed or 0, 1e-3)
            bar.update(task, completed=done.fraction, trades=done.trades, rate=rate)

        importer.on_progress = show
        importer.on_reach = lambda reach: _say_what_is_old(importer.market.symbol, reach)
        return await importer.run()


def _say_what_is_old(symbol: str, reach: Reach) -> None:
    for series, floor_ms in reach.gone.items():
        print(f"{symbol}: {series} before {date_text(floor_ms)} are left out, the store has dropped what it had there")
    for series, floor_ms in reach.short.items():
        older = f"older than the {reach.kept[series]:,} days kept"
        print(f"{symbol}: {series} before {date_text(floor_ms)}, {older}, {_fate(series, reach)}")


def _fate(series: str, reach: Reach) -> str:
    if reach.within:
        return "are left out" if series == CANDLES.name else "are left out, and candles are kept alone"
    if series in reach.raised:
        return f"are kept all the same: for {reach.days:,} days from now on, of this symbol"
    return "go into the archive alone"


def _report(importer: Importer, done: Done, what: str = "trades") -> None:
    instrument = importer.market.instrument
    print(f"{instrument.symbol}: {done.trades:,} {what} imported into {done.days:,} days ({instrument.ids} ids)")
    if done.too_old:
        print(f"{done.too_old:,} days are older than what is kept of the symbol: they were left out")
    if done.bare:
        print(f"{done.bare:,} days are older than footprints are kept: their candles were kept alone")
    if done.outside:
        print(
            f"{done.outside:,} trades are in no session of {instrument.calendar}: they are kept, no bar shows them. "
            "If the calendar is wrong there, fleet calendars add corrects it"
        )
    print_refused(done.refused)
    print_conflicts(instrument, done.conflict_count, done.conflicts)
    if importer.ended and not done.trades and not done.conflict_count:
        print("nothing was new")
    exit_by(ended=importer.ended, conflicts=done.conflict_count)
