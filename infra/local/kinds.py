"""What a symbol trades, where its venue or calendar says so."""

from common.market.kinds import InstrumentKind
from common.market.timeframes.calendars import ALWAYS, FOREX
from workers.venues.names import LOCAL, exchange_of

_OF_VENUES: dict[str, InstrumentKind] = {
    "BINANCE": "crypto",
    "BINANCE_USDM": "future",
    LOCAL: "crypto",
    "COINBASE": "crypto",
    "KRAKEN": "crypto",
    "SIMULATED": "crypto",
}


def usual_kind(symbol: str, calendar: str = ALWAYS) -> InstrumentKind:
    """`other` where nothing says: the calendar of an exchange is that of its shares, indices and futures alike."""
    venue, _, name = symbol.partition(":")
    if exchange_of(venue):
        # ccxt names a contract by what it is settled in, too: BTC/USDT:USDT, and an option BTC/USD:BTC-261225-60000-C.
        option = name.endswith(("-C", "-P"))
        return "crypto" if ":" not in name else "option" if option else "future"
    return "forex" if calendar == FOREX else _OF_VENUES.get(venue, "other")
