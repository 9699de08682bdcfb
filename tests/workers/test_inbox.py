"""The inbox: trades that anybody pushes, each applied once."""

from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import pytest
from redis.asyncio import Redis

from common.clock import JudgedClock
from common.errors import OperatorError
from common.market import codec
from common.market.coverage import DUPLICATE
from common.market.instrument import Instrument
from common.market.trade import BUY, SELL, UNKNOWN, Trade
from common.store.keys import SymbolKeys
from common.store.lease import NOTHING_SEEN
from common.store.registry import Market
from common.store.symbol import Bounds, Claim, SymbolStore
from tests.support import FakeClock
from tests.workers.fakes import NOTHING_APPLIED, SETTINGS
from workers.sources import inbox
from workers.sources.base import Batch
from workers.sources.inbox import BAD_FIELDS, Inbox
from workers.term import Term

INSTRUMENT = Instrument("TEST:A", 2, 3)
STREAM = SymbolKeys("TEST:A").inbox
NOW_MS = 1_700_000_000_000
OURS = {"ts_ms": str(NOW_MS), "price": "100.25", "size": "0.5", "side": "sell", "id": "42"}
CRYPTOFEED = {
    "exchange": "COINBASE",
    "symbol": "BTC-USD",
    "side": "buy",
    "amount": "0.5",
    "price": "100.25",
    "id": "42",
    "type": "None",
    "timestamp": "1699999999.123",
    "receipt_timestamp": "1699999999.2",
}


def source(client: Redis, clock: FakeClock | None = None, **fields: Any) -> Inbox:
    market = Market(INSTRUMENT, {"kind": "inbox"} | fields)
    return Inbox.of(market, client, client, clock or FakeClock())


async def push(client: Redis, *entries: dict[Any, Any]) -> list[str]:
    pipe = client.pipeline(transaction=False)
    for entry in entries:
        pipe.xadd(STREAM, entry)
    added: list[Any] = await pipe.execute()
    return [entry_id.decode() for entry_id in added]


async def read(client: Redis, *entries: dict[Any, Any]) -> Batch:
    """Push the entries, and read them from the beginning."""
    await push(client, *entries)
    reader = source(client)
    await reader.open("", NOTHING_APPLIED)
    return await reader.read(100, 10)


async def test_our_own_fields_are_read(client: Redis) -> None:
    batch = await read(client, OURS)
    assert list(batch.trades.rows()) == [Trade(NOW_MS, 42, 10_025, 500, SELL)]


async def test_the_fields_of_cryptofeed_are_read(client: Redis) -> None:
    batch = await read(client, CRYPTOFEED)
    assert list(batch.trades.rows()) == [Trade(1_699_999_999_123, 42, 10_025, 500, BUY)]


async def test_both_conventions_may_share_a_stream(client: Redis) -> None:
    batch = await read(client, OURS, CRYPTOFEED, OURS | {"id": "43"})
    assert batch.trades.ids == [42, 42, 43]


@pytest.mark.parametrize(
    ("text", "side"), [("buy", BUY), ("SELL", SELL), ("unknown", UNKNOWN), ("", UNKNOWN), ("None", UNKNOWN)]
)
async def test_a_side_that_is_not_said_is_unknown(client: Redis, text: str, side: int) -> None:
    batch = await read(client, OURS | {"side": text})
    assert batch.trades.sides == bytes([side])


async def test_a_price_may_be_written_as_cryptofeed_writes_floats(client: Redis) -> None:
    batch = await read(client, CRYPTOFEED | {"price": "1e2", "amount": "5E-1"})
    assert (batch.trades.price_ticks, batch.trades.size_lots) == ([10_000], [500])


# ids


async def test_an_id_that_is_no_number_makes_way_for_the_place_in_the_stream(client: Redis) -> None:
    batch = await read(client, OURS | {"id": "f3a1-b"}, OURS | {"id": "f3a1-c"})
    first, second = batch.trades.ids
    assert first < second


