"""What the launcher knows of the wanted fleet: reads it, and registers simulated markets."""

import zlib
from collections.abc import Sequence

from common.errors import BadInput
from common.market.instrument import Instrument, check_symbol
from common.store.registry import Market, open_store
from common.store.wanted import WantedFleet

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


async def register(url: str, chosen: Sequence[str] | None) -> None:
    """Register the chosen simulated symbols. None chosen: three of them, if there is no symbol yet."""
    async with open_store(url) as store:
        if chosen is None:
            chosen = [] if await store.symbols() else list(_DEFAULT_PRICES)
        for symbol in chosen:
            await store.add_symbol(simulated(symbol))


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
    return Market(instrument, source={"kind": "simulator", "seed": seed, "price": price})
