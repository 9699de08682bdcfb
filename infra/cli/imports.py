"""`fleet import`"""

import asyncio
import signal
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from common import log
from common.archive.archive import Archive
from common.market.candle import IMPORT, SIMULATED
from common.market.instrument import Instrument
from common.settings import Settings, load
from common.store.lease import holder_name
from common.store.registry import Market
from infra.cli.options import DataOption, store_session
from infra.cli.replay import IdsChoice, SourceChoice, ids_of, print_refused, progress_bar, worker_settings
from workers.imports.candles import CandleFile
from workers.imports.files import ImportFile
from workers.imports.importer import Done, Importer
from workers.replay import KIND

app = typer.Typer(help="Import files in bulk: history by the day, faster than a replay.", no_args_is_help=True)


@app.command()
def trades(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="CSV, Parquet, or Binance's dumps of trades; also .gz, .zip."),
    ],
    symbol: Annotated[str, typer.Option(help="Symbol the trades are applied to, such as BINANCE:BTCUSDT.")],
    price_decimals: Annotated[int, typer.Option(min=0, max=18, help="Decimals of a price: 2 makes 0.01 one tick.")],
    size_decimals: Annotated[int, typer.Option(min=0, max=18, help="Decimals of a size: 8 makes 0.00000001 one lot.")],
    source: Annotated[SourceChoice, typer.Option(help="What the candles say of where they come from.")] = (
        SourceChoice.IMPORT
    ),
    ids: Annotated[
        IdsChoice, typer.Option(help="Whether trade ids count on by one, so that a hole in them is a lost trade.")
    ] = IdsChoice.AUTO,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Count rows that are no trades, do not stop.")] = False,
    data: DataOption = None,
) -> None:
    """Import trades: candles and footprints of whole days, each day in one step.

    The files may come in any order. Run again, it goes on where it was stopped; trades that were applied already are
    not applied twice. The archive has them too, if there is one. docs/import.md has the formats and the rules.

    Examples:

    - `fleet import trades trades.parquet --symbol TEST:BTCUSD --price-decimals 2 --size-decimals 8`
    - `fleet import trades BTCUSDT-aggTrades-*.zip --symbol BINANCE:BTCUSDT --price-decimals 2 --size-decimals 8`
    """
    settings = load()
    log.setup("warning", settings.log_format)
    instrument = Instrument(symbol, price_decimals, size_decimals)
    heads = (ImportFile(path, instrument, skip_bad).first_ids() for path in files)
    instrument = replace(instrument, ids=ids_of(ids, lambda: next(filter(None, heads), [])))
    bits = SIMULATED if source is SourceChoice.SIMULATED else IMPORT
    with store_session(settings, data) as url:
        importer = _importer(settings, url, Market(instrument, {"kind": KIND, "simulated": bits == SIMULATED}), bits)
        importer.files = [ImportFile(path, instrument, skip_bad) for path in files]
        done = asyncio.run(_run(importer))
    _report(importer, done)


@app.command()
def candles(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="CSV, Parquet, or Binance's dumps of 1m klines; also .gz, .zip."),
    ],
    symbol: Annotated[str, typer.Option(help="Symbol the candles are of, such as BINANCE:BTCUSDT.")],
    price_decimals: Annotated[int, typer.Option(min=0, max=18, help="Decimals of a price: 2 makes 0.01 one tick.")],
    size_decimals: Annotated[int, typer.Option(min=0, max=18, help="Decimals of a size: 8 makes 0.00000001 one lot.")],
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Count rows that are no candles, do not stop.")] = False,
    data: DataOption = None,
) -> None:
    """Import minute candles, for history of which there are no trades: without footprints.

    A minute that the symbol has already is left as it is. docs/import.md has the formats and the rules.

    Example: `fleet import candles BTCUSDT-1m-*.zip --symbol TEST:BTCUSD --price-decimals 2 --size-decimals 8`
    """
    settings = load()
    log.setup("warning", settings.log_format)
    instrument = Instrument(symbol, price_decimals, size_decimals)
    with store_session(settings, data) as url:
        importer = _importer(settings, url, Market(instrument, {"kind": KIND, "simulated": False}), IMPORT)
        importer.files = [CandleFile(path, instrument, skip_bad) for path in files]
        done = asyncio.run(_run(importer))
    _report(importer, done, "candles")


def _importer(settings: Settings, url: str, market: Market, sources: int) -> Importer:
    worker = worker_settings(settings, url)
    archive = None
    if settings.archive_url and settings.archive_trades:
        archive = Archive.open(settings.archive_url, settings.archive_s3_endpoint)
    return Importer(url, market, [], sources, worker.term, worker.bounds, holder_name(), archive)


async def _run(importer: Importer) -> Done:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, importer.stop)
    with progress_bar(importer.market.symbol) as (bar, task):

        def show(done: Done) -> None:
            rate = done.trades / max(bar.tasks[task].elapsed or 0, 1e-3)
            bar.update(task, completed=done.fraction, trades=done.trades, rate=rate)

        importer.on_progress = show
        return await importer.run()


def _report(importer: Importer, done: Done, what: str = "trades") -> None:
    instrument = importer.market.instrument
    print(f"{instrument.symbol}: {done.trades:,} {what} imported into {done.days:,} days ({instrument.ids} ids)")
    print_refused(done.refused)
    if importer.ended and not done.trades:
        print("nothing was new")
    if not importer.ended:
        print("stopped before the end: run the same command again to go on")
        raise typer.Exit(1)
