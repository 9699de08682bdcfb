"""The truth: tape, book, klines and what makes them happen. No sockets here."""

import itertools
import random

import pytest

from common.errors import BadInput
from common.market.builder.builder import Builder, Minute
from common.market.candle import Candle, merge_all
from common.market.simulation.book import ASK, BID, BookLog
from common.market.trade import BUY, SELL, Trade, Trades
from infra.exchange import Exchange, ExchangeMarket, Retick, Rules, Simulation, listing_of
from infra.exchange.history import KlineGrid, KlineSpan, klines_between
from infra.exchange.klines import INTERVALS, Kline
from infra.exchange.listing import amount
from infra.exchange.ranges import Ranges
from infra.exchange.tape import ExchangeTape
from tests.kit.exchange import START_MS, SYMBOL, simulated, still

HOUR_MS = 3_600_000


def order(*trades: tuple[int, int, int, int]) -> list[Trade]:
    """Trades as (ts, id, price, lots), all bought."""
    return [Trade(*trade, BUY) for trade in trades]


def built_minutes(trades: Trades, market: ExchangeMarket) -> list[Candle]:
    """The candles our own builder makes of the trades, ascending."""
    builder = Builder.new(market.listing.instrument)
    closed: dict[int, Minute] = {}
    for start in range(0, len(trades), 500):
        changes = builder.step(trades[start : start + 500], START_MS * 2, closed)
        closed |= changes.closed | changes.amended
    minutes = closed | ({builder.open.candle.open_ms: builder.open} if builder.open else {})
    return [minutes[open_ms].candle for open_ms in sorted(minutes)]


def as_candle_facts(kline: Kline) -> tuple[int, ...]:
    return (
        *(kline.open_ms, kline.open_ticks, kline.high_ticks, kline.low_ticks, kline.close_ticks),
        *(kline.volume_lots, kline.buy_lots, kline.turnover, kline.trades, kline.first_id, kline.last_id),
    )


def facts(candle: Candle) -> tuple[int, ...]:
    return (
        *(candle.open_ms, candle.open_ticks, candle.high_ticks, candle.low_ticks, candle.close_ticks),
        *(candle.volume_lots, candle.buy_lots, candle.turnover, candle.trades, candle.first_id, candle.last_id),
    )


def test_aggregates_are_the_trades_of_one_order_at_one_price() -> None:
    tape = ExchangeTape(keep=100)
    first = tape.append(order((10, 1, 500, 3), (10, 2, 500, 4), (10, 3, 501, 5)))
    # The same price, time and side, but another order.
    second = tape.append(order((10, 4, 501, 6)))
    assert [(each.id, each.first_id, each.last_id, each.size_lots) for each in first + second] == [
        (1, 1, 2, 7),
        (2, 3, 3, 5),
        (3, 4, 4, 6),
    ]


def test_a_tape_forgets_its_oldest_trades_and_keeps_every_id() -> None:
    tape, whole = ExchangeTape(keep=80), ExchangeTape(keep=10_000)
    for at in range(300):
        for each in (tape, whole):
            each.append(order((at, 3 * at, 500, 1), (at, 3 * at + 1, 500, 2), (at, 3 * at + 2, 501, 1)))
        assert 80 <= len(tape) <= 92 or at < 30
    ids = tape.ids.tolist()
    assert ids == list(range(ids[0], 900)) and ids[0] % 3 == 0
    newest = tape.aggregate(tape.aggregates - 1)
    assert newest == whole.aggregate(whole.aggregates - 1)
    assert tape.aggregate(tape.aggregate_at_id(newest.id)) == newest
    assert tape.aggregate(tape.aggregate_at_time(290)).ts_ms == 290
    assert tape.trade(tape.at_id(880)) == whole.trade(whole.at_id(880))


def test_a_tape_refuses_what_its_look_ups_could_not_find() -> None:
    tape = ExchangeTape(keep=100)
    tape.append(order((10, 5, 500, 3)))
    for trade in ((10, 5, 500, 3), (9, 6, 500, 3)):
        with pytest.raises(BadInput, match="expected ascending ids and times"):
            tape.append(order(trade))


def test_a_book_knows_what_it_was_at_every_update_it_keeps() -> None:
    rng, book = random.Random(3), BookLog(keep=200)
    book.reset(1_000, [(99, 5)], [(101, 5)])
    states = {1_000: ({99: 5}, {101: 5})}
    for _ in range(600):
        side, lots = rng.choice((BID, ASK)), rng.choice((0, 0, 1, 7))
        book.set(side, rng.randrange(50, 100) if side == BID else rng.randrange(101, 150), lots)
        states[book.last_id] = (dict(book.sides[BID].lots), dict(book.sides[ASK].lots))
    assert book.kept <= 225 and book.oldest_id > 1_300
    asked = list(range(book.oldest_id, book.last_id + 1))
    for update_id in asked + rng.sample(asked, 30):
        state = book.at(update_id)
        assert (state.bids, state.asks) == states[update_id]
    for outside in (book.oldest_id - 1, book.last_id + 1):
        with pytest.raises(BadInput, match=f"update {outside} is not kept"):
            book.at(outside)


