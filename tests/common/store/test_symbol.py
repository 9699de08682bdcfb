"""claim, commit, beat, release: the compare-and-set writes of one symbol."""

from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from common.errors import Fenced, Stale, StoreUnavailable
from common.market.builder.builder import Checkpoint, Minute, candle_of, pack_minute
from common.market.candle import LIVE
from common.market.coding import codec
from common.market.footprint import Footprint
from common.market.trade import BUY, MAX_ID, MAX_TS_MS, Trade, Trades
from common.series import FOOTPRINTS
from common.store.commit import StreamBounds
from common.store.keys import SymbolKeys
from common.store.lease import NOTHING_SEEN, LeaseObservation
from common.store.symbol import Claim, SymbolStore
from tests.kit.store.steps import MINUTE_MS, SYMBOL, claim, everything, step, trades
from tests.kit.waiting import PATIENCE_S

KEYS = SymbolKeys(SYMBOL)
A, B = "a" * 32, "b" * 32


async def stream_ids(client: Redis, key: str) -> list[str]:
    entries: Any = await client.xrange(key)
    return [entry_id.decode() for entry_id, _ in entries]


async def score_members(client: Redis, key: str) -> list[tuple[bytes, int]]:
    members: Any = await client.zrange(key, 0, -1, withscores=True)
    return [(member, int(score)) for member, score in members]


# claim, release


async def test_a_symbol_that_nobody_has_is_claimed_from_the_beginning(store: SymbolStore) -> None:
    assert await claim(store, A) == Claim(epoch=1, seq=0, position="", checkpoint=None)


async def test_a_claim_goes_on_where_the_last_commit_stands(store: SymbolStore) -> None:
    checkpoint = Checkpoint(MAX_TS_MS, b"\x00candle\xff", b"\r\nfootprint", b"[[3],[1,2,3,4]]", b'{"duplicate":7}')
    await claim(store, A)
    await store.commit(step(A, 0, 1, position="file:7", checkpoint=checkpoint))
    await store.release(A)
    assert await claim(store, B) == Claim(2, 1, "file:7", checkpoint)


