"""`GET /v1/features`: what this feed can be asked for, made of its routes and of the channels of its stream.

A client that is newer than its feed shows what is there, and asks for nothing that is not.
"""

from collections.abc import Iterable, Sequence

from common.release import RELEASE
from feed.queries.endpoint import Endpoint
from feed.queries.fleet import Fleet
from feed.wire import fleet_shapes
from feed.wire.answers import JsonAnswer
from feed.wire.params import NOTHING

_SYMBOL, _VERSION = "{symbol}", "v1"


def features_of(paths: Iterable[str], channels: Iterable[str]) -> Sequence[str]:
    """A route is named by its path without version and symbol, a channel by its name behind `stream/`."""
    return sorted({*map(_named, paths), *(f"stream/{channel}" for channel in channels)})


def _named(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", _VERSION, _SYMBOL))


async def answer(fleet: Fleet, query: None) -> JsonAnswer:
    return JsonAnswer({"version": RELEASE, "features": fleet.features})


ENDPOINT = Endpoint("/v1/features", "What this feed can be asked for, by name.", NOTHING, answer, fleet_shapes.FEATURES)
