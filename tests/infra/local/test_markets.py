"""Which simulated markets are registered."""

import pytest

from common.errors import BadInput
from infra.local import markets


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        (None, None),
        ("none", []),
        ("BTCUSD", ["SIMULATED:BTCUSD"]),
        ("btcusd, SIMULATED:X", ["SIMULATED:BTCUSD", "SIMULATED:X"]),
    ],
)
def test_symbols_are_read_with_and_without_the_prefix(text: str | None, chosen: list[str] | None) -> None:
    assert markets.parse_choice(text) == chosen


@pytest.mark.parametrize("text", ["", "A,,B", "A/B", "X" * 40, "{A}"])
def test_what_is_no_symbol_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        markets.parse_choice(text)


async def test_a_first_run_gets_three_markets(redis_url: str) -> None:
    await markets.register(redis_url, None)
    assert await markets.symbols(redis_url) == ["SIMULATED:BTCUSD", "SIMULATED:ETHUSD", "SIMULATED:SOLUSD"]


async def test_a_later_run_goes_on_with_what_there_is(redis_url: str) -> None:
    await markets.register(redis_url, ["SIMULATED:XRPUSD"])
    await markets.register(redis_url, None)
    assert await markets.symbols(redis_url) == ["SIMULATED:XRPUSD"]


async def test_none_registers_nothing(redis_url: str) -> None:
    await markets.register(redis_url, [])
    assert await markets.symbols(redis_url) == []
