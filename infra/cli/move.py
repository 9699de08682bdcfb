"""`fleet move`"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from common.errors import BadInput
from common.redact import redacted_url
from common.settings import REDIS_URL, is_redis_url, load
from common.store.move import Moved, Tell
from common.store.move import move as move_store
from infra.cli.options import DataOption
from infra.cli.progress import progress
from infra.local import embedded
from infra.paths import data_folder


@dataclass(frozen=True, slots=True)
class _Place:
    """A store: that of a data folder, or the one at a URL."""

    folder: Path | None
    url: str = ""

    @classmethod
    def parse(cls, given: str) -> "_Place":
        if "://" not in given:
            return cls(Path(given).expanduser().resolve())
        if not is_redis_url(given):
            raise BadInput(
                f"{redacted_url(given)} is no store, expected redis://host:port/db, rediss://... or a folder"
            )
        return cls(None, given)

    @property
    def name(self) -> str:
        return str(self.folder) if self.folder else redacted_url(self.url)

    def opened(self, durability: embedded.Durability) -> AbstractContextManager[str]:
        """Yields its URL."""
        return embedded.session(self.folder, durability) if self.folder else nullcontext(self.url)


def move(
    to: Annotated[
        str, typer.Option("--to", metavar="PLACE", show_default=False, help="An empty store: a URL, or a data folder.")
    ],
    origin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="PLACE",
            show_default=False,
            help="The store that is moved. Default: that of --data, else of REDIS_URL, else of the default folder.",
        ),
    ] = None,
    data: DataOption = None,
) -> None:
    """Move the whole store to another place: from a data folder to a Redis, or back.

    Stop the fleet first. Each key is copied, and compared once all are there; a move that is killed goes on when it is
    run again, and until it is done nothing else starts on the target. The source is only read, and stays as it is:
    don't run it beside its copy. Presence and the queue's jobs are left behind: they are made again.

    Examples:

    - `fleet move --to redis://10.0.0.5:6379/0`
    - `fleet move --from redis://10.0.0.5:6379/0 --to ~/fleet-data`
    """
    settings = load()
    if origin is not None:
        source = _Place.parse(origin)
    elif data is None and settings.redis_url:
        source = _Place(None, settings.redis_url)
    else:
        source = _Place(data_folder(data or settings.data_dir))
    target = _Place.parse(to)
    _refuse_no_store(source)
    durability = settings.durability
    with source.opened(durability) as source_url, target.opened(durability) as target_url, _progress() as tell:
        moved = asyncio.run(
            move_store(
                source_url,
                target_url,
                source.name,
                unsafe=settings.unsafe_store,
                lease_ttl_ms=settings.lease_ttl_ms,
                tell=tell,
            )
        )
    _print(moved, source, target)


def _refuse_no_store(source: _Place) -> None:
    """A folder that is mistyped must not become one with a store."""
    if source.folder and not (source.folder / "store").is_dir():
        raise BadInput(f"{source.folder} has no store to move, expected a data folder that infra/up has made")


@contextmanager
def _progress() -> Iterator[Tell]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with progress(*columns) as bar:
        task = bar.add_task("", total=None)
        yield lambda doing, done, of: bar.update(task, description=doing, completed=done, total=of)


def _print(moved: Moved, source: _Place, target: _Place) -> None:
    for warning in moved.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    before = f", {moved.same:,} of them by the move before" if moved.same else ""
    print(
        f"{moved.keys:,} keys moved from {source.name} to {target.name}{before}; both were compared, and are the same"
    )
    if target.folder:
        print(f"next: infra/up --data {target.folder}, without {REDIS_URL}")
    else:
        print(f"next: set {REDIS_URL} to it, in fleet.env or the environment, then infra/up")
