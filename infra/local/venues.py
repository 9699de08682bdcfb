"""Markets of venues, as the fleet registers them: the venue is asked once, and what it lists is written down."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from redis.asyncio import Redis

from common.clock import SystemClock
from common.errors import BadInput, OperatorError
from common.market.instrument import check_symbol
from common.store.client import commit_client
from common.store.registry import Market, Registry
from infra.local import local_exchange
from infra.local.kinds import usual_kind
from infra.local.local_exchange import LocalExchange
from workers.venues.names import LOCAL, VENUE_NAMES, VenueMarket, is_known, venue_of
from workers.venues.shared.base import Listing, Venue, VenueError, VenueUnavailable

KIND = "venue"
# always: streamed as long as the fleet runs; on_demand: while it is looked at.
Demand = Literal["always", "on_demand"]
# How long a person waits for one answer.
ASK_TIMEOUT_S = 15.0


def place_of(symbol: str) -> VenueMarket | None:
    """The venue and the name there that a symbol such as `BINANCE:BTCUSDT` means; None: it is of no venue."""
    venue, _, name = symbol.partition(":")
    return VenueMarket(venue, name) if is_known(venue) and name else None


def parse_choice(venue: str | None, symbols: Sequence[str]) -> list[str]:
    """Read `--venue NAME SYMBOL...`: the symbols of the fleet that it means, each once."""
    if venue is None:
        if symbols:
            raise BadInput(f"symbol {symbols[0][:40]!r} needs --venue NAME, or --symbols for a simulated one")
        return []
    name = venue.upper().replace("-", "_")
    if not is_known(name):
        raise BadInput(f"--venue is {venue[:40]!r}, expected one of {', '.join(VENUE_NAMES).lower()}, or ccxt.EXCHANGE")
    wanted = symbols or (local_exchange.USUAL_NAMES if name == LOCAL else ())
    if not wanted:
        raise BadInput(f"--venue {venue} names no symbol, expected some such as BTCUSDT behind it")
    found = [check_symbol(f"{name}:{symbol.upper().removeprefix(f'{name}:')}") for symbol in wanted]
    return list(dict.fromkeys(found))


async def register(url: str, symbols: Sequence[str], data_folder: Path) -> None:
    """Register those that are not registered yet: all, or none and an error. Who is there already is not asked for."""
    async with _connected(url) as client:
        store = Registry(client)
        known = await store.symbols()
        missing = [symbol for symbol in symbols if symbol not in known]
        if any(symbol.startswith(f"{LOCAL}:") for symbol in missing):
            await _exchange(data_folder).wait()
        for market in await _listed(client, missing, data_folder, "always"):
            await store.add_symbol(market)


async def listed(url: str, symbols: Sequence[str], data_folder: Path, demand: Demand) -> list[Market]:
    """The markets of these symbols, as their venues list them. `data_folder`: whose local exchange LOCAL is."""
    async with _connected(url) as client:
        return await _listed(client, symbols, data_folder, demand)


def local_names(markets: dict[str, Market], exchange: LocalExchange) -> list[str]:
    """What the fleet's symbols say that this exchange trades."""
    sources = [market.source for market in markets.values() if market.source.get("venue") == LOCAL]
    return [str(source["name"]) for source in sources if source.get("rest_url") == exchange.rest_url]


async def _listed(client: Redis, symbols: Sequence[str], data_folder: Path, demand: Demand) -> list[Market]:
    markets = []
    for symbol in symbols:
        place = venue_of(symbol)
        urls = _urls(place.venue, data_folder)
        async with _opened(place.venue, client, urls) as venue:
            with _explained(symbol, place.venue):
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    listing = await venue.listing(place.name)
        markets.append(_market(symbol, place.venue, listing, demand, urls))
    return markets


def _market(symbol: str, venue: str, listing: Listing, demand: Demand, urls: dict[str, str]) -> Market:
    source: dict[str, Any] = {
        "kind": KIND,
        "venue": venue,
        "name": listing.name,
        "price_step_ticks": listing.price_step_ticks,
        "size_step_lots": listing.size_step_lots,
        "demand": demand,
    }
    # Nothing simulated ever passes for live.
    mark = {"simulated": True} if venue == LOCAL else {}
    instrument = replace(listing.instrument, symbol=symbol)
    return Market(instrument, source | mark | urls, instrument_kind=usual_kind(symbol))


def _urls(venue: str, data_folder: Path) -> dict[str, str]:
    """Where the venue is, if not where everybody knows it to be."""
    if venue != LOCAL:
        return {}
    exchange = _exchange(data_folder)
    return {"rest_url": exchange.rest_url, "socket_url": exchange.socket_url}


def _exchange(data_folder: Path) -> LocalExchange:
    exchange = local_exchange.found(data_folder)
    if exchange is None:
        raise OperatorError(f"no local exchange belongs to {data_folder}: fleet up --venue local starts one")
    return exchange


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Redis]:
    client = commit_client(url)
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def _opened(name: str, client: Redis, urls: dict[str, str]) -> AsyncIterator[Venue]:
    # Here, as the clients of all venues come with it.
    from workers.venues.registry import VenueAccess, fleet_budget, open_venue

    clock = SystemClock()
    budget = fleet_budget(name, client, clock)
    rest_url, socket_url = urls.get("rest_url", ""), urls.get("socket_url", "")
    venue = open_venue(name, VenueAccess(clock, budget, rest_url=rest_url, socket_url=socket_url))
    try:
        yield venue
    finally:
        await venue.close()


@contextmanager
def _explained(symbol: str, venue: str) -> Iterator[None]:
    """Say of which symbol an error is, and who must act."""
    try:
        yield
    except VenueUnavailable as error:
        raise OperatorError(f"symbol {symbol} can't be added, for {venue} is out of reach: {error}") from error
    except TimeoutError:
        raise OperatorError(
            f"symbol {symbol} can't be added: {venue} did not answer in {ASK_TIMEOUT_S:.0f} s"
        ) from None
    except VenueError as error:
        hint = "; fleet up --venue local NAME has it trade more" if venue == LOCAL else ""
        raise BadInput(f"symbol {symbol} is refused by {venue}: {error}{hint}") from error