def test_a_simulation_follows_from_its_seed_however_time_is_cut() -> None:
    def run(seed: int, steps: list[int]) -> tuple[Trades, int]:
        exchange = still(seed=seed)
        for span_ms in steps:
            exchange.advance(span_ms)
        return exchange.market(SYMBOL).trades(), exchange.market(SYMBOL).book.last_id

    whole = run(7, [60_000])
    assert whole == run(7, [1] * 50 + [949] * 50 + [12_500])
    assert whole != run(8, [60_000])


def test_trades_consume_the_book_and_it_is_never_crossed() -> None:
    (market,) = simulated("ETHUSDT")
    market.begin(START_MS, 0)
    best = {BID: market.book.best(BID), ASK: market.book.best(ASK)}
    traded = 0
    while traded < 800:
        before, position = market.book.last_id, market.book.position
        happening = market.happen()
        for update_id in range(before + 1, market.book.last_id + 1):
            state = market.book.at(update_id)
            assert max(state.bids) < min(state.asks)
        if happening.trades:
            first = happening.trades[0]
            maker = ASK if first.side == BUY else BID
            # The first trade is at the best price there was, and each level lost just what was traded there.
            assert first.price_ticks == best[maker]
            _assert_consumed(market, happening.trades, maker, before)
        traded += len(happening.trades)
        assert market.book.position >= position
        best = {BID: market.book.best(BID), ASK: market.book.best(ASK)}
    ids = market.tape.ids.tolist()
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert ids[0] > 1 << 31


def _assert_consumed(market: ExchangeMarket, trades: list[Trade], maker: int, update_id: int) -> None:
    levels = market.book.at(update_id).asks if maker == ASK else market.book.at(update_id).bids
    for at, (price, group) in enumerate(itertools.groupby(trades, key=lambda trade: trade.price_ticks), 1):
        after = market.book.at(update_id + at)
        left = (after.asks if maker == ASK else after.bids).get(price, 0)
        assert left == levels[price] - sum(trade.size_lots for trade in group)


def test_klines_are_the_candles_our_builder_makes_of_the_truth() -> None:
    # Across a day, for every interval to have more than one.
    market = simulated(SYMBOL, orders_per_s=3)[0]
    exchange = Exchange([market], start_ms=START_MS + 12 * HOUR_MS - 700_000, history_ms=1_512_345)
    minutes = built_minutes(market.trades(), market)
    for interval in ("1m", "3m", "5m", "1h", "1d", "1w", "1M"):
        timeframe = INTERVALS[interval]
        groups = itertools.groupby(minutes, key=lambda candle: timeframe.open_of(candle.open_ms))
        expected = [facts(merge_all(group).rename(open_ms)) for open_ms, group in groups]
        found = klines_between(market, KlineGrid(timeframe), KlineSpan(0, None, 1_000), exchange.now_ms)
        assert [as_candle_facts(kline) for kline in found if kline.trades] == expected


def test_a_finer_tick_changes_no_price_that_was_and_what_comes_uses_it() -> None:
    exchange = still(history_ms=5 * 60_000)
    market = exchange.market(SYMBOL)
    before, bids, at_id = market.trades(), market.book.top(BID, 50), market.book.at(market.book.last_id - 200)
    exchange.inject(Retick(SYMBOL, 3))
    assert market.trades().price_ticks == [10 * ticks for ticks in before.price_ticks]
    assert market.book.top(BID, 50) == [(10 * price, lots) for price, lots in bids]
    again = market.book.at(market.book.last_id - 200)
    assert again.bids == {10 * price: lots for price, lots in at_id.bids.items()}
    exchange.advance(5 * 60_000)
    new = market.trades(first_id=before.ids[-1] + 1)
    assert any(ticks % 10 for ticks in new.price_ticks)
    # The price has not jumped.
    assert abs(new.price_ticks[0] - 10 * before.price_ticks[-1]) < 10 * before.price_ticks[-1] // 1_000
    span = KlineSpan(START_MS, None, 1_000)
    klines = klines_between(market, KlineGrid(INTERVALS["1m"]), span, exchange.now_ms)
    traded = [as_candle_facts(kline) for kline in klines if kline.trades]
    assert traded == list(map(facts, built_minutes(market.trades(), market)))
    for decimals in (3, 4):
        with pytest.raises(BadInput, match=f"price_decimals is {decimals}, expected 4 to 3"):
            exchange.inject(Retick(SYMBOL, decimals))