@pytest.mark.parametrize("missing", ["None", ""])
async def test_trades_without_an_id_are_all_applied(client: Redis, missing: str) -> None:
    batch = await read(client, OURS | {"id": missing}, OURS | {"id": missing})
    assert len(set(batch.trades.ids)) == 2
    assert not batch.refused


async def test_a_text_id_that_was_seen_is_a_duplicate(client: Redis) -> None:
    batch = await read(client, OURS | {"id": "abc"}, OURS | {"id": "abd"}, OURS | {"id": "abc"})
    assert len(batch.trades) == 2
    assert batch.refused == {DUPLICATE: 1}


async def test_a_text_id_is_remembered_across_a_restart(client: Redis) -> None:
    first = await read(client, OURS | {"id": "abc"})
    await push(client, OURS | {"id": "abc"}, OURS | {"id": "abd"})
    again = source(client)
    await again.open(first.position, NOTHING_APPLIED)
    batch = await again.read(100, 10)
    assert (len(batch.trades), batch.refused) == (1, {DUPLICATE: 1})


async def test_text_ids_are_forgotten_with_their_entries(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "KEPT_BEHIND", 3)
    batch = await read(client, *(OURS | {"id": text} for text in ("a", "b", "c", "d", "a", "d")))
    # The second "a" comes after three others; the second "d" after one.
    assert (len(batch.trades), batch.refused) == (5, {DUPLICATE: 1})


# what is no trade


@pytest.mark.parametrize(
    "broken",
    [
        {"ts_ms": "yesterday"},
        {"ts_ms": "1.5"},
        {"price": "cheap"},
        {"price": "100.255"},
        {"price": "1e400"},
        {"size": "nan"},
        {"size": ""},
        {"side": b"\xff\xfe"},
    ],
)
async def test_an_entry_that_is_no_trade_is_counted_and_passed_over(client: Redis, broken: dict[str, Any]) -> None:
    batch = await read(client, OURS | broken, OURS | {"id": "43"})
    assert (batch.trades.ids, batch.refused) == ([43], {BAD_FIELDS: 1})


@pytest.mark.parametrize("timestamp", ["inf", "-inf", "nan", "1e999", "soon", ""])
async def test_a_time_that_is_no_time_is_counted_and_passed_over(client: Redis, timestamp: str) -> None:
    batch = await read(client, CRYPTOFEED | {"timestamp": timestamp}, CRYPTOFEED)
    assert (batch.trades.ids, batch.refused) == ([42], {BAD_FIELDS: 1})


@pytest.mark.parametrize("field", ["ts_ms", "price", "size"])
async def test_a_missing_field_is_counted(client: Redis, field: str) -> None:
    batch = await read(client, {name: value for name, value in OURS.items() if name != field})
    assert (len(batch.trades), batch.refused) == (0, {BAD_FIELDS: 1})


async def test_numbers_beyond_all_bounds_come_through_to_be_refused_by_their_reason(client: Redis) -> None:
    batch = await read(client, OURS | {"price": "-1", "id": "9" * 19, "ts_ms": "9" * 30})
    assert list(batch.trades.rows()) == [Trade(int("9" * 30), int("9" * 19), -100, 500, SELL)]


@pytest.mark.parametrize("kind", ["string", "hash", "zset"])
async def test_a_key_of_another_type_gives_one_clear_error(client: Redis, kind: str) -> None:
    """cryptofeed's other writers use the same names for sorted sets and strings."""
    if kind == "string":
        await client.set(STREAM, "x")
    elif kind == "hash":
        await client.hset(STREAM, "x", "y")
    else:
        await client.zadd(STREAM, {"x": 1})
    with pytest.raises(OperatorError, match=rf"key '{STREAM}' is a {kind}, expected a stream of trades"):
        await source(client).open("", NOTHING_APPLIED)


# position, waiting, trimming


