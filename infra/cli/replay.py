"""`fleet replay`"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from redis.asyncio import Redis
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from common import log
from common.errors import BadInput
from common.market.candle import IMPORT, SIMULATED
from common.market.instrument import Ids, Instrument
from common.settings import Settings, load
from common.store.client import commit_client
from common.store.lease import holder_name
from common.store.registry import Market, Registry
from infra.cli.agreement import kept_longer, to_write
from infra.cli.options import DataOption, store_session
from infra.cli.progress import progress
from infra.cli.refused import exit_by, print_conflicts, print_refused, way_out_told
from infra.local.kinds import usual_kind
from workers.recordings import TradeFile
from workers.replay import KIND, Replayer
from workers.run import WorkerSettings
from workers.sources.base import Batch
from workers.sources.replay import Replay
from workers.symbol.term import Progress as Done
from workers.withdrawal import has_data

# Ids of a venue that counts its trades follow each other; lost trades are the exception.
_LOOKED_AT = 5_000
_CONTIGUOUS_SHARE = 0.99


class SourceChoice(Enum):
    SIMULATED = "simulated"
    IMPORT = "import"


class IdsChoice(Enum):
    AUTO = "auto"
    CONTIGUOUS = "contiguous"
    UNIQUE = "unique"


def replay(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="CSV, Parquet, or recorded stream frames; .gz is read too.")
    ],
    symbol: Annotated[str, typer.Option(help="Symbol the trades are applied to, such as BINANCE:BTCUSDT.")],
    price_decimals: Annotated[int, typer.Option(min=0, max=18, help="Decimals of a price: 2 makes 0.01 one tick.")],
    size_decimals: Annotated[int, typer.Option(min=0, max=18, help="Decimals of a size: 8 makes 0.00000001 one lot.")],
    speed: Annotated[str, typer.Option(metavar="1|10|max", help="Times the recorded pace, or max.")] = "max",
    source: Annotated[SourceChoice, typer.Option(help="What the candles say of where they come from.")] = (
        SourceChoice.IMPORT
    ),
    ids: Annotated[
        IdsChoice, typer.Option(help="Whether trade ids count on by one, so that a hole in them is a lost trade.")
    ] = IdsChoice.AUTO,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Count lines that are no trades, do not stop.")] = False,
    data: DataOption = None,
) -> None:
    """Replay recorded trades through the same worker, lease and commit as live ones.

    May run beside a running fleet: its feed shows the symbol. Run again, it goes on where it was stopped; trades that
    were applied already are not applied twice. The last candle stays open.

    Exit code 3: all was read, and trades were refused because others had been applied under their ids.

    Examples:

    - `fleet replay trades.csv --symbol TEST:BTCUSD --price-decimals 2 --size-decimals 8`
    - `fleet replay day1.parquet day2.parquet --symbol TEST:ETHUSD --price-decimals 2 --size-decimals 4`
    - `fleet replay trades.csv.gz --symbol TEST:BTCUSD --price-decimals 2 --size-decimals 8 --speed 10`
    """
    settings = load()
    log.setup("warning", settings.log_format)
    pace = _speed(speed)
    instrument = Instrument(symbol, price_decimals, size_decimals)
    trade_files = [TradeFile(path, instrument, skip_bad) for path in files]
    bits = SIMULATED if source is SourceChoice.SIMULATED else IMPORT
    with store_session(settings, data) as url:
        settings = to_write(settings, url)
        is_new = not asyncio.run(is_there(url, symbol))
        with way_out_told(symbol, is_new=is_new):
            instrument = replace(instrument, ids=ids_of(ids, lambda: _first_ids(trade_files)))
        replay_settings = WorkerSettings.of(settings, redis_url=url)
        replayer = Replayer(
            url=url,
            market=kept_longer(settings, url, market_of_files(instrument, bits)),
            replay=Replay(trade_files, bits, pace),
            settings=replay_settings.term,
            bounds=replay_settings.bounds,
            holder=holder_name(),
            archive=_archiver(settings),
        )
        with way_out_told(symbol, is_new=is_new):
            done = asyncio.run(_run(replayer))
    _report(replayer, done)


def market_of_files(instrument: Instrument, sources: int) -> Market:
    """What files are read into, where there is no such symbol yet. `sources`: as in common.market.candle."""
    kind = usual_kind(instrument.symbol, instrument.calendar)
    return Market(instrument, {"kind": KIND, "simulated": sources == SIMULATED}, instrument_kind=kind)


async def is_there(url: str, symbol: str) -> bool:
    """Whether there is such a symbol, or data of one that was removed."""
    async with commit_client(url) as client:
        return await Registry(client).market(symbol) is not None or await has_data(client, symbol)


def _archiver(settings: Settings) -> Callable[[Redis, Market], Awaitable[object]] | None:
    """What archives a symbol's trades, if they are to be archived."""
    if settings.archive_url is None or not settings.archive_trades:
        return None
    # Here, as they load Polars.
    from common.archive.archive import Archive
    from workers.rollup.trades import archive_trades

    archive = Archive.open(settings.archive_url, settings.archive_s3_endpoint)
    return lambda client, market: archive_trades(client, market, archive)


async def _run(replayer: Replayer) -> Done:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, replayer.stop)
    with progress_bar(replayer.market.symbol) as (bar, task):

        def show(done: Done, batch: Batch) -> None:
            rate = done.applied / max(bar.tasks[task].elapsed or 0, 1e-3)
            bar.update(task, completed=replayer.replay.fraction, trades=done.applied, rate=rate)

        replayer.on_progress = show
        return await replayer.run()


@contextlib.contextmanager
def progress_bar(symbol: str, unit: str = "trades") -> Iterator[tuple[Progress, TaskID]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.percentage:>3.0f}}%  {{task.fields[trades]:,}} {unit}  {{task.fields[rate]:,.0f}}/s"),
        TimeElapsedColumn(),
    )
    with progress(*columns) as bar:
        yield bar, bar.add_task(symbol, total=1.0, trades=0, rate=0.0)


def _report(replayer: Replayer, done: Done) -> None:
    instrument = replayer.market.instrument
    print(
        f"{instrument.symbol}: {done.applied:,} trades applied in {done.commits:,} commits, "
        f"{done.closed:,} minutes closed, {done.amended:,} amended ({instrument.ids} ids)"
    )
    print_refused(done.refused)
    print_conflicts(instrument, replayer.conflict_count, replayer.conflicts)
    if replayer.ended and not done.applied and not replayer.conflict_count:
        print("nothing was new: this recording has been applied before")
    exit_by(ended=replayer.ended, conflicts=replayer.conflict_count)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1e6:
        raise BadInput(f"--speed is {text!r}, expected max or a number above 0 such as 1 or 10")
    return speed


def ids_of(choice: IdsChoice, beginning: Callable[[], Sequence[int]]) -> Ids:
    """What was chosen, or what the ids at the beginning show."""
    if choice is IdsChoice.CONTIGUOUS:
        return "contiguous"
    if choice is IdsChoice.UNIQUE:
        return "unique"
    found = sorted(set(beginning()[:_LOOKED_AT]))
    steps = sum(b - a == 1 for a, b in zip(found, islice(found, 1, None), strict=False))
    return "contiguous" if steps >= _CONTIGUOUS_SHARE * (len(found) - 1) else "unique"


def _first_ids(files: list[TradeFile]) -> list[int]:
    first = next(files[0].chunks(), None)
    return first.trades.ids if first else []
