"""A market as the venue lists it, and how the venue writes numbers."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from common.errors import BadInput
from common.market.instrument import Instrument

# The venue writes every price and amount with eight decimals.
DECIMALS = 8
_SCALE = 10**DECIMALS

# Longest first: BTCFDUSD is quoted in FDUSD, not in USD.
_QUOTES = ("FDUSD", "USDT", "USDC", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "USD")


class _Terms(NamedTuple):
    price: str
    price_decimals: int
    size_decimals: int


# Near the real ones. Decimals of price and size add up to eight at most, so that quote amounts are exact.
_KNOWN = {
    "BTCUSDT": _Terms("64000", 2, 5),
    "ETHUSDT": _Terms("3400", 2, 4),
    "SOLUSDT": _Terms("150", 2, 3),
    "XRPUSDT": _Terms("0.62", 4, 1),
}
_OTHER = _Terms("100", 2, 3)


@dataclass(frozen=True, slots=True)
class SimulatedListing:
    """`start_ticks`: where a simulation begins."""

    instrument: Instrument
    base: str
    quote: str
    start_ticks: int

    @property
    def symbol(self) -> str:
        return self.instrument.symbol

    def finer(self, price_decimals: int) -> "SimulatedListing":
        """The same with more decimals of prices. BadInput where they are not more, or too many."""
        least, most = self.instrument.price_decimals + 1, DECIMALS - self.instrument.size_decimals
        if not least <= price_decimals <= most:
            raise BadInput(f"price_decimals is {price_decimals}, expected {least} to {most} for {self.symbol}")
        factor = 10 ** (price_decimals - self.instrument.price_decimals)
        instrument = replace(self.instrument, price_decimals=price_decimals)
        return replace(self, instrument=instrument, start_ticks=self.start_ticks * factor)

    def price(self, ticks: int) -> str:
        return amount(ticks, self.instrument.price_decimals)

    def size(self, lots: int) -> str:
        return amount(lots, self.instrument.size_decimals)

    def turnover(self, ticks_lots: int) -> str:
        return amount(ticks_lots, self.instrument.price_decimals + self.instrument.size_decimals)


def listing_of(
    symbol: str, price_decimals: int | None = None, size_decimals: int | None = None, price: str | None = None
) -> SimulatedListing:
    """The listing of a symbol such as BTCUSDT; what is not given is as on the venue, or usual."""
    terms = _KNOWN.get(symbol, _OTHER)
    quote = next((quote for quote in _QUOTES if symbol.endswith(quote) and symbol != quote), "")
    if not quote or not symbol.isalnum() or not symbol.isupper():
        raise BadInput(f"symbol {symbol[:40]!r} is not a base and a quote of {', '.join(_QUOTES)}, such as BTCUSDT")
    instrument = Instrument(
        symbol,
        terms.price_decimals if price_decimals is None else price_decimals,
        terms.size_decimals if size_decimals is None else size_decimals,
        "contiguous",
    )
    if max(instrument.price_decimals, instrument.size_decimals) > DECIMALS:
        raise BadInput(f"{symbol} has more than {DECIMALS} decimals, which the venue can't write")
    return SimulatedListing(instrument, symbol.removesuffix(quote), quote, instrument.price_ticks(price or terms.price))


def amount(value: int, decimals: int) -> str:
    """`value` units of 10**-decimals, with eight decimals. Further ones are cut off, as the venue does."""
    scaled = value * 10 ** (DECIMALS - decimals) if decimals <= DECIMALS else value // 10 ** (decimals - DECIMALS)
    whole, fraction = divmod(scaled, _SCALE)
    return f"{whole}.{fraction:08d}"
