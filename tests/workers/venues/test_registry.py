import pytest

from common.errors import BadInput
from tests.kit.clocks import FakeClock
from workers.venues.names import VENUE_NAMES, VenueMarket, venue_of
from workers.venues.registry import VENUES, VenueAccess, open_venue
from workers.venues.shared.budget import OpenBudget


@pytest.mark.parametrize(
    ("symbol", "place"),
    [
        ("BINANCE:BTCUSDT", VenueMarket("BINANCE", "BTCUSDT")),
        ("BINANCE_USDM:BTCUSDT", VenueMarket("BINANCE_USDM", "BTCUSDT")),
        ("COINBASE:BTC-USD", VenueMarket("COINBASE", "BTC-USD")),
        ("KRAKEN:XBT-USD", VenueMarket("KRAKEN", "XBT-USD")),
    ],
)
def test_a_symbol_says_its_venue_and_its_name_there(symbol: str, place: VenueMarket) -> None:
    assert venue_of(symbol) == place


@pytest.mark.parametrize("symbol", ["BTCUSDT", "NYSE:AA", "BINANCE:", "binance:BTCUSDT", "KRAKEN:XBT/USD", ""])
def test_a_symbol_of_no_venue_is_bad_input(symbol: str) -> None:
    with pytest.raises(BadInput):
        venue_of(symbol)


def test_every_venue_that_is_known_can_be_opened() -> None:
    assert tuple(VENUES) == VENUE_NAMES


@pytest.mark.parametrize("name", VENUES)
async def test_every_venue_opens_by_its_name(name: str) -> None:
    venue = open_venue(name, VenueAccess(FakeClock(), OpenBudget(), key="secret"))
    assert venue.name == name
    assert {"open_ticks", "high_ticks", "low_ticks", "close_ticks", "volume_lots"} <= venue.candle_fields
    await venue.close()


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(VenueAccess(FakeClock(), OpenBudget(), key="secret"))