async def test_a_held_symbol_is_busy_and_looking_leaves_it_as_it_is(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    before = await everything(client)
    assert await store.claim(B, NOTHING_SEEN, "tests:2") == LeaseObservation(A, "1")
    assert await everything(client) == before


async def test_a_holder_that_stands_still_is_taken_over(store: SymbolStore) -> None:
    await claim(store, A)
    seen = await store.claim(B, NOTHING_SEEN, "tests:2")
    assert isinstance(seen, LeaseObservation)
    assert await store.claim(B, seen, "tests:2") == Claim(2, 0, "", None)
    with pytest.raises(Fenced):
        await store.beat(A, 0, {})


async def test_a_holder_that_has_moved_since_it_was_seen_stays(store: SymbolStore) -> None:
    await claim(store, A)
    seen = await store.claim(B, NOTHING_SEEN, "tests:2")
    assert isinstance(seen, LeaseObservation)
    await store.beat(A, 0, {})
    assert await store.claim(B, seen, "tests:2") == LeaseObservation(A, "2")


async def test_another_holder_with_the_same_beats_stays(store: SymbolStore) -> None:
    await claim(store, A)
    assert await store.claim(B, LeaseObservation("c" * 32, "1"), "tests:2") == LeaseObservation(A, "1")


async def test_a_claim_by_force_takes_it_from_who_lives_but_not_from_who_took_it_so(store: SymbolStore) -> None:
    c = "c" * 32
    await claim(store, A)
    assert await store.claim(B, NOTHING_SEEN, "tests:2", force=True) == Claim(2, 0, "", None)
    with pytest.raises(Fenced):
        await store.beat(A, 0, {})
    seen = await store.claim(c, NOTHING_SEEN, "tests:3", force=True)
    assert seen == LeaseObservation(B, "2") and await store.claim(A, NOTHING_SEEN, "tests:1") == seen
    # Its death is waited for like any other; and whoever claims then may be forced again.
    assert await store.claim(A, seen, "tests:1") == Claim(3, 0, "", None)
    assert await store.claim(c, NOTHING_SEEN, "tests:3", force=True) == Claim(4, 0, "", None)


async def test_a_released_symbol_is_free_at_once(store: SymbolStore) -> None:
    await claim(store, A)
    await store.release(A)
    await store.release(A)
    assert (await claim(store, B)).epoch == 2


async def test_a_release_may_say_why(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    await store.release(A, {"mode": "FAILED", "reason": "store"})
    assert said(await store.health()) == {"mode": "FAILED", "reason": "store"}


def said(health: dict[Any, Any]) -> dict[Any, Any]:
    """Of a symbol's health, what its holders said: without the time that the store keeps of it."""
    return {field: value for field, value in health.items() if field not in ("since_ms", b"since_ms")}


async def test_the_store_keeps_since_when_mode_and_reason_are_what_they_are(store: SymbolStore, client: Redis) -> None:
    async def since_ms() -> int:
        return int((await store.health())["since_ms"])

    await claim(store, A)
    await store.commit(step(A, 0, 1, health={"mode": "LIVE", "reason": ""}))
    live_ms = await since_ms()
    assert live_ms == int(await client.hget(KEYS.owner, "beat_ms") or 0)
    # As if it had been said a second ago.
    await client.hset(KEYS.health, "since_ms", live_ms - 1_000)
    await store.beat(A, 1, {"mode": "LIVE", "reason": "", "backfill_percent": "7"})
    assert await since_ms() == live_ms - 1_000
    await store.beat(A, 1, {"mode": "DEGRADED", "reason": "throttled"})
    assert await since_ms() >= live_ms
    await client.hset(KEYS.health, "since_ms", 1)
    await store.beat(A, 1, {"mode": "DEGRADED", "reason": "disconnected"})
    assert await since_ms() >= live_ms
    await client.hset(KEYS.health, "since_ms", 1)
    await store.release(A, {"mode": "FAILED", "reason": "store"})
    assert await since_ms() >= live_ms


async def test_a_release_by_a_former_holder_changes_nothing(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    await store.release(A)
    await claim(store, B)
    before = await everything(client)
    await store.release(A, {"mode": "FAILED"})
    assert await everything(client) == before


# events of the store itself


async def events_of(client: Redis) -> list[dict[str, Any]]:
    found: Any = await client.xrange(KEYS.events)
    return [orjson.loads(fields[b"event"]) for _, fields in found]


async def test_a_change_of_health_is_an_event_and_the_same_health_again_is_none(
    client: Redis, store: SymbolStore
) -> None:
    await claim(store, A)
    await store.commit(step(A, 0, 1, health={"mode": "LIVE", "reason": ""}))
    for _ in range(2):
        await store.beat(A, 1, {"mode": "DEGRADED", "reason": "throttled"})
    await store.release(A, {"mode": "FAILED", "reason": "store"})
    throttled, failed = await events_of(client)
    assert throttled.pop("at") > 0
    assert throttled == {
        "type": "health",
        "symbol": SYMBOL,
        "seq": 1,
        "token": A,
        "mode": "DEGRADED",
        "reason": "throttled",
        "was": {"mode": "LIVE", "reason": None},
        "eventId": "1-1",
    }
    assert (failed["mode"], failed["was"]["mode"], failed["eventId"]) == ("FAILED", "DEGRADED", "1-2")


async def test_another_holder_is_an_event_and_the_first_one_is_none(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    assert await events_of(client) == []
    await store.commit(step(A, 0, 1, events=[b'{"type":"gap"}']))
    await store.release(A)
    await claim(store, B)
    await store.commit(step(B, 1, 2, events=[b'{"type":"gap"}']))
    _, taken, last = await events_of(client)
    told = ("type", "symbol", "seq", "token", "epoch", "eventId")
    assert [taken[name] for name in told] == ["taken", SYMBOL, 1, B, 2, "1-2"]
    assert last["eventId"] == "2-1" and taken["at"] <= last["at"]


# commit


async def test_a_commit_writes_all_its_parts(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    checkpoint = Checkpoint(5, b"candle", b"footprint", b"[[0]]", b'{"bad_id":1}')
    health = {"mode": "LIVE", "source": "test"}
    minutes = {0: (b"c0", b"f0"), MINUTE_MS: (b"c1", b"f1")}
    await store.commit(step(A, 0, 1, 2, checkpoint=checkpoint, minutes=minutes, events=[b"{x}", b"{y}"], health=health))

    found = await everything(client)
    expected = {
        b"seq": b"1",
        b"token": A.encode(),
        b"watermark_ms": b"5",
        b"candle": b"candle",
        b"footprint": b"footprint",
        b"coverage": b"[[0]]",
        b"refused": b'{"bad_id":1}',
        b"position": b"after 1",
        b"kept": b"2",
    }
    assert found[KEYS.state].items() >= expected.items()
    packed = codec.pack_trades(trades(1, 2))
    fields = {b"token": A.encode(), b"n": b"2", b"watermark_ms": b"5", b"trades": packed}
    assert found[KEYS.trades] == [(b"1-0", fields)]
    assert await score_members(client, KEYS.candles) == [(b"c0", 0), (b"c1", MINUTE_MS)]
    assert await score_members(client, KEYS.minutes(FOOTPRINTS)) == [(b"f0", 0), (b"f1", MINUTE_MS)]
    at_ms = int(await client.hget(KEYS.owner, "beat_ms") or 0)
    told = [b'{%s,"eventId":"1-%d","at":%d}' % (text, n, at_ms) for n, text in ((1, b"x"), (2, b"y"))]
    assert found[KEYS.events] == [(b"1-1", {b"event": told[0]}), (b"1-2", {b"event": told[1]})]
    assert said(found[KEYS.health]) == {b"mode": b"LIVE", b"source": b"test"}
    assert found[KEYS.owner][b"beats"] == b"2"


async def test_commits_count_up_and_are_one_entry_each_also_without_a_trade(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    await store.commit(step(A, 0, 1))
    await store.commit(step(A, 1))
    await store.commit(step(A, 2, 2, 3, events=[b"{x}"]))
    assert await stream_ids(client, KEYS.trades) == ["1-0", "2-0", "3-0"]
    assert await stream_ids(client, KEYS.events) == ["3-1"]


async def test_only_trades_count_as_an_update(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    await store.commit(step(A, 0))
    assert await client.hget(KEYS.state, "updated_ms") is None
    await store.commit(step(A, 1, 1))
    assert await client.hget(KEYS.state, "updated_ms")


@pytest.mark.parametrize("token", [B, "", "A" * 32])
async def test_a_commit_under_another_token_is_fenced_and_writes_nothing(
    client: Redis, store: SymbolStore, token: str
) -> None:
    await claim(store, A)
    await store.commit(step(A, 0, 1))
    before = await everything(client)
    with pytest.raises(Fenced):
        await store.commit(step(token, 1, 2))
    assert await everything(client) == before


async def test_a_commit_of_a_symbol_that_is_gone_is_fenced(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    await client.delete(*KEYS.all_keys())
    with pytest.raises(Fenced):
        await store.commit(step(A, 0, 1))
    assert await everything(client) == {}


@pytest.mark.parametrize("seq", [0, 1, 3, 20])
async def test_a_commit_that_stands_elsewhere_is_stale_and_writes_nothing(
    client: Redis, store: SymbolStore, seq: int
) -> None:
    await claim(store, A)
    await store.commit(step(A, 0, 1))
    await store.commit(step(A, 1, 2))
    before = await everything(client)
    with pytest.raises(Stale):
        await store.commit(step(A, seq, 3))
    assert await everything(client) == before


async def test_the_same_commit_again_is_refused(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    once = step(A, 0, 1, minutes={0: (b"c", b"f")}, events=[b"{x}"])
    await store.commit(once)
    before = await everything(client)
    with pytest.raises(Stale):
        await store.commit(once)
    assert await everything(client) == before


async def test_a_commit_whose_trades_are_refused_writes_nothing_else(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    await client.xadd(KEYS.trades, {"token": A, "n": "0"}, id="7-0")
    before = await everything(client)
    with pytest.raises(StoreUnavailable, match="XADD"):
        await store.commit(step(A, 0, 1, minutes={0: (b"c", b"f")}, events=[b"{x}"], health={"mode": "LIVE"}))
    assert await everything(client) == before


async def test_a_correction_replaces_the_minute(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    await store.commit(step(A, 0, 1, minutes={0: (b"c0", b"f0"), MINUTE_MS: (b"c1", b"f1")}))
    await store.commit(step(A, 1, 2, minutes={0: (b"c0 amended", b"f0 amended")}))
    assert await score_members(client, KEYS.candles) == [(b"c0 amended", 0), (b"c1", MINUTE_MS)]
    assert await score_members(client, KEYS.minutes(FOOTPRINTS)) == [(b"f0 amended", 0), (b"f1", MINUTE_MS)]


async def test_each_series_is_kept_from_its_own_floor_on(client: Redis, store: SymbolStore) -> None:
    minutes = {at * MINUTE_MS: (b"c%d" % at, b"f%d" % at) for at in range(4)}
    await claim(store, A)
    await store.commit(step(A, 0, 1, minutes=minutes, floors_ms={"candles": MINUTE_MS, "footprints": 3 * MINUTE_MS}))
    assert await score_members(client, KEYS.candles) == [(b"c%d" % at, at * MINUTE_MS) for at in (1, 2, 3)]
    assert await score_members(client, KEYS.minutes(FOOTPRINTS)) == [(b"f3", 3 * MINUTE_MS)]
    await store.commit(step(A, 1, 2))
    assert len(await score_members(client, KEYS.candles)) == 3


async def test_numbers_too_large_for_a_double_stay_exact(client: Redis, store: SymbolStore) -> None:
    """Lua 5.1 would write 1700000000000123 as 1.7000000000001e+15."""
    seq = (1 << 53) + 1
    await claim(store, A)
    await client.hset(KEYS.state, "seq", str(seq))
    great = Trades.of([Trade(MAX_TS_MS - 1, MAX_ID, 1, 1, BUY)])
    packed = codec.pack_trades(great)
    open_ms = 1_700_000_000_040_000
    await store.commit(
        step(A, seq, trades=packed, trade_count=1, minutes={open_ms: (b"c", b"f")}, events=[b"{x}"], position="9" * 30)
    )
    assert await stream_ids(client, KEYS.trades) == [f"{seq + 1}-0"]
    assert await stream_ids(client, KEYS.events) == [f"{seq + 1}-1"]
    assert await score_members(client, KEYS.candles) == [(b"c", open_ms)]
    await store.release(A)
    won = await claim(store, B)
    assert (won.seq, won.position) == (seq + 1, "9" * 30)
    assert await store.recent_trades(1) == great


# beat


async def test_a_beat_is_a_sign_of_life_and_no_step(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    await store.commit(step(A, 0, 1, health={"mode": "BACKFILLING", "source": "test"}))
    await store.beat(A, 1, {"mode": "LIVE"})
    found = await everything(client)
    assert found[KEYS.owner][b"beats"] == b"3"
    assert said(found[KEYS.health]) == {b"mode": b"LIVE", b"source": b"test"}
    await store.commit(step(A, 1, 2))


async def test_a_beat_under_another_token_is_fenced(store: SymbolStore) -> None:
    await claim(store, A)
    with pytest.raises(Fenced):
        await store.beat(B, 0, {"mode": "LIVE"})


async def test_a_beat_notices_a_store_that_went_back(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    before = await everything(client)
    with pytest.raises(Stale):
        await store.beat(A, 1, {"mode": "LIVE"})
    assert await everything(client) == before


# bounds


async def test_the_trade_stream_keeps_the_entries_that_hold_the_last_trades(client: Redis) -> None:
    store = SymbolStore(client, SYMBOL, StreamBounds(trades=5, events=10))
    await claim(store, A)
    for seq, batch in enumerate([(1, 2), (3, 4), (5, 6), (7,), (8,)]):
        await store.commit(step(A, seq, *batch))
    # The last five trades begin inside the entry of 3 and 4.
    assert ids(await store.recent_trades(5)) == [3, 4, 5, 6, 7, 8]
    assert await client.hget(KEYS.state, "kept") == b"6"


async def test_one_great_commit_is_kept_whole(client: Redis) -> None:
    store = SymbolStore(client, SYMBOL, StreamBounds(trades=5, events=10))
    await claim(store, A)
    await store.commit(step(A, 0, 1, 2))
    await store.commit(step(A, 1, *range(3, 30)))
    assert ids(await store.recent_trades(5)) == list(range(3, 30))


async def test_entries_without_trades_are_bounded_too(client: Redis) -> None:
    store = SymbolStore(client, SYMBOL, StreamBounds(trades=5, events=10))
    await claim(store, A)
    for seq in range(20):
        await store.commit(step(A, seq))
    assert await stream_ids(client, KEYS.trades) == [f"{seq}-0" for seq in range(16, 21)]


async def test_a_smaller_bound_is_reached_little_by_little(client: Redis) -> None:
    wide = SymbolStore(client, SYMBOL, StreamBounds(trades=1_000, events=10))
    await claim(wide, A)
    for seq in range(100):
        await wide.commit(step(A, seq, seq + 1))
    narrow = SymbolStore(client, SYMBOL, StreamBounds(trades=10, events=10))
    await narrow.commit(step(A, 100, 101))
    assert await client.xlen(KEYS.trades) == 101 - 64
    await narrow.commit(step(A, 101, 102))
    assert ids(await narrow.recent_trades(10)) == list(range(93, 103))
    assert await client.hget(KEYS.state, "kept") == b"10"


async def test_events_are_bounded(client: Redis) -> None:
    """Roughly: a stream is trimmed by whole nodes of 100 entries."""
    store = SymbolStore(client, SYMBOL, StreamBounds(trades=100, events=10))
    await claim(store, A)
    for seq in range(30):
        await store.commit(step(A, seq, events=[b"{x}"] * 20))
    assert 10 <= await client.xlen(KEYS.events) <= 10 + 100
    assert (await stream_ids(client, KEYS.events))[-1] == "30-20"


# what a worker reads


async def test_recent_trades_come_in_order_over_many_pages(store: SymbolStore) -> None:
    await claim(store, A)
    for seq in range(250):
        await store.commit(step(A, seq, 2 * seq + 1, 2 * seq + 2))
    assert (await store.recent_trades(500)) == trades(*range(1, 501))
    some = await store.recent_trades(150)
    assert some and len(some) >= 150
    assert some == trades(*range(501 - len(some), 501))


async def test_a_young_symbol_has_all_its_trades(store: SymbolStore) -> None:
    await claim(store, A)
    await store.commit(step(A, 0))
    await store.commit(step(A, 1, 1, 2))
    assert ids(await store.recent_trades(1_000)) == [1, 2]


async def test_recent_trades_that_were_cut_off_are_not_taken_for_all(client: Redis) -> None:
    store = SymbolStore(client, SYMBOL, StreamBounds(trades=5, events=10))
    await claim(store, A)
    for seq in range(10):
        await store.commit(step(A, seq, seq + 1))
    assert ids(await store.recent_trades(5)) == [6, 7, 8, 9, 10]
    assert await store.recent_trades(6) is None
    # Entries without trades push out those with some.
    for seq in range(10, 14):
        await store.commit(step(A, seq))
    assert await store.recent_trades(5) is None


def ids(found: Trades | None) -> list[int]:
    assert found is not None
    return found.ids


async def test_stored_minutes_are_read_by_their_opens(store: SymbolStore) -> None:
    minute = a_minute(MINUTE_MS)
    await claim(store, A)
    await store.commit(step(A, 0, 1, minutes={MINUTE_MS: pack_minute(minute)}))
    assert await store.minutes([0, MINUTE_MS, 2 * MINUTE_MS]) == {MINUTE_MS: minute}


async def test_a_minute_whose_footprint_is_dropped_keeps_its_candle(store: SymbolStore) -> None:
    minute = a_minute(0)
    await claim(store, A)
    await store.commit(step(A, 0, 1, minutes={0: pack_minute(minute)}, floors_ms={"footprints": MINUTE_MS}))
    assert await store.minutes([0]) == {0: Minute(minute.candle, Footprint())}


def a_minute(open_ms: int) -> Minute:
    run = Trades.of([Trade(open_ms + 1, 1, 100, 5, BUY)])
    return Minute(candle_of(open_ms, run, LIVE), Footprint({100: [5, 0, 0, 1, 0, 0]}))


# publication


async def test_messages_are_published_in_order_and_listeners_are_counted(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    assert await store.commit(step(A, 0, 1)) == 0
    async with client.pubsub() as pubsub:
        await pubsub.subscribe(KEYS.trades, KEYS.events)
        confirmed = [await pubsub.get_message(timeout=PATIENCE_S) for _ in range(2)]
        assert [message and message["type"] for message in confirmed] == ["subscribe"] * 2
        sent = [(KEYS.events, b"{first}"), (KEYS.trades, b"second"), (KEYS.commits, b"for nobody")]
        assert await store.commit(step(A, 1, 2, messages=sent, events=[b"{first}"])) == 1
        got = [await pubsub.get_message(timeout=PATIENCE_S) for _ in range(2)]
    first, second = (message and message["data"] for message in got)
    # An event is told as it is kept.
    assert second == b"second" and first == (await client.xrange(KEYS.events))[-1][1][b"event"]  # type: ignore[index]
    assert first.startswith(b'{first,"eventId":"2-1","at":')


async def test_a_refused_commit_publishes_nothing(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    async with client.pubsub() as pubsub:
        await pubsub.subscribe(KEYS.events)
        assert await pubsub.get_message(timeout=PATIENCE_S)
        with pytest.raises(Stale):
            await store.commit(step(A, 5, 1, messages=[(KEYS.events, b"{never}")], events=[b"{never}"]))
        await store.commit(step(A, 0, 1, messages=[(KEYS.events, b"{once}")], events=[b"{once}"]))
        found = await pubsub.get_message(timeout=PATIENCE_S)
    assert found and found["data"].startswith(b"{once,")


# the store forgets its scripts


async def test_a_store_that_has_lost_its_scripts_is_given_them_again(client: Redis, store: SymbolStore) -> None:
    await claim(store, A)
    await store.commit(step(A, 0, 1))
    await client.script_flush()
    await store.commit(step(A, 1, 2))
    await client.script_flush()
    await store.beat(A, 2, {})
    assert await stream_ids(client, KEYS.trades) == ["1-0", "2-0"]
