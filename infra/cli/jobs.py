"""`fleet jobs`: the roll-up queue."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common.errors import BadInput
from common.redact import redacted
from common.settings import load
from common.store.client import commit_client
from common.store.jobs import FailedJob, Jobs, JobsView
from infra.cli.options import DataOption, store_url

app = typer.Typer(help="The roll-up queue: what waits, runs or has failed.")

# More queued ones are counted only.
QUEUED_SHOWN = 20

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
    console = Console()
    counts = f"{view.queued} queued, {len(view.running)} running, {len(view.failures)} failed"
    console.print(f"{counts}; {view.workers} roll-up processes", highlight=False)
    if view.failures or view.running or queued:
        console.print(_table(view, queued))


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


def _table(view: JobsView, queued: list[str]) -> Table:
    table = Table("job", "state", "times", "next try", "reason", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for each in view.failures:
        table.add_row(each.job, "[red]failed[/]", str(each.times), _next_try(each), escape(redacted(each.reason)))
    for job in view.running:
        table.add_row(job, "[green]running[/]")
    for job in queued:
        table.add_row(job, "queued")
    return table


def _next_try(found: FailedJob) -> str:
    if found.refused:
        return "never"
    return f"{datetime.fromtimestamp(found.next_ms / 1_000, UTC):%m-%d %H:%M:%S} UTC" if found.next_ms else "now"
