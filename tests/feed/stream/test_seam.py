"""The seam: history up to its cursor and the stream after it are one sequence, whatever happens in between."""

import random

import pytest
from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.market.timeframes.periods import DAY
from common.market.timeframes.timeframe import DAY_MS, Timeframe, day_of
from common.store.registry import Market
from feed.bars.changes import Cursor
from feed.bars.days import DaySource
from feed.queries.queries import Queries
from tests.kit.bars_oracle import expected
from tests.kit.folding import Folding, all_leave
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, Saved, Writer, random_step, some_accident
from tests.scale import scaled

TIMEFRAMES = ["1m", "15m", "1h", "1d", "1s", "250ms", "1w", "90s"]


async def agree(client: Redis, writer: Writer, clients: list[Folding]) -> None:
    """Every client ends up with exactly what the store has."""
    for one in clients:
        if one.joined:
            await one.check(await expected(client, writer, Timeframe.parse(one.timeframe)))


async def come_and_go(feed: Served, writer: Writer, rng: random.Random, clients: list[Folding]) -> None:
    """Another client joins, or one leaves or comes back."""
    if not clients or rng.random() < 0.3:
        one = Folding(feed, writer.instrument.symbol, rng.choice(TIMEFRAMES), rng.choice((2, 5_000)))
        if rng.random() < 0.4:
            path = f"/v1/candles/{one.symbol}"
            one.history(await feed.json(path, timeframe=one.timeframe, limit=one.limit))
        one.join()
        clients.append(one)
    else:
        await rng.choice(clients).come_or_go()


@pytest.mark.parametrize("seed", range(scaled(10)))
async def test_folded_streams_equal_history_whatever_happens(client: Redis, feed: Served, seed: int) -> None:
    rng = random.Random(seed)
    writer = Writer(client, Instrument("TEST:A", 2, 3, rng.choice(("contiguous", "unique"))))
    await writer.register()
    await writer.claim()
    clients: list[Folding] = []
    saved: Saved | None = None
    for _ in range(60):
        for _ in range(rng.randint(1, 4)):
            await random_step(writer, rng)
        if rng.random() < 0.4:
            await come_and_go(feed, writer, rng, clients)
        if rng.random() < 0.08:
            saved = await writer.save()
        if rng.random() < 0.1:
            await some_accident(client, writer, rng, saved)
        if rng.random() < 0.3:
            await agree(client, writer, clients)
    await agree(client, writer, clients)
    await all_leave(clients)


async def test_after_more_days_changed_than_are_looked_through_a_snapshot_is_due(
    client: Redis, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the last of them nothing would be told."""
    for _ in range(4):
        await writer.commit(writer.trade(writer.now_ms + DAY_MS))
    await writer.roll_up()
    cursor, first_ms = Cursor.parse(writer.cursor), writer.now_ms - 3 * DAY_MS
    await writer.commit(*(writer.trade(first_ms + day * DAY_MS) for day in (0, 2)))
    source = Queries(client, 6_000).of(Market(INSTRUMENT)).source(DAY)
    assert isinstance(source, DaySource)
    changes = await source.changes(cursor)
    assert changes and [update.open_ms for update in changes.updates] == [
        day_of(first_ms),
        day_of(first_ms) + 2 * DAY_MS,
    ]
    monkeypatch.setattr("feed.bars.days.MAX_DAYS", 2)
    assert await source.changes_of_days(cursor, None) is None
