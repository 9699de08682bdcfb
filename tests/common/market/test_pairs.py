"""What is traded for what, by the name of a market."""

import pytest

from common.market.pairs import pair_of


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("BTCUSDT", ("BTC", "USDT")),
        ("ETHBTC", ("ETH", "BTC")),
        ("BTC-USD", ("BTC", "USD")),
        ("XBT/EUR", ("XBT", "EUR")),
        ("eth_usdc", ("ETH", "USDC")),
        ("BTC/USDT:USDT", ("BTC", "USDT")),
        ("BTCUSDT_250328", ("BTC", "USDT")),
        ("1000SHIBUSDT", ("1000SHIB", "USDT")),
        ("USDT", None),
        ("BAC", None),
        ("BRK.B", None),
        ("-USD", None),
        ("", None),
    ],
)
def test_the_name_of_a_pair_is_read_and_no_other(name: str, pair: tuple[str, str] | None) -> None:
    assert pair_of(name) == pair
