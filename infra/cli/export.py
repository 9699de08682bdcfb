"""`fleet export`"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from common import log
from common.archive.archive import Archive
from common.archive.objects import RetryPolicy
from common.errors import BadInput
from common.frames.text import decimal
from common.market.instrument import Instrument
from common.market.manifest import Fault
from common.market.timeframes.timeframe import Timeframe
from common.market.trade import MAX_TS_MS, SIDE_NAMES
from common.retry import retry_when_overtaken
from common.settings import Settings, load
from common.store.client import commit_client
from common.store.registry import Market
from feed.bars.frames import read_frame
from feed.queries.queries import Queries
from feed.queries.trades import read_on
from feed.reading.archived import Faulty
from feed.reading.bounds import ATTEMPTS, Window
from feed.wire.parameter_types import time_of
from infra.cli.agreement import with_agreed
from infra.cli.options import DataOption, store_session
from infra.cli.replay import progress_bar

app = typer.Typer(help="Export candles or kept trades to a file.", no_args_is_help=True)

# Tables and how much of all is behind each.
_Pages = Callable[[Queries, Market], AsyncIterator[tuple[pl.DataFrame, float]]]

# Bars read at once. A page is true of one commit.
PAGE_BARS = 50_000
# The same of trades: 33 bytes each.
PAGE_TRADES = 250_000


class ExportForm(Enum):
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"


SymbolArgument = Annotated[str, typer.Argument(metavar="SYMBOL", help="Symbol to export.")]
OutOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write, replaced if it is there.")]
FormOption = Annotated[ExportForm, typer.Option("--format", help="Decimals are exact in all of them.")]
StartOption = Annotated[str, typer.Option(metavar="TIME", help="UTC time, day or ms: what opens from there on.")]
EndOption = Annotated[str, typer.Option(metavar="TIME", help="UTC time, day or ms: what opens before it.")]


@app.command()
def candles(
    symbol: SymbolArgument,
    out: OutOption,
    timeframe: Annotated[str, typer.Option(help="Any timeframe the feed answers: 1m, 4h, 1w.")] = "1m",
    start: StartOption = "",
    end: EndOption = "",
    form: FormOption = ExportForm.CSV,
    data: DataOption = None,
) -> None:
    """Export candles as the feed shows them, the growing one included (`is_final`).

    Minutes of it can be imported again. Example: `fleet export candles TEST:BTCUSD --timeframe 1h --out hours.csv`
    """
    span = _Span.of(start, end)
    chosen = Timeframe.parse(timeframe)

    async def pages(queries: Queries, market: Market) -> AsyncIterator[tuple[pl.DataFrame, float]]:
        async for frame, fraction in _bars(queries, market, chosen, span):
            yield _candle_table(frame, market.instrument), fraction

    _export(symbol, out, form, data, pages)


@app.command()
def trades(
    symbol: SymbolArgument,
    out: OutOption,
    start: StartOption = "",
    end: EndOption = "",
    form: FormOption = ExportForm.CSV,
    data: DataOption = None,
) -> None:
    """Export all trades that are kept, in the store (FLEET_TRADES_KEPT) or the archive, by time and id.

    They can be replayed and imported. Example: `fleet export trades TEST:BTCUSD --out trades.csv`
    """
    span = _Span.of(start, end)

    async def pages(queries: Queries, market: Market) -> AsyncIterator[tuple[pl.DataFrame, float]]:
        async for frame, fraction in _trades(queries, market, span):
            yield _trade_table(frame, market.instrument), fraction

    _export(symbol, out, form, data, pages)


@dataclass(frozen=True, slots=True)
class _Span:
    start_ms: int
    end_ms: int

    @classmethod
    def of(cls, start: str, end: str) -> "_Span":
        span = cls(time_of("--start", start) if start else 0, time_of("--end", end) if end else MAX_TS_MS)
        if span.start_ms > span.end_ms:
            raise BadInput(f"--start {start} is after --end {end}")
        return span


async def _bars(
    queries: Queries, market: Market, timeframe: Timeframe, span: _Span
) -> AsyncIterator[tuple[pl.DataFrame, float]]:
    """Pages of bars, oldest first, each with the share of the span that is behind it."""
    source = queries.of(market).source(timeframe)
    timeframe = source.grid.timeframe
    start_ms, first_ms = span.start_ms, None
    while True:
        page = await read_frame(source, Window(start_ms, None, PAGE_BARS))
        _check_sound(market, page.cover.faults)
        frame = page.frame.filter(pl.col("open_ms") < span.end_ms)
        if frame.is_empty():
            return
        first_ms, last_ms = first_ms or frame["open_ms"][0], frame["open_ms"][-1]
        state = page.view.state
        goal_ms = min(span.end_ms, state.watermark_ms if state else last_ms)
        yield frame, min(1.0, (last_ms - first_ms + 1) / max(goal_ms - first_ms, 1))
        if len(page.frame) < PAGE_BARS or len(frame) < len(page.frame):
            return
        start_ms = timeframe.open_of(timeframe.next_open(last_ms))


async def _trades(queries: Queries, market: Market, span: _Span) -> AsyncIterator[tuple[pl.DataFrame, float]]:
    """Pages of trades, oldest first, each with the share of the span that is behind it."""
    data = queries.of(market).data()
    start_ms, first_ms = span.start_ms, None
    while start_ms < span.end_ms:
        page = partial(read_on, data, start_ms, span.end_ms, PAGE_TRADES)
        found, start_ms = await retry_when_overtaken(page, market.symbol, attempts=ATTEMPTS)
        _check_sound(market, found.retention.faults)
        if not found.trades.is_empty():
            first_ms, state = first_ms or found.trades["ts_ms"][0], found.view.state
            goal_ms = min(span.end_ms, state.watermark_ms if state else start_ms)
            yield found.trades, min(1.0, (start_ms - first_ms) / max(goal_ms - first_ms, 1))


def _check_sound(market: Market, faults: Iterable[Fault]) -> None:
    """What the archive has lost must not look like time in which nothing was traded."""
    for fault in faults:
        raise Faulty(market.symbol, fault)


def _candle_table(frame: pl.DataFrame, instrument: Instrument) -> pl.DataFrame:
    price, size = instrument.price_decimals, instrument.size_decimals
    numbers = {"open": price, "high": price, "low": price, "close": price}
    return frame.select(
        "open_ms",
        *(decimal(f"{name}_ticks", digits).alias(name) for name, digits in numbers.items()),
        decimal("volume_lots", size).alias("volume"),
        decimal("buy_lots", size).alias("buy_volume"),
        decimal("sell_lots", size).alias("sell_volume"),
        decimal("turnover", price + size).alias("turnover"),
        "trades",
        "rev",
        "is_final",
        "partial",
    )


def _trade_table(frame: pl.DataFrame, instrument: Instrument) -> pl.DataFrame:
    return frame.select(
        "ts_ms",
        decimal("price_ticks", instrument.price_decimals).alias("price"),
        decimal("size_lots", instrument.size_decimals).alias("size"),
        pl.lit(pl.Series(SIDE_NAMES)).gather("side").alias("side"),
        "id",
    )


def _export(symbol: str, out: Path, form: ExportForm, data: Path | None, pages: _Pages) -> None:
    settings = load()
    log.setup("warning", settings.log_format)
    with store_session(settings, data) as url:
        count = asyncio.run(_write(with_agreed(settings, url), url, symbol, out, form, pages))
    print(f"{symbol}: {count:,} rows written to {out}")


async def _write(settings: Settings, url: str, symbol: str, out: Path, form: ExportForm, pages: _Pages) -> int:
    """Write pages beside the file, then the file out of them: neither is ever in memory as a whole."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            count = 0
            async with _queries(settings, url) as queries:
                market = await queries.market(symbol)
                with progress_bar(symbol, "rows") as (bar, task):
                    async for page, fraction in pages(queries, market):
                        page.write_parquet(Path(folder) / f"{count:012}.parquet", compression="zstd")
                        count += len(page)
                        rate = count / max(bar.tasks[task].elapsed or 0, 1e-3)
                        bar.update(task, completed=fraction, trades=count, rate=rate)
            if not count:
                raise BadInput(f"{symbol} has nothing to export in that span")
            draft = Path(folder) / "draft"
            _join(Path(folder), draft, form)
            os.replace(draft, out)
            return count
    except OSError as error:
        raise BadInput(f"{out} cannot be written: {error.strerror or error}") from error


def _join(folder: Path, draft: Path, form: ExportForm) -> None:
    rows = pl.scan_parquet(sorted(folder.glob("*.parquet")))
    match form:
        case ExportForm.CSV:
            rows.sink_csv(draft)
        case ExportForm.PARQUET:
            rows.sink_parquet(draft)
        case ExportForm.ARROW:
            # The oldest level: string views are too new for many readers of Arrow.
            rows.sink_ipc(draft, compat_level=pl.CompatLevel.oldest())


@asynccontextmanager
async def _queries(settings: Settings, url: str) -> AsyncIterator[Queries]:
    client = commit_client(url)
    archive = None
    if settings.archive_url:
        archive = Archive.open(settings.archive_url, settings.archive_s3_endpoint, RetryPolicy())
    try:
        yield Queries(client, settings.lease_ttl_ms, archive=archive)
    finally:
        await client.aclose()
