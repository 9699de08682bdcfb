"""`fleet archive`: what is archived, and whether it is what it should be.

Polars takes half a second to load. So what needs it is imported by the commands that do, and not by all others, too.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer
from redis.asyncio import Redis

from common.archive.names import NAMES, objects_at
from common.errors import BadInput, OperatorError
from common.market.timeframes.timeframe import DAY_MS
from common.settings import Settings, load
from common.store.client import commit_client
from common.store.registry import Market, Registry
from common.store.trade_archive import TRADES
from common.store.upkeep import Upkeep, upkeep_of
from infra.cli import tables
from infra.cli.agreement import with_agreed
from infra.cli.options import DataOption, date_text, day_option, days_between, store_url
from infra.cli.tables import Column, Row

if TYPE_CHECKING:
    from common.archive.archive import Archive
    from common.archive.series import ArchiveSeries

app = typer.Typer(help="The archive: list what is there, verify that it is what it should be.", no_args_is_help=True)

# Before and after all that is archived.
FIRST_DAY, LAST_DAY = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)

COLUMNS = (
    Column("symbol"),
    Column("series"),
    Column("objects", is_right=True),
    Column("first"),
    Column("last"),
    Column("complete to"),
    Column("to be written", is_right=True),
)

SymbolArgument = Annotated[
    str | None, typer.Argument(metavar="[SYMBOL]", help="Only this one. Default: all.", show_default=False)
]


class SeriesChoice(Enum):
    CANDLES = "candles"
    FOOTPRINTS = "footprints"
    TRADES = "trades"


@app.command("list")
def list_archive(symbol: SymbolArgument = None, data: DataOption = None) -> None:
    """Show how much of each symbol is archived, up to where it is complete, and what is still to be written.

    Of a symbol that has been removed what is archived is shown, too, if it is named.
    """
    settings = _settings(data)
    objects = objects_at(_archive_url(settings), settings.archive_s3_endpoint)

    async def look() -> list[tuple[str, Upkeep]]:
        async with _markets(settings, data) as (client, markets):
            return [(name, await upkeep_of(client, name)) for name in ([symbol] if symbol else markets)]

    rows = list[Row]()
    for name, kept in asyncio.run(look()):
        complete = {**kept.archived_to_ms, TRADES: kept.trades_to_ms}
        trades = kept.trades_waiting if settings.archives_trades else 0
        waiting = {TRADES: f"{trades:,} trades"} if trades else {}
        for series in NAMES.values():
            periods = list(series.listed(objects, name))
            if periods or series.name in waiting:
                ends = [series.label(periods[at]) for at in (0, -1)] if periods else ["", ""]
                to_ms = complete.get(series.name, -1)
                to = date_text(to_ms) if to_ms >= 0 else ""
                rows.append((name, series.name, str(len(periods)), *ends, to, waiting.get(series.name, "")))
        if kept.unarchived:
            rows.append(
                (name, "", "", "", "", "", f"{len(kept.unarchived):,} {'day' if len(kept.unarchived) == 1 else 'days'}")
            )
    if rows:
        tables.print_table(tables.console(), COLUMNS, rows)
    else:
        print("nothing is archived yet")


@app.command()
def verify(
    symbol: SymbolArgument = None,
    series: Annotated[
        SeriesChoice | None, typer.Option(help="Only this one. Default: all.", show_default=False)
    ] = None,
    first: Annotated[datetime, day_option("--from", "First day, UTC. Default: the first there is.")] = FIRST_DAY,
    last: Annotated[datetime, day_option("--to", "Last day, verified as well. Default: the last there is.")] = LAST_DAY,
    repair: Annotated[
        bool, typer.Option("--repair", help="Have the queue write anew what is wrong and Redis still has.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Read everything back and say what is wrong with it: one line each, and exit code 1.

    Checksums are compared; candles and footprints with the sealed days that Redis still has; footprints with the
    volumes of their candles; and trades with their footprints.

    Examples:

    - `fleet archive verify`
    - `fleet archive verify BINANCE:BTCUSDT --series footprints --from 2024-01-01 --to 2024-01-31`
    - `fleet archive verify BINANCE:BTCUSDT --repair`
    """
    from common.archive.series import SERIES

    settings = _settings(data)
    chosen = [SERIES[series.value]] if series else list(SERIES.values())
    first_ms, last_ms = days_between(first, last)
    span = first_ms, last_ms + DAY_MS
    count, lines = asyncio.run(_verify(settings, data, symbol, chosen, span, repair=repair))
    for line in lines:
        print(line)
    if lines:
        raise typer.Exit(1)
    print(f"{count} objects verified")


async def _verify(
    settings: Settings,
    data: DataOption,
    symbol: str | None,
    chosen: "list[ArchiveSeries]",
    span: tuple[int, int],
    *,
    repair: bool,
) -> tuple[int, list[str]]:
    """Return how many objects there are, and what is wrong with which."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    from infra.cli.progress import progress
    from infra.doctor.audit import Auditor

    archive = _archive(settings)
    lines: list[str] = []
    async with _markets(settings, data) as (client, markets):
        auditors = {name: Auditor(client, market, archive) for name, market in _only(markets, symbol).items()}
        work = [
            (auditor, where)
            for auditor in auditors.values()
            for series in chosen
            for where in await auditor.objects(series, *span)
        ]
        columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with progress(*columns) as bar:
            task = bar.add_task("", total=len(work))
            for auditor, where in work:
                name = f"{auditor.symbol} {where}"
                bar.update(task, description=name)
                found = await auditor.check(where)
                lines += [f"{name}: {what}" for what in found.wrong]
                if found.wrong and repair:
                    lines.append(f"{name}: {await auditor.repair(where, found)}")
                bar.advance(task)
    return len(work), lines


def _settings(data: DataOption) -> Settings:
    """Those of this command, with the archive of the store's fleet."""
    settings = load()
    try:
        url = store_url(settings, data)
    except OperatorError:
        # Whether there is an archive is said first, and this by the command itself.
        return settings
    return with_agreed(settings, url)


def _archive(settings: Settings) -> "Archive":
    from common.archive.archive import Archive

    return Archive.open(_archive_url(settings), settings.archive_s3_endpoint)


def _archive_url(settings: Settings) -> str:
    if settings.archive_url is None:
        raise OperatorError("FLEET_ARCHIVE_URL is not set: there is no archive")
    return settings.archive_url


@asynccontextmanager
async def _markets(settings: Settings, data: DataOption) -> AsyncIterator[tuple[Redis, dict[str, Market]]]:
    # Off this event loop: the store is asked by one of its own whether it may be used.
    async with commit_client(await asyncio.to_thread(store_url, settings, data)) as client:
        yield client, await Registry(client).stored_symbols()


def _only(markets: dict[str, Market], symbol: str | None) -> dict[str, Market]:
    if symbol is None:
        return markets
    if symbol not in markets:
        raise BadInput(f"symbol {symbol} is not there: fleet symbols list")
    return {symbol: markets[symbol]}
