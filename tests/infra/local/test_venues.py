"""What `--venue NAME SYMBOL...` and a symbol's prefix mean."""

import pytest

from common.errors import BadInput
from infra.local import venues
from workers.venues.registry import VENUES


@pytest.mark.parametrize(
    ("venue", "symbols", "found"),
    [
        (None, [], []),
        ("binance", ["BTCUSDT", "ethusdt"], ["BINANCE:BTCUSDT", "BINANCE:ETHUSDT"]),
        ("Coinbase", ["btc-usd", "COINBASE:BTC-USD"], ["COINBASE:BTC-USD"]),
        ("binance-usdm", ["BTCUSDT"], ["BINANCE_USDM:BTCUSDT"]),
        ("ccxt.bitstamp", ["btc-usd"], ["CCXT.BITSTAMP:BTC-USD"]),
        ("local", ["SOLUSDT"], ["LOCAL:SOLUSDT"]),
        ("local", [], ["LOCAL:BTCUSDT", "LOCAL:ETHUSDT"]),
    ],
)
def test_symbols_of_a_venue_are_read_with_and_without_its_prefix(
    venue: str | None, symbols: list[str], found: list[str]
) -> None:
    assert venues.parse_choice(venue, symbols) == found


@pytest.mark.parametrize(
    ("venue", "symbols", "sentence"),
    [
        (None, ["BTCUSDT"], "symbol 'BTCUSDT' needs --venue NAME, or --symbols for a simulated one"),
        ("mtgox", ["BTCUSD"], "--venue is 'mtgox', expected one of binance, "),
        ("kraken", [], "--venue kraken names no symbol, expected some such as BTCUSDT behind it"),
        ("kraken", ["XBT/USD"], "symbol 'KRAKEN:XBT/USD' is not 1 to 32 characters"),
    ],
)
def test_what_is_no_choice_is_one_sentence(venue: str | None, symbols: list[str], sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        venues.parse_choice(venue, symbols)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("symbol", ["MY:BTCUSD", "BINANCE", "BINANCE:", "SIMULATED:BTCUSD", "binance:BTCUSDT"])
def test_other_symbols_are_of_no_venue(symbol: str) -> None:
    assert venues.place_of(symbol) is None


@pytest.mark.parametrize("venue", VENUES)
def test_every_venue_is_known_by_its_prefix(venue: str) -> None:
    assert venues.place_of(f"{venue}:X-Y") == (venue, "X-Y")