def test_seconds_of_a_minute_sum_to_the_minute_and_quiet_ones_are_flat() -> None:
    exchange = still(history_ms=300_000)
    market, open_ms = exchange.market(SYMBOL), START_MS + 120_000
    seconds = klines_between(
        market, KlineGrid(INTERVALS["1s"]), KlineSpan(open_ms, open_ms + 59_999, 1_000), exchange.now_ms
    )
    minute = market.minutes.minute(open_ms)
    assert minute is not None and len(seconds) == 60
    assert sum(second.turnover for second in seconds) == minute.turnover
    assert max(second.high_ticks for second in seconds) == minute.high_ticks
    for before, second in itertools.pairwise(seconds):
        if not second.trades:
            assert second.open_ticks == second.low_ticks == second.close_ticks == before.close_ticks
            assert (second.volume_lots, second.first_id, second.last_id) == (0, -1, -1)


def test_memory_is_bounded() -> None:
    rules = Rules(keep_trades=800, keep_book_changes=1_600, keep_minutes=8)
    exchange = Exchange(simulated(SYMBOL, rules=rules, orders_per_s=5), start_ms=START_MS, rules=rules)
    market = exchange.market(SYMBOL)
    for _ in range(15):
        exchange.advance(60_000)
        assert len(market.tape) <= 900 and market.book.kept <= 1_800 and len(market.minutes) <= 9
    assert market.book.at(market.book.oldest_id).update_id == market.book.oldest_id
    assert sum(len(side.prices) for side in market.book.sides) <= 802


def test_ranges_join_what_touches_and_stay_bounded() -> None:
    rng, ranges, members = random.Random(5), Ranges(), set[int]()
    for _ in range(400):
        first = rng.randrange(1_000)
        last = first + rng.randrange(5)
        ranges.add(first, last)
        members |= set(range(first, last + 1))
    pairs = list(ranges)
    assert {number for first, last in pairs for number in range(first, last + 1)} == members
    assert all(left[1] + 1 < right[0] for left, right in itertools.pairwise(pairs))
    assert all((number in ranges) == (number in members) for number in range(1_010))
    assert ranges.count == len(members) and len(ranges.holes()) == len(ranges) - 1
    few = Ranges(keep=5)
    for number in range(0, 100, 2):
        few.add(number, number)
    assert len(few) == 5 and list(few)[-1] == (98, 98)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(6_400_000, 2, "64000.00000000"), (1, 8, "0.00000001"), (0, 3, "0.00000000"), (123_456, 10, "0.00001234")],
)
def test_amounts_have_eight_decimals(value: int, decimals: int, text: str) -> None:
    assert amount(value, decimals) == text


@pytest.mark.parametrize("symbol", ["USDT", "btcusdt", "BTC-USDT", "ABC", ""])
def test_a_symbol_must_name_base_and_quote(symbol: str) -> None:
    with pytest.raises(BadInput, match="is not a base and a quote"):
        listing_of(symbol)


def test_a_listing_splits_the_symbol_at_the_longest_quote() -> None:
    listing = listing_of("BTCFDUSD")
    assert (listing.base, listing.quote) == ("BTC", "FDUSD")
    assert Simulation(listing).listing.symbol == "BTCFDUSD"


def test_sells_are_told_from_buys() -> None:
    exchange = still(history_ms=60_000)
    sides = exchange.market(SYMBOL).trades().sides
    assert sides.count(BUY) > 20 and sides.count(SELL) > 20


def test_large_orders_come_are_eaten_or_pulled_and_some_refill_what_they_show() -> None:
    simulation, book = Simulation(listing_of(SYMBOL), seed=5, orders_per_s=20.0), BookLog(keep=1_000)
    simulation.begin(book, START_MS)
    walls = simulation._walls
    assert walls is not None
    largest, eaten, refilled, pulled = 0, 0, 0, 0
    for _ in range(30_000):
        before = [(wall, wall.hidden_lots) for wall in walls.standing]
        trades = simulation.happen(book)
        met = {trade.price_ticks for trade in trades}
        eaten += sum(wall.price_ticks in met for wall, _ in before)
        refilled += sum(wall.hidden_lots < hidden for wall, hidden in before)
        pulled += sum(wall.is_shy and wall not in walls.standing and wall.price_ticks not in met for wall, _ in before)
        largest = max([largest, *(wall.shown_lots for wall in walls.standing)])
        best_bid, best_ask = book.best(BID), book.best(ASK)
        assert best_bid is not None and best_ask is not None and best_bid < best_ask
    assert largest >= 40 * walls.lots and eaten and refilled and pulled, (largest, eaten, refilled, pulled)
