"""Recorded frames of venues, and what a plain reading of their JSON says: no code of ours is in it."""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

from common.market.instrument import Instrument
from common.market.trade import SIDE_CODES, Trade
from tests.golden.data import folder
from workers.venues.shared.base import Listing, Parser, Refused, TradesEvent

# What was sent, connected and asked by HTTP begins with a URL; the rest are frames: `<time>: <json>`.
_OURS = (b"wss://", b"https://")


class Plain(NamedTuple):
    """A trade as the JSON says it. `side`: the aggressor's, buy or sell."""

    name: str
    ts_ms: int
    id: int
    price: Decimal
    size: Decimal
    side: str


def listing(name: str, price_decimals: int, size_decimals: int, venue: str = "TEST") -> Listing:
    symbol = f"{venue}:{name.replace('/', '-')}"
    return Listing(name, Instrument(symbol, price_decimals, size_decimals, "contiguous"), 1, 1)


@cache
def venue_frames(name: str) -> list[bytes]:
    """The frames received in a file of `venue_frames`."""
    lines = (folder() / "venue_frames" / name).read_bytes().splitlines()
    return [line.partition(b": ")[2] for line in lines if line.strip() and not line.startswith(_OURS)]


@cache
def binance_frames(path: str) -> list[bytes]:
    """The frames of a recording of Binance: `<local ns> <json>` lines."""
    with gzip.open(folder() / path, "rb") as lines:
        return [line.partition(b" ")[2].rstrip() for line in lines]


def listings_of(numbers: Iterable[tuple[str, str, str]]) -> list[Listing]:
    """Listings with the decimals that `(name, price, size)` texts have."""
    prices: dict[str, int] = defaultdict(int)
    sizes: dict[str, int] = defaultdict(int)
    for name, price, size in numbers:
        prices[name] = max(prices[name], len(price.partition(".")[2]))
        sizes[name] = max(sizes[name], len(size.partition(".")[2]))
    return [listing(name, prices[name], sizes[name]) for name in prices]


def parsed(parser: Parser, frames: Iterable[bytes]) -> Iterator[tuple[bytes, Sequence[Any]]]:
    """Each frame with its events; a refusal fails the test."""
    for frame in frames:
        events = parser.parse(frame)
        assert not [event for event in events if isinstance(event, Refused)], (frame[:200], events)
        yield frame, events


def trades_in(events: Iterable[Any]) -> list[tuple[str, Trade]]:
    return [(event.name, Trade(*row)) for event in events if isinstance(event, TradesEvent) for row in event.rows]


def same(found: list[tuple[str, Trade]], expected: list[Plain], listings: Iterable[Listing]) -> bool:
    """Whether the trades are those, to the last digit."""
    decimals = {each.name: each.instrument for each in listings}
    return found == [
        (
            each.name,
            Trade(
                each.ts_ms,
                each.id,
                int(each.price.scaleb(decimals[each.name].price_decimals)),
                int(each.size.scaleb(decimals[each.name].size_decimals)),
                SIDE_CODES[each.side],
            ),
        )
        for each in expected
    ]


def messages(frames: Iterable[bytes]) -> Iterator[Any]:
    return map(json.loads, frames)
