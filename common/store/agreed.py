"""What all that works on a store must agree on: written by the fleet when it starts, read by every command.

{}:agreed    hash    as settings have them: archive_url, archive_s3_endpoint, archive_trades, candle_days,
                     footprint_days; and calendars, the release of the library that has the exchanges' sessions
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from redis.asyncio import Redis

from common.store.client import translated
from common.store.keys import AGREED

# Settings that are agreed on.
NAMES = ("archive_url", "archive_s3_endpoint", "archive_trades", "candle_days", "footprint_days")


@dataclass(frozen=True, slots=True)
class Agreed:
    """Where the fleet of a store archives; None: nowhere. What is 0 or "" at the end was not said by an older fleet."""

    archive_url: str | None
    archive_s3_endpoint: str | None
    archive_trades: bool
    # Of minutes, where a symbol's entry does not say otherwise.
    candle_days: int = 0
    footprint_days: int = 0
    calendars: str = ""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Agreed":
        """`settings`: by their names, those that are not agreed on among them."""
        own = {name: settings[name] for name in NAMES}
        return cls(**own, calendars=version("exchange-calendars"))

    @classmethod
    def load(cls, fields: Mapping[str, str]) -> "Agreed":
        return cls(
            fields.get("archive_url") or None,
            fields.get("archive_s3_endpoint") or None,
            fields.get("archive_trades", "1") != "0",
            int(fields.get("candle_days", 0)),
            int(fields.get("footprint_days", 0)),
            fields.get("calendars", ""),
        )

    def dump(self) -> dict[str, str]:
        found = asdict(self) | {"archive_trades": int(self.archive_trades)}
        return {name: "" if value is None else str(value) for name, value in found.items()}


async def agreed(client: Redis) -> Agreed | None:
    """None: no fleet of this release has run on the store."""
    with translated("read of what the fleet agrees on"):
        stored: dict[Any, Any] = await client.hgetall(AGREED)
    return Agreed.load({name.decode(): value.decode() for name, value in stored.items()}) if stored else None


async def agree(client: Redis, ours: Agreed) -> Agreed | None:
    """Have all agree on this; return what it was before. Written only where it is another."""
    before = await agreed(client)
    if before != ours:
        with translated("write of what the fleet agrees on"):
            await client.hset(AGREED, mapping=ours.dump())  # type: ignore[arg-type]
    return before
