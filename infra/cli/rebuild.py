"""`fleet rebuild`"""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Annotated

import typer
from redis.asyncio import Redis
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from common.errors import BadInput, OperatorError
from common.market.timeframes.timeframe import DAY_MS
from common.series import MINUTE_SERIES
from common.settings import Settings, load
from common.store.client import commit_client
from common.store.clock_lease import clock_holder
from common.store.jobs import Jobs
from common.store.reads import SymbolReader
from common.store.registry import Registry
from common.store.rollups import Due, RollupStore
from infra.cli.agreement import with_agreed
from infra.cli.options import (
    DataOption,
    SymbolArgument,
    date_text,
    day_option,
    days_between,
    store_url,
)
from infra.cli.progress import progress
from infra.doctor import checks
from workers.rollup.work import ARCHIVE, ROLL, ROLLED_BY, Work

POLL_S = 0.2


def rebuild(
    symbol: SymbolArgument,
    first: Annotated[datetime, day_option("--from", "First day, UTC.")],
    last: Annotated[datetime | None, day_option("--to", "Last day, rebuilt as well. Default: the first.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the queue has done it.")] = True,
    data: DataOption = None,
) -> None:
    """Have days of a symbol rolled up, sealed and archived anew, out of their minutes.

    Days of which Redis has dropped minutes stay as they are; so do those that are not over.

    Examples:

    - `fleet rebuild BINANCE:BTCUSDT --from 2024-01-05`
    - `fleet rebuild BINANCE:BTCUSDT --from 2024-01-01 --to 2024-03-31 --no-wait`
    """
    wanted = days_between(first, last or first)
    settings = load()
    url = store_url(settings, data)
    asyncio.run(_rebuild(with_agreed(settings, url), url, symbol, wanted, wait=wait))


async def _rebuild(settings: Settings, url: str, symbol: str, wanted: tuple[int, int], *, wait: bool) -> None:
    async with commit_client(url) as client, commit_client(settings.queue_redis_url or url) as queue:
        if await Registry(client).market(symbol) is None:
            raise BadInput(f"symbol {symbol} is not there: fleet symbols list")
        store, jobs = RollupStore(client, symbol), Jobs(queue)
        days = await store.mark(*wanted)
        await _tell(client, symbol, wanted, days)
        if not days:
            raise typer.Exit(1)
        # What has failed before is tried at once, and what is told while we wait has failed since.
        await jobs.forget(_jobs(symbol, days, ((series, day_ms) for series in MINUTE_SERIES for day_ms in days)))
        missing = checks.queue(await jobs.view(), await clock_holder(client)).advice
        if missing:
            print(f"the days stay marked until somebody works. {missing}")
        elif wait:
            await _wait(store, jobs, set(days), archiving=settings.archive_url is not None)
            print(f"{symbol}: done")
        if missing and wait:
            raise typer.Exit(1)


async def _tell(client: Redis, symbol: str, wanted: tuple[int, int], days: Collection[int]) -> None:
    span = f", {date_text(min(days))} to {date_text(max(days))}" if days else ""
    print(f"{symbol}: {len(days)} days marked{span}")
    state = (await SymbolReader(client, symbol).view()).state
    if state and wanted[0] < state.candle_floor_ms:
        print(f"left alone: Redis has dropped minutes that open before {date_text(state.candle_floor_ms)}")
    if state and wanted[1] + DAY_MS > state.watermark_ms:
        print(f"left alone: nothing from {date_text(state.watermark_ms)} on is over")


async def _wait(store: RollupStore, jobs: Jobs, days: set[int], *, archiving: bool) -> None:
    """Until each day has been seen with nothing left to do. OperatorError if a job of theirs fails."""
    symbol, left = store.keys.symbol, days
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with progress(*columns) as bar:
        task = bar.add_task(symbol, total=len(days))
        while left:
            due = _of_days(await store.due(), left, archiving=archiving)
            failures = await jobs.failures()
            failed = failures.keys() & _jobs(symbol, due.days, due.archive)
            if failed:
                first = failures[min(failed)]
                raise OperatorError(f"{first.job} failed: {first.reason}; it is tried again by itself: fleet jobs")
            left = left & {*due.days, *(day_ms for _, day_ms in due.archive)}
            bar.update(task, completed=len(days) - len(left))
            await asyncio.sleep(POLL_S if left else 0)


def _of_days(due: Due, days: Collection[int], *, archiving: bool) -> Due:
    archive = tuple((series, day_ms) for series, day_ms in due.archive if archiving and day_ms in days)
    return replace(due, days=tuple(day_ms for day_ms in due.days if day_ms in days), archive=archive)


def _jobs(symbol: str, days: Iterable[int], archive: Iterable[tuple[str, int]]) -> set[str]:
    """Ids of the jobs that roll these days up, and that archive these days of a series."""
    rolls = (Work(ROLL, symbol, ROLLED_BY.open_of(day_ms)) for day_ms in days)
    periods = ((name, MINUTE_SERIES[name].archive_period.open_of(day_ms)) for name, day_ms in archive)
    archives = (Work(ARCHIVE, symbol, period_ms, (name,)) for name, period_ms in periods)
    return {work.job for work in (*rolls, *archives)}
