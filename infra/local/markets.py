"""What the launcher knows of the wanted fleet: reads it, and registers simulated markets."""

import sys
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson

from common.errors import BadInput
from common.market.instrument import Instrument, check_symbol
from common.store.registry import Market, open_store
from common.store.wanted import WantedFleet
from infra.local.kinds import usual_kind

PREFIX = "SIMULATED:"

# The markets of a first run, with a price near their real one.
_DEFAULT_PRICES = {"SIMULATED:BTCUSD": "64000", "SIMULATED:ETHUSD": "3400", "SIMULATED:SOLUSD": "150"}
_OTHER_PRICE = "100"


def parse_choice(text: str | None) -> list[str] | None:
    """Read `--symbols`: nothing given is None, `none` is [], else the simulated symbols of `A,B`."""
    if text is None:
        return None
    if text.lower() == "none":
        return []
    names = [check_symbol(name.strip().upper().removeprefix(PREFIX)) for name in text.split(",")]
    return [check_symbol(PREFIX + name) for name in names]


class LackingMarkets(NamedTuple):
    """Markets that are to begin. `are_begun`: the past of one was being made when its maker was killed."""

    markets: list[Market]
    are_begun: bool


async def lacking(url: str, chosen: Sequence[str] | None) -> LackingMarkets:
    """The chosen simulated markets that have yet to begin, and those left half-way.

    None chosen: three of them, if no other symbol is there.
    """
    async with open_store(url) as store:
        found = await store.symbols()
    begun = [symbol for symbol, market in found.items() if market.is_unfinished]
    if chosen is None:
        # A first run may have been killed before all three of them were there.
        chosen = [] if {*found} - ({*begun} & {*_DEFAULT_PRICES}) else list(_DEFAULT_PRICES)
    wanted = dict.fromkeys((*chosen, *begun))
    new = [simulated(symbol) for symbol in wanted if symbol not in found or symbol in begun]
    return LackingMarkets(new, bool(begun))


async def register(url: str, found: Iterable[Market]) -> None:
    async with open_store(url) as store:
        for market in found:
            await store.add_symbol(market)


def past_command(found: Iterable[Market]) -> list[str]:
    """What makes the past of these markets, and registers them."""
    rows = [
        {
            "symbol": market.symbol,
            "price_decimals": market.instrument.price_decimals,
            "size_decimals": market.instrument.size_decimals,
            "source": market.source,
            "kind": market.instrument_kind,
        }
        for market in found
    ]
    return [sys.executable, "-m", "workers.imports.simulated", orjson.dumps(rows).decode()]


async def symbols(url: str) -> list[str]:
    async with open_store(url) as store:
        return list(await store.symbols())


async def served(fleet: WantedFleet) -> int:
    """How many symbols want a worker of the fleet now."""
    return sum(market.is_fed for market in (await fleet.symbols()).values())


def simulated(symbol: str, price_decimals: int = 2, size_decimals: int = 8, price: str | None = None) -> Market:
    """`price`: at which it begins. BadInput where that is none."""
    # The seed comes from the name: each symbol has its own course, and the same one in every fleet.
    seed = zlib.crc32(symbol.encode())
    price = price or _DEFAULT_PRICES.get(symbol, _OTHER_PRICE)
    instrument = Instrument(symbol, price_decimals, size_decimals, ids="contiguous")
    if instrument.price_ticks(price) <= 0:
        raise BadInput(f"--price is {price!r}, expected a price above 0")
    source = {"kind": "simulator", "seed": seed, "price": price}
    return Market(instrument, source, instrument_kind=usual_kind(symbol))
