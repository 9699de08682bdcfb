"""`fleet jobs`: the roll-up queue."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer

from common.errors import BadInput
from common.redact import redacted
from common.settings import load
from common.store.client import commit_client
from common.store.jobs import FailedJob, Jobs, JobsView
from infra.cli import tables
from infra.cli.options import DataOption, store_url
from infra.cli.tables import Cell, Column, Row

app = typer.Typer(help="The roll-up queue: what waits, runs or has failed.")

# More queued ones are counted only.
QUEUED_SHOWN = 20
COLUMNS = (
    Column("job"),
    Column("state"),
    Column("times", is_right=True),
    Column("next try"),
    Column("reason", folds=True),
)

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="As `fleet jobs` shows it.")]
Answer = TypeVar("Answer")


@app.callback(invoke_without_command=True)
def default(context: typer.Context, data: DataOption = None) -> None:
    """The roll-up queue: what waits, runs or has failed; without a command, the list."""
    if context.invoked_subcommand is None:
        list_jobs(data)


@app.command("list")
def list_jobs(data: DataOption = None) -> None:
    """Show failed jobs with their reason, running and queued ones, and count the roll-up processes."""

    async def look(jobs: Jobs) -> tuple[JobsView, list[str]]:
        return await jobs.view(), await jobs.queued(QUEUED_SHOWN)

    view, queued = _asked(data, look)
    counts = f"{view.queued} queued, {len(view.running)} running, {len(view.failures)} failed"
    print(f"{counts}; {view.workers} roll-up processes")
    if view.failures or view.running or queued:
        tables.print_table(tables.console(), COLUMNS, _rows(view, queued))


@app.command()
def retry(job: JobArgument, data: DataOption = None) -> None:
    """Try a failed job again at the clock's next tick, not when its time comes."""
    if not _asked(data, lambda jobs: jobs.retry(job)):
        raise BadInput(f"job {job} has not failed, or is none of the queue's: fleet jobs list")
    print(f"{job} is tried again")


@app.command()
def clear(
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="Only this one. Default: all.")] = None,
    data: DataOption = None,
) -> None:
    """Forget failed jobs. What is still to be done is enqueued at the clock's next tick."""

    async def forget(jobs: Jobs) -> int:
        return await jobs.forget([job] if job else await jobs.failures())

    count = _asked(data, forget)
    if job and not count:
        raise BadInput(f"job {job} has not failed: fleet jobs list")
    print(f"{count} cleared")


def _asked(data: DataOption, ask: Callable[[Jobs], Awaitable[Answer]]) -> Answer:
    """The answer of the queue."""
    settings = load()
    url = settings.queue_redis_url or store_url(settings, data)

    async def run() -> Answer:
        async with commit_client(url) as client:
            return await ask(Jobs(client))

    return asyncio.run(run())


def _rows(view: JobsView, queued: list[str]) -> Iterator[Row]:
    for each in view.failures:
        yield each.job, Cell("failed", "red"), str(each.times), _next_try(each), redacted(each.reason)
    for job in view.running:
        yield job, Cell("running", "green"), "", "", ""
    for job in queued:
        yield job, "queued", "", "", ""


def _next_try(found: FailedJob) -> str:
    if found.refused:
        return "never"
    return f"{datetime.fromtimestamp(found.next_ms / 1_000, UTC):%m-%d %H:%M:%S} UTC" if found.next_ms else "now"
