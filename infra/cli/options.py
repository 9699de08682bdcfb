"""Options that several commands share, and what they mean."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from common.errors import BadInput, OperatorError, StoreUnavailable
from common.market.kinds import INSTRUMENT_KINDS, InstrumentKind
from common.market.timeframes.timeframe import SECOND_MS
from common.settings import Settings
from common.store.client import commit_client
from common.store.server import admit
from infra.local import embedded
from infra.paths import data_folder

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        resolve_path=True,
        file_okay=False,
        help="Folder the data lies in. Default: .fleet in the project's folder, or FLEET_DATA_DIR.",
        show_default=False,
    ),
]


KindOption = Annotated[
    InstrumentKind | None,
    typer.Option(metavar="KIND", help=f"What is traded: {', '.join(INSTRUMENT_KINDS)}.", show_default=False),
]

SymbolArgument = Annotated[str, typer.Argument(metavar="SYMBOL", help="1 to 32 of A-Z 0-9 : _ . - such as MY:BTCUSD.")]


class TradingHours(Enum):
    REGULAR = "regular"
    EXTENDED = "extended"


def day_option(name: str, help_text: str) -> Any:
    """An option that takes a day."""

    def parsed(given: str | datetime) -> datetime:
        # A default is one already.
        if isinstance(given, datetime):
            return given
        try:
            return datetime.strptime(given, "%Y-%m-%d")  # noqa: DTZ007  # a day
        except ValueError:
            raise BadInput(f"{name} is {given[:40]!r}, expected a day such as 2025-01-12") from None

    return typer.Option(name, metavar="DATE", parser=parsed, help=help_text, show_default=False)


def days_between(first: datetime, last: datetime) -> tuple[int, int]:
    """Return the opens (ms UTC) of both days."""
    first_ms, last_ms = (int(day.replace(tzinfo=UTC).timestamp()) * SECOND_MS for day in (first, last))
    if last_ms < first_ms:
        raise BadInput(f"--to is {date_text(last_ms)}, expected no day before --from, which is {date_text(first_ms)}")
    return first_ms, last_ms


def date_text(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms // SECOND_MS, UTC).date().isoformat()


def store_url(settings: Settings, data: Path | None, *, whatever_it_is: bool = False) -> str:
    """The store to work with: of the folder that was named, else REDIS_URL, else of the default folder.

    `whatever_it_is`: also one that may not be used (common.store.server.admit).
    """
    if data is None and settings.redis_url:
        return settings.redis_url if whatever_it_is else _admitted(settings, settings.redis_url)
    folder = data_folder(data or settings.data_dir)
    url = embedded.locate(folder)
    if url is None:
        raise OperatorError(f"no store runs for {folder}: start one with infra/up, or set REDIS_URL")
    return url if whatever_it_is else _admitted(settings, url)


def _admitted(settings: Settings, url: str) -> str:
    async def ask() -> None:
        async with commit_client(url) as client:
            # One that is away: the command itself says so.
            with suppress(StoreUnavailable):
                await admit(client, unsafe=settings.unsafe_store)

    asyncio.run(ask())
    return url


@contextmanager
def store_session(settings: Settings, data: Path | None) -> Iterator[str]:
    """The same store; where none runs for the folder, one of our own for as long as we work."""
    if data is None and settings.redis_url:
        yield _admitted(settings, settings.redis_url)
        return
    with embedded.session(data_folder(data or settings.data_dir), settings.durability) as url:
        yield _admitted(settings, url)
