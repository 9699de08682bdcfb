"""`fleet backup`"""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn

from common.errors import BadInput, OperatorError
from common.redact import redacted_url
from common.settings import Settings, load
from common.store.client import commit_client
from infra.cli.options import DataOption
from infra.cli.progress import progress
from infra.local import embedded
from infra.local.backup import Backup, back_up
from infra.paths import data_folder


def backup(
    target: Annotated[
        Path, typer.Argument(metavar="DIR", resolve_path=True, show_default=False, help="A folder that is to be made.")
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Start a store on the copy, to see that it can be read, and stop it.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Copy the data folder while the fleet runs, as of one moment.

    The copy is a data folder itself: `infra/up --data DIR` runs it, and that is how a backup is restored, on this
    machine or another. What is archived is not in it: the archive's files never change once they are written, copy them
    as they are.

    Examples:

    - `fleet backup /backup/fleet-2025-01-12`
    - `fleet backup /backup/fleet-2025-01-12 --check`
    """
    settings = load()
    if data is None and settings.redis_url:
        raise BadInput(
            "the store of REDIS_URL is not in a data folder: take its provider's snapshot, or run BGSAVE and copy the "
            "file; --data names the folder of an embedded store"
        )
    folder = data_folder(data or settings.data_dir)
    copied = _with_progress(folder, target)
    print(f"{copied.size_bytes / 1e6:,.1f} MB copied to {target} in {copied.took_s:.1f} s")
    if check:
        print(f"the copy is readable: {_keys(target, settings):,} keys")
    if settings.archive_url:
        print(f"the archive is not part of it: {redacted_url(settings.archive_url)}")


def _with_progress(folder: Path, target: Path) -> Backup:
    columns = BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with progress(*columns) as bar:
        task = bar.add_task("", total=None)
        return back_up(folder, target, lambda done, size: bar.update(task, completed=done, total=size))


def _keys(copy: Path, settings: Settings) -> int:
    async def count(url: str) -> int:
        async with commit_client(url) as client:
            return int(await client.dbsize())

    try:
        with embedded.session(copy, settings.durability) as url:
            return asyncio.run(count(url))
    except OperatorError as error:
        raise OperatorError(f"the copy in {copy} can't be read: {error}") from None
