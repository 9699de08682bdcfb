"""A footprint packed again and again, changed levels alone, is what it is when all of it is packed."""

import random
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market.builder.builder import Builder, pack_minute
from common.market.coding import codec
from common.market.coding.footprint_packer import FootprintPacker
from common.market.footprint import Footprint
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS
from common.market.trade import BUY, SELL, UNKNOWN, Trade, Trades
from tests.kit.strategies import LAW, PRICES, SIDES, SIZES, START_MS, trades

Rows = list[tuple[int, int, int]]

# Few prices, so that levels change; sizes that share a step, and now and then lose it or find a greater one.
NEAR = st.integers(100, 108).map(lambda step: 1_000 + 5 * step)
LOTS = st.one_of(st.sampled_from([0, 10, 20, 40, 300, 2_550, 700_000]), SIZES)
ROW = st.tuples(st.one_of(NEAR, NEAR, PRICES), LOTS, SIDES)
BATCH = st.lists(ROW, min_size=1, max_size=3)


def trades_of(rows: Rows) -> Trades:
    return Trades.of([Trade(START_MS, at, *row) for at, row in enumerate(rows)])


def check(batches: list[Rows]) -> int:
    """Pack after each of the batches; return how often all of it was packed."""
    packer, footprint, wholes = FootprintPacker(), Footprint(), 0
    for rows in batches:
        run = trades_of(rows)
        run.add_to(footprint)
        packer.added(footprint, run)
        with patch.object(codec, "pack_footprint", wraps=codec.pack_footprint) as whole:
            packed = packer.pack(START_MS, footprint)
            wholes += whole.call_count
        assert packed == codec.pack_footprint(START_MS, footprint)
    return wholes


@LAW
@given(st.lists(ROW, min_size=1, max_size=20), st.lists(BATCH, max_size=20))
def test_what_it_packs_is_what_all_of_it_is_packed_to(first: Rows, batches: list[Rows]) -> None:
    check([first, *batches])


LADDER = [(price, 60, BUY) for price in range(1_000, 1_100, 10)]


@pytest.mark.parametrize(
    "row",
    [
        pytest.param((990, 60, BUY), id="a lower price"),
        pytest.param((1_005, 60, BUY), id="a finer price step"),
        pytest.param((1_000 + 10 * 256, 60, BUY), id="wider prices"),
        pytest.param((1_000, 20, BUY), id="a finer lot step"),
        pytest.param((1_000, 60 * 256, BUY), id="wider lots"),
        pytest.param((1_000, 0, SELL), id="a side more"),
    ],
)
def test_what_changes_all_rows_packs_all_of_them(row: tuple[int, int, int]) -> None:
    assert check([LADDER, [row], [(1_050, 60, BUY)]]) == 2


def test_a_coarser_lot_step_packs_all_rows() -> None:
    assert check([[*LADDER, (1_200, 30, BUY)], [(1_200, 30, BUY)]]) == 2


def test_more_trades_of_a_level_than_its_column_holds_packs_all_rows() -> None:
    assert check([LADDER * 20, *[[(1_000, 0, BUY)] * 2] * 150]) == 2


def test_levels_without_any_lots_have_the_step_1() -> None:
    assert check([[(price, 0, UNKNOWN) for price in range(10)], [(3, 0, UNKNOWN)]]) == 1


def test_few_commits_of_a_market_pack_everything() -> None:
    rng, price, batches = random.Random(1), 6_000_000, list[Rows]()
    for _ in range(1_000):
        price += rng.choice([-10, 0, 0, 10])
        batches.append([(price, rng.randint(1, 10**6), rng.randint(BUY, SELL))])
    assert check(batches) < 100


@LAW
@given(trades(min_size=1), st.data())
def test_a_checkpoint_has_the_open_minute_as_it_is_packed_whole(whole: Trades, data: st.DataObject) -> None:
    builder, at = Builder.new(Instrument("BTCUSDT", 2, 8, "contiguous")), 0
    while at < len(whole):
        end = data.draw(st.integers(at + 1, len(whole)))
        builder.step(whole[at:end], whole.ts_ms[end - 1] + MINUTE_MS, {})
        checkpoint, at = builder.checkpoint(), end
        expected = pack_minute(builder.open) if builder.open else (b"", b"")
        assert (checkpoint.candle, checkpoint.footprint) == expected
