"""What a command's settings have otherwise than the fleet of its store (common.store.agreed), and what follows from it.

What is archived in two places is whole in neither, and what is kept shorter drops what the fleet would keep: such a
command says so and does nothing. What is kept longer loses nothing: it is kept so with the symbol.
"""

import asyncio
import math
import sys
from dataclasses import replace

from common.errors import OperatorError
from common.redact import redacted_url
from common.settings import Settings, variable
from common.store.agreed import Agreed, agreed
from common.store.client import commit_client
from common.store.registry import Market

# Settings that say how long the minutes of a series are kept.
DAYS = ("candle_days", "footprint_days")


def with_agreed(settings: Settings, url: str) -> Settings:
    """The settings of a command that reads or archives: with the fleet's archive, if they name none.

    Raises OperatorError where they name another.
    """
    fleet = asyncio.run(_agreed(url))
    return _with_archive(settings, fleet) if fleet else settings


def to_write(settings: Settings, url: str) -> Settings:
    """The settings of a command that writes minutes: the same, and kept as long as the fleet keeps them, if not longer.

    Raises OperatorError where they name another archive, or fewer days.
    """
    fleet = asyncio.run(_agreed(url))
    if fleet is None:
        return settings
    ours = Agreed.of(settings.model_dump()).calendars
    if fleet.calendars not in ("", ours):
        print(f"calendars are of exchange-calendars {ours} here, the fleet has {fleet.calendars}", file=sys.stderr)
    # Asked first: what is taken over below counts as named, too.
    named = settings.model_fields_set
    return _with_archive(settings, fleet).model_copy(
        update={name: _days(settings, fleet, name, is_named=name in named) for name in DAYS}
    )


def kept_longer(settings: Settings, url: str, market: Market) -> Market:
    """The market with the days that the settings keep beyond the fleet's: they are to be kept with the symbol."""
    fleet = asyncio.run(_agreed(url))
    days = {name: getattr(settings, name) for name in DAYS if fleet and _kept(fleet, name) < getattr(settings, name)}
    for name, count in days.items():
        minutes = f"{name.removesuffix('_days')}s"
        print(f"{market.symbol}: {minutes} are kept for {count:,} days, unless the symbol has days of its own")
    return replace(market, **days)


async def _agreed(url: str) -> Agreed | None:
    async with commit_client(url) as client:
        return await agreed(client)


def _with_archive(settings: Settings, fleet: Agreed) -> Settings:
    if settings.archive_url in (None, fleet.archive_url):
        # Whether trades are archived is the fleet's to say, too: an import would lose them.
        taken = {
            "archive_url": fleet.archive_url,
            "archive_s3_endpoint": settings.archive_s3_endpoint or fleet.archive_s3_endpoint,
            "archive_trades": fleet.archive_trades,
        }
        return settings.model_copy(update=taken)
    there = redacted_url(fleet.archive_url) if fleet.archive_url else "nothing"
    raise OperatorError(
        f"FLEET_ARCHIVE_URL is {redacted_url(settings.archive_url)}, but the fleet of this store archives to {there}: "
        "set the same in fleet.env, or start the fleet with it first"
    )


def _kept(fleet: Agreed, name: str) -> float:
    """Days; of a fleet that did not say, none are more."""
    days: int = getattr(fleet, name)
    return days or math.inf


def _days(settings: Settings, fleet: Agreed, name: str, *, is_named: bool) -> int:
    own: int = getattr(settings, name)
    kept: int = getattr(fleet, name) or own
    if not is_named:
        return kept
    if own < kept:
        raise OperatorError(
            f"{variable(name)} is {own}, but the fleet of this store keeps {kept} days: what is older would be lost. "
            "Set the same in fleet.env, or start the fleet with it first"
        )
    return own
