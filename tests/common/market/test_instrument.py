from typing import Any

import pytest

from common.errors import BadInput
from common.market.instrument import Ids, Instrument


@pytest.mark.parametrize("symbol", ["", "btcusdt", "BTC/USDT", "A" * 33, "A B", "A\n", "Ä", ".", "..", "{A}", "A*"])
def test_a_symbol_is_what_a_key_and_a_file_name_can_hold(symbol: str) -> None:
    with pytest.raises(BadInput):
        Instrument(symbol, 2, 8)


@pytest.mark.parametrize("symbol", ["A", "BINANCE:BTCUSDT", "COMEX:GC_Z3.1-X", "A" * 32, "..."])
def test_symbols_of_venues_are_taken(symbol: str) -> None:
    assert Instrument(symbol, 2, 8).symbol == symbol


@pytest.mark.parametrize("decimals", [-1, 19, 2.0, "2", None])
def test_decimals_are_a_whole_number_from_0_to_18(decimals: int) -> None:
    with pytest.raises(BadInput, match="price_decimals"):
        Instrument("A", decimals, 0)
    with pytest.raises(BadInput, match="size_decimals"):
        Instrument("A", 0, decimals)


def test_ids_are_contiguous_or_unique() -> None:
    wrong: Ids = "both"  # type: ignore[assignment]
    with pytest.raises(BadInput, match="contiguous, unique"):
        Instrument("A", 0, 0, wrong)


@pytest.mark.parametrize("field", [{"calendar": ""}, {"calendar": None}, {"zone": "a b"}, {"hours": "late"}])
def test_when_it_trades_is_said_in_names(field: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(field))):
        Instrument("A", 0, 0, **field)


def test_a_turnover_has_the_decimals_of_price_and_size_together() -> None:
    instrument = Instrument("A", 2, 3)
    turnover = instrument.price_ticks("1.25") * instrument.size_lots("0.003")
    assert instrument.turnover_text(turnover) == "0.00375"
    assert (instrument.price_text(125), instrument.size_text(3)) == ("1.25", "0.003")
