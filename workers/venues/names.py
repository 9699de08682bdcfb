"""Venues by name, and which of them a symbol of the fleet is of: `BINANCE:BTCUSDT` is `BTCUSDT` of BINANCE.

Those of ccxt (ccxt/venue.py) have names like CCXT.BITSTAMP and are in no table. Who opens them: registry.py, with all
that their clients bring.
"""

from typing import NamedTuple

from common.errors import BadInput
from common.market.instrument import check_symbol

# A local exchange that speaks the format of Binance's spot market; its URLs are those of each symbol.
LOCAL = "LOCAL"
VENUE_NAMES = ("BINANCE", "BINANCE_USDM", LOCAL, "COINBASE", "KRAKEN")
# Of a venue's name, before ccxt's name of the exchange.
CCXT_PREFIX = "CCXT."


class VenueMarket(NamedTuple):
    """A market: its venue, and its name there as far as a symbol of the fleet can say it (`XBT-USD`, no slash)."""

    venue: str
    name: str


def venue_of(symbol: str) -> VenueMarket:
    """Read `VENUE:NAME`. BadInput where there is no such venue."""
    venue, _, name = check_symbol(symbol).partition(":")
    if not is_known(venue) or not name:
        known = ", ".join(VENUE_NAMES)
        raise BadInput(
            f"symbol {symbol!r} is of no venue we know, expected VENUE:NAME with one of {known} or CCXT.EXCHANGE"
        )
    return VenueMarket(venue, name)


def is_known(venue: str) -> bool:
    return venue in VENUE_NAMES or exchange_of(venue) is not None


def exchange_of(venue: str) -> str | None:
    """`okx` of `CCXT.OKX`; None: it is none of these."""
    name = venue.removeprefix(CCXT_PREFIX)
    is_one = venue.startswith(CCXT_PREFIX) and name.isascii() and name.isalnum() and name.isupper()
    return name.lower() if is_one else None
