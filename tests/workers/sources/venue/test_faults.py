"""Two hundred faults in twenty minutes of market time: what comes out is the exchange's own truth."""

import asyncio
import os
from collections.abc import Set
from random import Random
from typing import get_args

import pytest

from common.market.builder.gaps import REPAIRED
from common.market.builder.id_coverage import IdCoverage
from common.market.timeframes.timeframe import MINUTE_MS
from common.store.book import BookReader
from infra.exchange import (
    Ban,
    Drop,
    Duplicate,
    Fault,
    Garbage,
    Halt,
    Refuse,
    Reorder,
    Reset,
    ServerError,
    Shutdown,
    Skew,
    Slow,
    SocketCut,
    Stall,
    StreamGap,
    Throttle,
)
from infra.exchange.faults import Form
from tests.kit.venue_line import NAME, SPEED, SYMBOL, Line, come_to_rest, exchange_of, line
from tests.kit.waiting import wait_until_async
from workers.sources.base import Batch
from workers.sources.venue.backfill_by_id import BackfillById

pytestmark = pytest.mark.chaos

FAULTS, MARKET_MS = 200, 20 * MINUTE_MS
# Faults of connections and of REST last in wall time, in which a second is a minute of the market.
WALL_MS = int(MINUTE_MS / SPEED)


@pytest.fixture
def random() -> Random:
    """Seeded otherwise each time, or the same by FAULTS_SEED."""
    seed = int(os.environ.get("FAULTS_SEED", Random().randrange(1 << 40)))
    print(f"FAULTS_SEED={seed}")
    return Random(seed)


def any_fault(random: Random) -> Fault:
    count = random.randrange(1, 6)
    form: Form = random.choice(get_args(Form))
    common: list[Fault] = [
        Drop(NAME, count),
        Duplicate(NAME, count),
        Reorder(NAME, count, distance=random.randrange(1, 4)),
        StreamGap(NAME, count),
        Garbage(NAME, form, count, replace=random.random() < 0.5),
        Drop(NAME, count, stream="depth"),
        Reorder(NAME, 1, distance=1, stream="depth"),
        Duplicate(NAME, count, stream="depth"),
    ]
    rare: list[Fault] = [
        Halt(NAME, ms=random.randrange(1, 3_000)),
        Stall(ms=random.randrange(1, WALL_MS // 2), lose=random.random() < 0.5),
        Reset(),
        SocketCut(),
        Shutdown(after_ms=random.randrange(1, WALL_MS // 4)),
        Refuse(count=random.randrange(1, 3)),
        ServerError(count=count),
        Slow(ms=random.randrange(1, WALL_MS // 4), count=count),
        Skew(ms=random.randrange(-5_000, 5_000)),
    ]
    costly: list[Fault] = [Throttle(retry_after_s=1), Ban(retry_after_s=1)]
    return random.choice(random.choices((common, rare, costly), (70, 28, 2))[0])


async def watch_book(made: Line) -> int:
    """Compare every book shown as live with the exchange's at the same update, for ever."""
    reader, seen = BookReader(made.client, SYMBOL, made.instrument.scale), 0
    while True:
        shown = await reader.book()
        if shown and shown.live and shown.update_id > seen:
            seen = shown.update_id
            truth = made.market.book.at(shown.update_id)
            scale = 10 ** (8 - made.market.listing.instrument.size_decimals)
            bids = sorted(((price, lots * scale) for price, lots in truth.bids.items()), reverse=True)
            asks = sorted((price, lots * scale) for price, lots in truth.asks.items())
            assert shown.bids == bids[: len(shown.bids)] and len(shown.bids) >= min(len(bids), 1_000)
            assert shown.asks == asks[: len(shown.asks)] and len(shown.asks) >= min(len(asks), 1_000)
            assert shown.bids[0][0] < shown.asks[0][0]
            made.books += 1
        await asyncio.sleep(0.01)


@pytest.mark.timeout(120)
async def test_after_two_hundred_faults_all_is_as_at_the_exchange(
    redis_url: str, random: Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_by_looks = note_looks(monkeypatch)
    exchange = exchange_of(seed=random.randrange(1 << 30), orders_per_s=5)
    async with line(exchange, redis_url) as made:
        await made.start()
        await wait_until_async(lambda: made.coverage.spans())
        begun_ms = exchange.now_ms
        for _ in range(FAULTS):
            exchange.plan(any_fault(random), begun_ms + random.randrange(MARKET_MS))
        watcher = asyncio.create_task(watch_book(made))
        await wait_until_async(lambda: exchange.now_ms >= begun_ms + MARKET_MS or watcher.done(), timeout_s=90)
        await come_to_rest(made)
        assert not watcher.done(), watcher.exception()
        watcher.cancel()
        made.assert_true()
        assert len(exchange.faults) >= FAULTS
        assert made.books > 10
        assert_every_gap_was_told(made, put_by_looks)
        assert exchange.stats.violations["weight"] == 0 and exchange.stats.most_used_weight > 0
        print(f"{len(made.gaps)} gaps, {made.books} books compared, {exchange.stats.as_dict()}")


def note_looks(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Return the ids of trades that looks at the head put, one each, as they come: no other job runs meanwhile."""
    look, put, looking, found = BackfillById._look_at_head, BackfillById._put, set[int](), set[int]()

    async def noted(backfill: BackfillById) -> None:
        looking.add(id(backfill))
        try:
            await look(backfill)
        finally:
            looking.discard(id(backfill))

    def noted_put(backfill: BackfillById, batch: Batch) -> None:
        if id(backfill) in looking:
            found.update(batch.trades.ids)
        put(backfill, batch)

    monkeypatch.setattr(BackfillById, "_look_at_head", noted)
    monkeypatch.setattr(BackfillById, "_put", noted_put)
    return found


def assert_every_gap_was_told(made: Line, put_by_looks: Set[int]) -> None:
    """What went out to no listener is in the ledger, as repaired."""
    told = IdCoverage()
    for gap in made.gaps:
        assert gap.state == REPAIRED
        for trade_id in range(gap.first, gap.last + 1):
            told.refuse(0, trade_id)
    (span,) = made.coverage.spans()
    untold = [
        trade_id
        for first, last in made.exchange.missed(NAME)
        for trade_id in range(max(first, span.first), min(last, span.last) + 1)
        if told.refuse(0, trade_id) is None
    ]
    # The newest one that a look at the head finds is put as it is: what lies before it becomes a hole, it never is one.
    assert set(untold) <= put_by_looks
