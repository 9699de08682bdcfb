"""How each venue of names.py is opened, what it allows one address, and how its book is kept in step."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from redis.asyncio import Redis

from common.clock import Clock
from common.market.depth.sync import Rule
from common.store.budget import BudgetStore, Limit
from workers.venues.binance.book_rule import BinanceSpotRule, BinanceUsdmRule
from workers.venues.binance.client import SPOT, Binance, BinanceApi
from workers.venues.binance.usdm import USDM
from workers.venues.ccxt.book_rule import CcxtRule
from workers.venues.ccxt.client import WINDOW_MS
from workers.venues.ccxt.venue import BOOK_LEVELS as CCXT_BOOK_LEVELS
from workers.venues.ccxt.venue import CcxtVenue
from workers.venues.coinbase.book_rule import CoinbaseRule
from workers.venues.coinbase.client import Coinbase
from workers.venues.kraken.book_rule import KrakenRule
from workers.venues.kraken.client import BOOK_LEVELS, Kraken
from workers.venues.names import LOCAL, exchange_of
from workers.venues.shared.base import Venue
from workers.venues.shared.budget import RequestBudget
from workers.venues.shared.fleet_budget import FleetBudget
from workers.venues.shared.live import Timing


@dataclass(frozen=True, slots=True)
class VenueAccess:
    """How a venue is reached. Empty URLs are the venue's own. A `key` opens Binance USD-M's history of raw trades."""

    clock: Clock
    budget: RequestBudget
    rest_url: str = ""
    socket_url: str = ""
    key: str = field(default="", repr=False)
    timing: Timing | None = None


def _binance(access: VenueAccess, api: BinanceApi) -> Venue:
    a = access
    return Binance(a.clock, a.budget, api, rest_url=a.rest_url, socket_url=a.socket_url, key=a.key, timing=a.timing)


def _one_socket(access: VenueAccess, kind: type[Coinbase | Kraken]) -> Venue:
    a = access
    return kind(a.clock, a.budget, rest_url=a.rest_url, socket_url=a.socket_url, timing=a.timing)


def _ccxt(name: str, access: VenueAccess) -> Venue:
    a = access
    return CcxtVenue(a.clock, a.budget, name, rest_url=a.rest_url, socket_url=a.socket_url, timing=a.timing)


_LOCAL_API = replace(SPOT, name=LOCAL)


class VenueLimits(NamedTuple):
    """What a venue allows one address. `header` says the weight used in the window of the first of `requests`."""

    requests: tuple[Limit, ...]
    connects: tuple[Limit, ...]
    header: str = ""


_BINANCE_WEIGHT = "x-mbx-used-weight-1m"
# Under the documented limits where these are counted in ways we can't see (Kraken's counter falls by itself).
LIMITS: dict[str, VenueLimits] = {
    SPOT.name: VenueLimits((Limit(6_000, 60_000),), (Limit(300, 300_000),), _BINANCE_WEIGHT),
    USDM.name: VenueLimits((Limit(2_400, 60_000),), (Limit(300, 300_000),), _BINANCE_WEIGHT),
    LOCAL: VenueLimits((Limit(6_000, 60_000),), (Limit(300, 300_000),), _BINANCE_WEIGHT),
    Coinbase.name: VenueLimits((Limit(10, 1_000),), (Limit(8, 1_000),)),
    Kraken.name: VenueLimits((Limit(1, 1_000),), (Limit(150, 600_000),)),
}

# Of each exchange of ccxt: requests in ms of its `rateLimit`, of which ccxt knows what they cost.
CCXT_LIMITS = VenueLimits((Limit(WINDOW_MS, WINDOW_MS),), (Limit(60, 60_000),))

VENUES: dict[str, Callable[[VenueAccess], Venue]] = {
    SPOT.name: lambda access: _binance(access, SPOT),
    USDM.name: lambda access: _binance(access, USDM),
    LOCAL: lambda access: _binance(access, _LOCAL_API),
    Coinbase.name: lambda access: _one_socket(access, Coinbase),
    Kraken.name: lambda access: _one_socket(access, Kraken),
}


# How each venue's book is kept in step.
RULES: dict[str, Rule] = {
    SPOT.name: BinanceSpotRule(),
    USDM.name: BinanceUsdmRule(),
    LOCAL: BinanceSpotRule(),
    Coinbase.name: CoinbaseRule(),
    Kraken.name: KrakenRule(BOOK_LEVELS),
}


def fleet_budget(venue: str, client: Redis, clock: Clock) -> FleetBudget:
    """The budget the whole fleet has at a venue."""
    limits = CCXT_LIMITS if exchange_of(venue) else LIMITS[venue]
    return FleetBudget(
        venue,
        BudgetStore(client, venue, limits.requests),
        BudgetStore(client, f"{venue}:connects", limits.connects),
        clock,
        {limits.header: limits.requests[0].window_ms} if limits.header else {},
    )


def open_venue(name: str, access: VenueAccess) -> Venue:
    return _ccxt(name, access) if exchange_of(name) else VENUES[name](access)


def rule_of(venue: str) -> Rule:
    return CcxtRule(CCXT_BOOK_LEVELS) if exchange_of(venue) else RULES[venue]
