"""What holds for any trades, in any order, cut anyhow."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market.builder.coverage import Coverage
from common.market.builder.id_coverage import IdCoverage
from common.market.builder.recent_coverage import RecentCoverage
from common.market.builder.validity import FUTURE
from common.market.candle import LIVE, Candle, merge_all
from common.market.footprint import Footprint
from common.market.instrument import Ids, Instrument
from common.market.timeframes.timeframe import MINUTE_MS, Timeframe
from common.market.trade import BUY, SELL, Trade, Trades
from tests.kit.delta_oracle import brute_delta
from tests.kit.shell import LATE_MS, Shell, builder_of, unordered, unpacked, without_candle, without_order
from tests.kit.strategies import LAW, MINUTE_TIMEFRAMES, START_MS, batches, mixed, trades, wild_trades

CONTIGUOUS = Instrument("BTCUSDT", 2, 8, "contiguous")
UNIQUE = Instrument("BTCUSDT", 2, 8, "unique")
# Both kinds of coverage; and one that forgets so soon that trades come too late.
KINDS: list[tuple[Ids, int | None]] = [("contiguous", None), ("unique", None), ("unique", 3)]
EVERY_KIND = pytest.mark.parametrize(("ids", "window"), KINDS)


def _shell(ids: Ids, window: int | None = None) -> Shell:
    coverage: Coverage | None = RecentCoverage(window) if window else None
    return Shell(builder_of(CONTIGUOUS if ids == "contiguous" else UNIQUE, coverage))


def _naive(rows: Iterable[Trade], timeframe: Timeframe) -> Iterator[tuple[Candle, Footprint]]:
    """The definition of a candle and its footprint, in the fewest words."""
    spans: dict[int, list[Trade]] = {}
    for row in sorted(rows):
        spans.setdefault(timeframe.open_of(row.ts_ms), []).append(row)
    for open_ms, inside in spans.items():
        first, last = inside[0], inside[-1]
        prices = [row.price_ticks for row in inside]
        sums = [sum(row.size_lots for row in inside if row.side == side) for side in range(3)]
        turnover = sum(row.price_ticks * row.size_lots for row in inside)
        ohlc = (first.price_ticks, max(prices), min(prices), last.price_ticks)
        keys = (first.ts_ms, first.id, last.ts_ms, last.id)
        _, *delta = brute_delta(inside)
        footprint = Footprint()
        for row in inside:
            level = footprint.levels.setdefault(row.price_ticks, [0] * 6)
            level[row.side] += row.size_lots
            level[row.side + 3] += 1
        candle = Candle(open_ms, *ohlc, sum(sums), sums[BUY], sums[SELL], turnover, len(inside), *keys, 0, LIVE, *delta)
        yield candle, footprint


@EVERY_KIND
@LAW
@given(data=st.data())
def test_candles_are_what_their_definition_says(ids: Ids, window: int | None, data: st.DataObject) -> None:
    whole = data.draw(trades(ids))
    shell = _shell(ids, window).feed(data.draw(batches(whole)))
    expected = list(_naive(shell.applied.rows(), Timeframe(1, "m")))
    built = [(m.candle, m.footprint) for m in unpacked(shell.all_minutes())]
    assert [(unordered(c), f) for c, f in built] == [(unordered(c), f) for c, f in expected]
    # Whatever the order in which trades come, until their minute is closed.
    for (candle, _), (wanted, _) in zip(built, expected, strict=True):
        assert candle.delta == (None if candle.rev else wanted.delta)


@pytest.mark.parametrize("ids", ["contiguous", "unique"])
@LAW
@given(data=st.data())
def test_any_order_duplication_and_cut_of_the_same_trades_makes_the_same_bytes(ids: Ids, data: st.DataObject) -> None:
    whole = data.draw(trades(ids))
    straight = _shell(ids).feed([whole])
    other = _shell(ids).feed(data.draw(batches(data.draw(mixed(whole)))))
    assert without_order(other.all_minutes()) == without_order(straight.all_minutes())
    assert other.builder.watermark_ms == straight.builder.watermark_ms
    assert other.builder.coverage.spans() == straight.builder.coverage.spans()
    assert other.builder.checkpoint().coverage == straight.builder.checkpoint().coverage
    assert not straight.builder.refused


@EVERY_KIND
@LAW
@given(data=st.data())
def test_how_a_sequence_is_cut_into_batches_changes_nothing_at_all(
    ids: Ids, window: int | None, data: st.DataObject
) -> None:
    sequence = data.draw(mixed(data.draw(trades(ids))))
    at_once = _shell(ids, window).feed([sequence])
    cut = _shell(ids, window).feed(data.draw(batches(sequence)))
    assert cut.outcome() == at_once.outcome()
    assert cut.applied == at_once.applied


@LAW
@given(wild_trades(), st.data())
def test_the_cut_changes_nothing_where_trades_are_invalid_either(sequence: Trades, data: st.DataObject) -> None:
    # Early enough that some trades are from the future; never so late that the clock closes minutes between batches.
    now_ms = data.draw(st.sampled_from([START_MS + 2 * MINUTE_MS, LATE_MS]))
    at_once = _shell("contiguous").feed([sequence], now_ms)
    cut = _shell("contiguous").feed(data.draw(batches(sequence)), now_ms)
    assert cut.outcome() == at_once.outcome()


@EVERY_KIND
@LAW
@given(data=st.data())
def test_a_builder_restored_from_its_checkpoint_goes_on_as_if_it_had_never_stopped(
    ids: Ids, window: int | None, data: st.DataObject
) -> None:
    parts = data.draw(batches(data.draw(mixed(data.draw(trades(ids))))))
    steady, stopped = _shell(ids, window), _shell(ids, window)
    for part in parts:
        steady.feed([part])
        stopped.feed([part])
        stopped.restart()
        assert without_order(stopped.all_minutes()) == without_order(steady.all_minutes())
        assert without_candle(stopped.builder.checkpoint()) == without_candle(steady.builder.checkpoint())
        for one, other in zip(unpacked(stopped.all_minutes()), unpacked(steady.all_minutes()), strict=True):
            # What came before the restart is not at hand to be put in order.
            assert one.candle.delta in (other.candle.delta, None)
            assert one.candle.rev == other.candle.rev
    assert stopped.applied == steady.applied


@LAW
@given(trades("unique"), st.data())
def test_trades_in_order_tell_how_the_delta_ran_across_restarts(whole: Trades, data: st.DataObject) -> None:
    ordered = whole.in_order()
    shell = _shell("unique")
    for part in data.draw(batches(ordered)):
        shell.feed([part])
        shell.restart()
    expected = [candle.delta for candle, _ in _naive(ordered.rows(), Timeframe(1, "m"))]
    assert [m.candle.delta for m in unpacked(shell.all_minutes())] == expected


@LAW
@given(wild_trades(), st.data())
def test_every_trade_is_applied_or_counted_as_refused(sequence: Trades, data: st.DataObject) -> None:
    shell = _shell("contiguous").feed(data.draw(batches(sequence)))
    minutes = unpacked(shell.all_minutes())
    assert sum(m.candle.trades for m in minutes) + shell.builder.refused.total() == len(sequence)
    assert sum(m.candle.volume_lots for m in minutes) == sum(shell.applied.size_lots)
    assert FUTURE not in shell.builder.refused


@LAW
@given(trades())
def test_the_footprint_has_all_the_volume_of_its_candle(whole: Trades) -> None:
    for minute in unpacked(_shell("contiguous").feed([whole]).all_minutes()):
        candle, levels = minute.candle, minute.footprint.levels
        buy, sell, unknown, *counts = (sum(column) for column in zip(*levels.values(), strict=True))
        assert (buy, sell, unknown) == (candle.buy_lots, candle.sell_lots, candle.unknown_lots)
        assert sum(counts) == candle.trades
        assert (min(levels), max(levels)) == (candle.low_ticks, candle.high_ticks)


@LAW
@given(trades("unique"), MINUTE_TIMEFRAMES)
def test_minutes_merged_to_a_timeframe_are_the_candles_of_its_trades(whole: Trades, timeframe: Timeframe) -> None:
    spans: dict[int, list[Candle]] = {}
    for minute in unpacked(_shell("unique").feed([whole]).all_minutes()):
        spans.setdefault(timeframe.open_of(minute.candle.open_ms), []).append(minute.candle)
    merged = [replace(merge_all(parts), open_ms=open_ms, rev=0) for open_ms, parts in sorted(spans.items())]
    expected = [candle for candle, _ in _naive(whole.rows(), timeframe)]
    assert list(map(unordered, merged)) == list(map(unordered, expected))
    for one, candle in zip(merged, expected, strict=True):
        is_whole = all(part.delta for part in spans[one.open_ms])
        assert one.delta == (candle.delta if is_whole else None)


@LAW
@given(trades(), st.data())
def test_rev_counts_the_trades_that_came_after_their_minute_was_closed(whole: Trades, data: st.DataObject) -> None:
    sequence = data.draw(mixed(whole))
    late, newest_ms, known = 0, -1, set[int]()
    for row in sequence.rows():
        late += row.id not in known and row.ts_ms // MINUTE_MS < newest_ms // MINUTE_MS
        newest_ms = max(newest_ms, row.ts_ms)
        known.add(row.id)
    shell = _shell("contiguous").feed(data.draw(batches(sequence)))
    assert sum(m.candle.rev for m in unpacked(shell.all_minutes())) == late


@LAW
@given(trades(), st.data())
def test_a_missing_trade_is_a_hole_until_it_comes(whole: Trades, data: st.DataObject) -> None:
    lost = data.draw(st.sets(st.sampled_from(whole.ids))) if whole else set()
    kept = whole.take([at for at, trade_id in enumerate(whole.ids) if trade_id not in lost])
    shell = _shell("contiguous").feed([kept])
    coverage = shell.builder.coverage
    assert isinstance(coverage, IdCoverage)
    missing = {trade_id for hole in coverage.holes() for trade_id in range(hole.first, hole.last + 1)}
    inside = {trade_id for trade_id in lost if kept and kept.ids[0] < trade_id < kept.ids[-1]}
    assert inside <= missing
    assert not missing & set(kept.ids)
    shell.feed([whole])
    assert shell.all_minutes().keys() == _shell("contiguous").feed([whole]).all_minutes().keys()
    assert not lost & {i for hole in coverage.holes() for i in range(hole.first, hole.last + 1)}
