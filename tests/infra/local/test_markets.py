"""Which simulated markets are registered."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from common.errors import BadInput
from common.store.registry import UNFINISHED, open_store
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


async def begin(url: str, chosen: Sequence[str] | None) -> None:
    await markets.register(url, (await markets.lacking(url, chosen)).markets)


async def test_one_whose_past_was_left_half_way_is_begun_again_and_no_other(redis_url: str) -> None:
    await begin(redis_url, ["SIMULATED:XRPUSD", "SIMULATED:ADAUSD"])
    async with open_store(redis_url) as store:
        await store.change_symbol("SIMULATED:ADAUSD", lambda market: replace(market, source={UNFINISHED: True}))
    found = await markets.lacking(redis_url, None)
    assert found.are_begun and found.markets == [markets.simulated("SIMULATED:ADAUSD")]


async def test_a_first_run_gets_three_markets(redis_url: str) -> None:
    await begin(redis_url, None)
    assert await markets.symbols(redis_url) == ["SIMULATED:BTCUSD", "SIMULATED:ETHUSD", "SIMULATED:SOLUSD"]


async def test_a_later_run_goes_on_with_what_there_is(redis_url: str) -> None:
    await begin(redis_url, ["SIMULATED:XRPUSD"])
    await begin(redis_url, None)
    assert await markets.symbols(redis_url) == ["SIMULATED:XRPUSD"]


async def test_none_registers_nothing(redis_url: str) -> None:
    await begin(redis_url, [])
    assert await markets.symbols(redis_url) == []
