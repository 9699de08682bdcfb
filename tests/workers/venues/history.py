"""A made-up past of one market, and the questions every venue's client must answer about it."""

import random
from collections.abc import Sequence

from common.market.trade import BUY, SELL, Trade
from workers.venues.shared.base import Listing, Venue

START_MS = 1_723_161_600_000


def past(count: int, first_id: int = 1_000, burst: int = 0, seed: int = 7) -> list[Trade]:
    """Trades with several to a millisecond; in the middle one millisecond has `burst` of them."""
    chance = random.Random(seed)
    trades, ts_ms = list[Trade](), START_MS
    for number in range(count):
        if not count // 2 <= number < count // 2 + burst:
            ts_ms += chance.choice([0, 0, 0, 0, 1, 3, 40])
        trades.append(
            Trade(ts_ms, first_id + number, chance.randrange(10_000, 11_000), chance.randrange(1, 9_999), number % 2)
        )
    assert {BUY, SELL} == {trade.side for trade in trades}
    return trades


async def all_between(venue: Venue, listing: Listing, from_ms: int, to_ms: int) -> tuple[list[Trade], int]:
    """All trades of a span, page by page as by time; and how many pages it took. No trade may come twice."""
    found, pages = list[Trade](), 0
    while page := await venue.trades_between(listing, from_ms, to_ms):
        found += page.rows()
        from_ms, pages = page.ts_ms[-1] + 1, pages + 1
    return found, pages


async def all_from_id(venue: Venue, listing: Listing, first_id: int, limit: int, at_ms: int) -> list[Trade]:
    found = list[Trade]()
    while page := await venue.trades_from_id(listing, first_id, limit, at_ms):
        assert len(page) <= limit
        found += page.rows()
        first_id, at_ms = page.ids[-1] + 1, page.ts_ms[-1]
    return found


def spans(trades: Sequence[Trade]) -> list[tuple[int, int]]:
    """Spans that begin and end at trades, between them, before and after all of them."""
    first, last, middle = trades[0].ts_ms, trades[-1].ts_ms, trades[len(trades) // 2].ts_ms
    return [
        (first, last),
        (0, last + 10**6),
        (first + 1, last - 1),
        (middle, middle),
        (middle, last),
        (first, middle - 1),
        (last + 1, last + 10**6),
        (0, first - 1),
    ]


def within(trades: Sequence[Trade], from_ms: int, to_ms: int) -> list[Trade]:
    return [trade for trade in trades if from_ms <= trade.ts_ms <= to_ms]
