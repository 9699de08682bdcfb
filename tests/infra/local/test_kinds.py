"""What a symbol trades, where nobody says."""

import pytest

from infra.local.kinds import usual_kind
from workers.venues.registry import VENUES


@pytest.mark.parametrize(
    ("symbol", "calendar", "kind"),
    [
        ("BINANCE:BTCUSDT", "24x7", "crypto"),
        ("BINANCE_USDM:BTCUSDT", "24x7", "future"),
        ("CCXT.BITSTAMP:BTC-USD", "24x7", "crypto"),
        ("CCXT.BYBIT:BTC-USDT:USDT", "24x7", "future"),
        ("CCXT.DERIBIT:BTC-USD:BTC-261225-60000-C", "24x7", "option"),
        ("SIMULATED:BTCUSD", "24x7", "crypto"),
        ("FX:EURUSD", "FOREX", "forex"),
        ("NASDAQ:GOOG", "XNAS", "other"),
        ("BTCUSDT", "24x7", "other"),
    ],
)
def test_the_venue_and_the_calendar_say_what_is_known(symbol: str, calendar: str, kind: str) -> None:
    assert usual_kind(symbol, calendar) == kind


@pytest.mark.parametrize("venue", VENUES)
def test_every_venue_says_what_it_trades(venue: str) -> None:
    assert usual_kind(f"{venue}:X-Y") in ("crypto", "future")