async def test_a_committed_position_is_gone_on_from_exactly(client: Redis) -> None:
    ids = await push(client, *(OURS | {"id": str(number)} for number in range(10)))
    first = source(client)
    await first.open("", NOTHING_APPLIED)
    batch = await first.read(4, 10)
    assert (batch.trades.ids, batch.position, batch.backlog, batch.complete_ms) == ([0, 1, 2, 3], ids[3], True, 0)
    await first.read(4, 10)

    again = source(client)
    await again.open(batch.position, NOTHING_APPLIED)
    rest = await again.read(100, 10)
    assert (rest.trades.ids, rest.position, rest.backlog) == ([4, 5, 6, 7, 8, 9], ids[9], False)


async def test_an_empty_inbox_is_waited_for_and_is_complete_by_now(client: Redis, clock: FakeClock) -> None:
    reader = source(client, clock)
    await reader.open("", NOTHING_APPLIED)
    batch = await reader.read(10, 5)
    assert (len(batch.trades), batch.position, batch.complete_ms) == (0, "0-0", clock.now_ms())


async def test_what_is_pushed_while_it_waits_is_read(client: Redis, redis_url: str) -> None:
    reader = source(client)
    await reader.open("", NOTHING_APPLIED)
    await push(client, OURS)
    assert (await reader.read(10, 1_000)).trades.ids == [42]
    await push(client, OURS | {"id": "43"})
    assert (await reader.read(10, 1_000)).trades.ids == [43]


async def test_a_stream_of_another_name_is_read(client: Redis) -> None:
    await client.xadd("trades-COINBASE-BTC-USD", CRYPTOFEED)  # type: ignore[arg-type]
    reader = source(client, stream="trades-COINBASE-BTC-USD")
    await reader.open("", NOTHING_APPLIED)
    assert (await reader.read(10, 5)).trades.ids == [42]


async def test_what_is_committed_is_trimmed_but_for_the_last_entries(
    client: Redis, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "KEPT_BEHIND", 200)
    await push(client, *(OURS | {"id": str(number)} for number in range(1_000)))
    reader = source(client, clock)
    await reader.open("", NOTHING_APPLIED)
    batch = await reader.read(900, 5)
    clock.advance(inbox.TRIM_EVERY_MS)
    await reader.committed(batch.position)
    left = await client.xlen(STREAM)
    # Whole nodes of 100 entries go, never one that was not read.
    assert 300 <= left < 1_000
    assert (await reader.read(900, 5)).trades.ids == list(range(900, 1_000))


async def test_a_stream_that_is_not_ours_is_left_alone(
    client: Redis, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "KEPT_BEHIND", 2)
    await push(client, *(OURS | {"id": str(number)} for number in range(500)))
    reader = source(client, clock, trim=False)
    await reader.open("", NOTHING_APPLIED)
    batch = await reader.read(500, 5)
    clock.advance(inbox.TRIM_EVERY_MS)
    await reader.committed(batch.position)
    assert await client.xlen(STREAM) == 500


async def test_over_restarts_each_entry_is_applied_once(client: Redis, clock: FakeClock) -> None:
    """Through claim, term and commit: a term of a few commits after the other."""
    entries = [OURS | {"id": f"text-{number}" if number % 3 else str(number)} for number in range(100)]
    last = (await push(client, *entries, *entries[50:]))[-1]
    store = SymbolStore(client, "TEST:A", Bounds(100_000, 1_000))
    # A short lease: an idle read waits for the next sign of life.
    settings = replace(SETTINGS, lease_ttl_ms=60)
    for number in count():
        claim = await store.claim(f"{number:032}", NOTHING_SEEN, "tests")
        assert isinstance(claim, Claim)
        if claim.position == last:
            break
        looks = iter([False, False, False])
        stopping = partial(next, looks, True)
        term = Term(INSTRUMENT, store, source(client, clock), JudgedClock(clock), settings, f"{number:032}", stopping)
        await term.serve(claim)
    assert number > 10
    assert term.progress.refused == {DUPLICATE: 50}
    applied = await store.recent_trades(1_000)
    assert applied and len(applied) == 100
    state: Any = await client.hget(SymbolKeys("TEST:A").state, "candle")
    assert codec.unpack_candle(state).trades == 100
