"""A trade that comes under the id of another one: counted and told of, by a worker of any source."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis

from common.clock import JudgedClock
from common.market.builder.coverage import DUPLICATE
from common.market.builder.recent import CONFLICT, RECENT_TRADES
from common.market.instrument import Ids
from common.market.trade import BUY, SELL, Trade, Trades
from common.store.commit import StreamBounds
from common.store.keys import SymbolKeys
from common.store.lease import NOTHING_SEEN
from common.store.registry import Market
from common.store.stream_reader import OwnReader
from common.store.symbol import Claim, SymbolStore
from tests.kit.clocks import FakeClock
from tests.kit.fakes import INSTRUMENT, SETTINGS, START_MS, Bench, NotingStore
from workers.sources.base import Batch
from workers.sources.inbox import Inbox
from workers.symbol.conflicts import MAX_CONFLICTS_TOLD
from workers.symbol.term import Term

pytestmark = pytest.mark.anyio

OTHER_TOKEN = "b" * 32


def batch(position: str, *rows: tuple[int, int]) -> Batch:
    """Trades as (id, price in ticks)."""
    return Batch(Trades.of(Trade(START_MS + number, number, ticks, 5, BUY) for number, ticks in rows), position)


def told(bench: Bench) -> list[dict[str, Any]]:
    events = [json.loads(event) for _, event in bench.model.tables.events]
    return [event for event in events if event["type"] == CONFLICT]


def refused(bench: Bench) -> dict[str, int]:
    found: dict[str, int] = json.loads(bench.store.commits[-1].checkpoint.refused)
    return found


@pytest.mark.parametrize("ids", ["contiguous", "unique"])
async def test_it_is_refused_and_told_with_both_trades_by_the_commit_that_counts_it(
    ids: Ids, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(instrument=replace(INSTRUMENT, ids=ids))
    await bench.serve(batch("1", (1, 100), (2, 200)), batch("2", (1, 100), (2, 250)), batch("3", (3, 300)))
    assert refused(bench) == {CONFLICT: 1, DUPLICATE: 1}
    (event,) = told(bench)
    assert event == {
        "type": "conflict",
        "symbol": "TEST:A",
        "seq": 2,
        "token": bench.term.token,
        "id": 2,
        "applied": {"t": START_MS + 2, "id": 2, "p": 2, "q": 0.005, "side": "buy"},
        "refused": {"t": START_MS + 2, "id": 2, "p": 2.5, "q": 0.005, "side": "buy"},
    }
    commit = bench.store.commits[1]
    assert (SymbolKeys("TEST:A").events, commit.events[-1]) in commit.messages and not commit.trade_count
    (record,) = [record for record in caplog.records if record.name == "workers.symbol.conflicts"]
    fields = vars(record)
    assert (record.levelname, fields["symbol"], fields["id"]) == ("WARNING", "TEST:A", 2)
    assert (fields["applied"], fields["refused"]) == (
        f"{START_MS + 2} buy 0.005 at 2",
        f"{START_MS + 2} buy 0.005 at 2.5",
    )


async def test_it_is_told_also_where_nothing_else_has_changed() -> None:
    bench = Bench()
    await bench.serve(batch("", (1, 100)), batch("", (1, 150)))
    assert len(told(bench)) == 1 and len(bench.store.commits) == 2


async def test_the_next_holder_compares_with_what_was_applied_before_it() -> None:
    bench = Bench()
    await bench.serve(batch("1", *((number, 100) for number in range(50))))
    await bench.serve(batch("2", (7, 107), (8, 100), (60, 100)), batch("3", (60, 160)), token=OTHER_TOKEN)
    assert refused(bench) == {CONFLICT: 2, DUPLICATE: 1}
    assert [(event["id"], event["token"]) for event in told(bench)] == [(7, OTHER_TOKEN), (60, OTHER_TOKEN)]


async def test_what_was_applied_is_read_once_and_only_if_a_trade_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    async def recent_batches(store: NotingStore, count: int) -> list[bytes]:
        reads.append(count)
        return store.model.recent_batches(count)

    monkeypatch.setattr(NotingStore, "recent_batches", recent_batches)
    bench = Bench()
    await bench.serve(batch("1", (1, 100), (2, 100)), batch("2", (2, 100)))
    await bench.serve(batch("3", (3, 100), (5, 100)), batch("4", (4, 100)), token=OTHER_TOKEN)
    assert not reads
    await bench.serve(*(batch(f"{position}", (position, 170)) for position in range(1, 6)), token="c" * 32)
    assert reads == [RECENT_TRADES] and refused(bench) == {CONFLICT: 5, DUPLICATE: 1}


async def test_the_first_hundred_of_a_term_are_told_and_all_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    bench, count = Bench(), MAX_CONFLICTS_TOLD
    for token in ("a" * 32, OTHER_TOKEN):
        await bench.serve(
            batch("1", *((number, 100) for number in range(count + 30))),
            batch("2", *((number, 150) for number in range(count - 10))),
            batch("3", *((number, 150) for number in range(count - 10, count + 30))),
            batch("4", (count + 50, 100)),
            token=token,
        )
    assert refused(bench)[CONFLICT] == 2 * (count + 30)
    assert [event["id"] for event in told(bench)] == 2 * list(range(count))
    assert len([record for record in caplog.records if record.name == "workers.symbol.conflicts"]) == 2 * count


async def test_of_texts_for_ids_another_trade_under_one_is_told_as_well(client: Redis) -> None:
    """Its number is that of the first one under this text."""
    instrument, clock = replace(INSTRUMENT, ids="unique"), FakeClock()
    keys, store = SymbolKeys(instrument.symbol), SymbolStore(client, instrument.symbol, StreamBounds(1_000, 1_000))

    async def push(text: str, size: str, side: str = "buy") -> str:
        fields: dict[Any, Any] = {"ts_ms": START_MS, "price": "1.5", "size": size, "side": side, "id": text}
        entry_id: Any = await client.xadd(keys.inbox, fields)
        return str(entry_id, "ascii")

    entries = [await push(*row) for row in (("x", "1"), ("y", "2"), ("x", "1"), ("y", "3"), ("x", "1", "sell"))]
    claim = await store.claim("a" * 32, NOTHING_SEEN, "tests")
    assert isinstance(claim, Claim)
    source = Inbox.of(Market(instrument, {"kind": "inbox"}), client, partial(OwnReader, client), clock)
    position = entries[-1]
    term = Term(instrument, store, source, JudgedClock(clock), SETTINGS, "a" * 32, lambda: source._position == position)
    await term.serve(claim)
    assert term.progress.refused == {DUPLICATE: 1, CONFLICT: 2}
    shown = [(pair.applied.size_lots, pair.refused.size_lots, pair.refused.side) for pair in term.progress.conflicts]
    assert shown == [(2_000, 3_000, BUY), (1_000, 1_000, SELL)]
    assert [pair.applied.id == pair.refused.id for pair in term.progress.conflicts] == [True, True]
