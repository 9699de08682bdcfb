"""The inbox: trades that anybody pushes, each applied once."""

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
from redis.asyncio import Redis

from common.clock import JudgedClock
from common.errors import OperatorError
from common.market.builder.coverage import DUPLICATE
from common.market.builder.validity import BAD_ID, BAD_TIME, TOO_FINE
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.trade import BUY, SELL, UNKNOWN, Trade
from common.store import script
from common.store.commit import StreamBounds
from common.store.keys import SymbolKeys
from common.store.lease import NOTHING_SEEN
from common.store.registry import Market
from common.store.stream_reader import OwnReader
from common.store.symbol import Claim, SymbolStore
from tests.kit.clocks import FakeClock
from tests.kit.fakes import NOTHING_APPLIED, SETTINGS
from tests.kit.store.steps import step
from workers.sources import inbox
from workers.sources.base import Batch
from workers.sources.inbox import Inbox
from workers.sources.inbox_fields import BAD_FIELDS, MAX_TEXT_ID
from workers.symbol.term import Term

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
    return Inbox.of(market, client, partial(OwnReader, client), clock or FakeClock())


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


async def test_a_text_id_that_was_seen_is_the_number_of_the_first_one(client: Redis) -> None:
    """So the builder sees that it comes again."""
    batch = await read(client, OURS | {"id": "abc"}, OURS | {"id": "abd"}, OURS | {"id": "abc"})
    first, other, again = batch.trades.ids
    assert first == again != other and not batch.refused


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
    numbers = batch.trades.ids
    assert len(set(numbers)) == 5 and numbers[3] == numbers[5] and not batch.refused


# what is no trade


@pytest.mark.parametrize(
    "broken",
    [
        {"ts_ms": "yesterday"},
        {"ts_ms": "1.5"},
        {"price": "cheap"},
        {"price": "1e400"},
        {"size": "nan"},
        {"size": ""},
        {"side": b"\xff\xfe"},
    ],
)
async def test_an_entry_that_is_no_trade_is_counted_and_passed_over(client: Redis, broken: dict[str, Any]) -> None:
    batch = await read(client, OURS | broken, OURS | {"id": "43"})
    assert (batch.trades.ids, batch.refused) == ([43], {BAD_FIELDS: 1})


@pytest.mark.parametrize("fine", [{"price": "100.255"}, {"size": "0.0005"}, {"price": "100255e-3"}])
async def test_a_number_with_more_decimals_than_the_symbol_has_its_own_reason(
    client: Redis, fine: dict[str, str]
) -> None:
    batch = await read(client, OURS | fine, OURS | {"id": "43", "price": "100.250"})
    assert (batch.trades.ids, batch.refused) == ([43], {TOO_FINE: 1})


@pytest.mark.parametrize(
    "ts_ms",
    ["0", "1", "-1700000000000", "+1700000000000", "1700000000", "631151999999", "17000000000000000", "9" * 5_000],
)
async def test_a_time_before_1990_or_of_too_many_digits_is_none(client: Redis, ts_ms: str) -> None:
    """A 0, seconds for ms: coverage would begin in 1970."""
    batch = await read(client, OURS | {"ts_ms": ts_ms}, OURS | {"id": "43"})
    assert (batch.trades.ids, batch.refused) == ([43], {BAD_TIME: 1})


@pytest.mark.parametrize("timestamp", ["0", "1", "-1699999999.123", "1e-3", "631151999.999", "1e14"])
async def test_seconds_before_1990_or_of_no_usual_size_are_no_time(client: Redis, timestamp: str) -> None:
    batch = await read(client, CRYPTOFEED | {"timestamp": timestamp}, CRYPTOFEED)
    assert (batch.trades.ids, batch.refused) == ([42], {BAD_TIME: 1})


@pytest.mark.parametrize("digits", ["١٧٠٠٠٠٠٠٠٠٠٠٠", "1_700_000_000_000", "1700000000000 ", "１７００００００００００"])
@pytest.mark.parametrize("name", ["ts_ms", "timestamp", "price", "size", "amount"])
async def test_digits_of_other_scripts_underscores_and_blanks_are_no_number(
    client: Redis, digits: str, name: str
) -> None:
    entry = OURS if name in OURS else CRYPTOFEED
    batch = await read(client, entry | {name: digits}, OURS | {"id": "43"})
    assert (batch.trades.ids, batch.refused) == ([43], {BAD_FIELDS: 1})


@pytest.mark.parametrize(
    ("price", "ticks"),
    [("+1.5", 150), ("1.5e0", 150), ("+15E-1", 150), ("0.015e+2", 150), ("150.", 15_000), (".5", 50)],
)
async def test_a_number_may_have_a_sign_and_an_exponent(client: Redis, price: str, ticks: int) -> None:
    batch = await read(client, OURS | {"price": price})
    assert (batch.trades.price_ticks, batch.refused) == ([ticks], {})


async def test_where_ids_are_contiguous_a_trade_without_one_is_refused(client: Redis) -> None:
    """Its place in the stream would open a hole of 10^18 ids."""
    entries = [OURS | {"id": text} for text in ("", "None", "abc", "١٢", "9" * 20, "7")]
    await push(client, *entries, {name: value for name, value in OURS.items() if name != "id"})
    reader = replace(source(client), instrument=replace(INSTRUMENT, ids="contiguous"))
    await reader.open("", NOTHING_APPLIED)
    batch = await reader.read(100, 10)
    assert (batch.trades.ids, batch.refused) == ([7], {BAD_ID: 6})


async def test_a_text_id_is_bounded(client: Redis) -> None:
    longest = "a" * MAX_TEXT_ID
    batch = await read(client, OURS | {"id": longest}, OURS | {"id": longest + "a"})
    assert (len(batch.trades), batch.refused, batch.text_ids) == (1, {BAD_ID: 1}, [longest])


async def test_an_entry_that_was_no_trade_may_be_pushed_again_as_one(client: Redis) -> None:
    batch = await read(client, OURS | {"id": "abc", "price": "cheap"}, OURS | {"id": "abc"})
    assert (len(batch.trades), batch.refused) == (1, {BAD_FIELDS: 1})


@pytest.mark.parametrize("timestamp", ["inf", "-inf", "nan", "1e999", "soon", ""])
async def test_a_time_that_is_no_time_is_counted_and_passed_over(client: Redis, timestamp: str) -> None:
    batch = await read(client, CRYPTOFEED | {"timestamp": timestamp}, CRYPTOFEED)
    assert (batch.trades.ids, batch.refused) == ([42], {BAD_FIELDS: 1})


@pytest.mark.parametrize("field", ["ts_ms", "price", "size"])
async def test_a_missing_field_is_counted(client: Redis, field: str) -> None:
    batch = await read(client, {name: value for name, value in OURS.items() if name != field})
    assert (len(batch.trades), batch.refused) == (0, {BAD_FIELDS: 1})


async def test_numbers_beyond_all_bounds_come_through_to_be_refused_by_their_reason(client: Redis) -> None:
    batch = await read(client, OURS | {"price": "-1", "id": "9" * 19, "ts_ms": "9" * 16})
    assert list(batch.trades.rows()) == [Trade(int("9" * 16), int("9" * 19), -100, 500, SELL)]


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
    store = SymbolStore(client, "TEST:A", StreamBounds(100_000, 1_000))
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


# what is remembered between two holders


@dataclass
class Terms:
    """Terms of a worker over the inbox, one after the other, through claim and commit."""

    client: Redis
    clock: FakeClock = field(default_factory=FakeClock)
    instrument: Instrument = INSTRUMENT
    count: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    async def run(self, last: str, reads: int = 1_000) -> None:
        """Until the entry `last` is committed, or so many reads."""
        store, self.count = SymbolStore(self.client, "TEST:A", StreamBounds(100_000, 1_000)), self.count + 1
        token = f"{self.count:032}"
        claim = await store.claim(token, NOTHING_SEEN, "tests")
        assert isinstance(claim, Claim)
        reader = replace(source(self.client, self.clock), instrument=self.instrument)
        looks = count(1)
        term = Term(
            self.instrument,
            store,
            reader,
            JudgedClock(self.clock),
            replace(SETTINGS, batch_trades=5, lease_ttl_ms=60),
            token,
            lambda: reader._position == last or next(looks) > reads,
        )
        await term.serve(claim)
        self.clock.advance(inbox.TRIM_EVERY_MS)
        self.refused = term.progress.refused


def texts(first: int, end: int) -> list[dict[str, str]]:
    return [OURS | {"id": f"text-{number}"} for number in range(first, end)]


async def test_text_ids_are_known_though_their_entries_are_gone(client: Redis) -> None:
    terms = Terms(client)
    await terms.run((await push(client, *texts(0, 20)))[-1])
    await client.xtrim(STREAM, maxlen=0, approximate=False)
    await terms.run((await push(client, *texts(10, 30)))[-1])
    assert terms.refused == {DUPLICATE: 10}
    found: Any = await client.zrange(SymbolKeys("TEST:A").text_ids, 0, -1)
    # The last one pushed is the last to be forgotten, also one that was known already.
    assert found == [f"text-{number}".encode() for number in range(30)]


async def test_of_text_ids_the_last_ones_are_kept(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, store = SymbolKeys("TEST:A"), SymbolStore(client, "TEST:A", StreamBounds(100_000, 1_000))
    await store.claim("a" * 32, NOTHING_SEEN, "tests")
    many = [f"text-{number}" for number in range(10_003)]
    await store.commit(step("a" * 32, 0, text_ids=many[:6_000]))
    await store.commit(step("a" * 32, 1, text_ids=many[6_000:]))
    found: Any = await client.zrange(keys.text_ids, 0, -1)
    assert found == [text.encode() for text in many[3:]]


async def test_after_a_release_that_does_not_know_of_them_text_ids_are_read_from_the_stream(client: Redis) -> None:
    terms = Terms(client)
    await terms.run((await push(client, *texts(0, 20)))[-1])
    # It commits its position, and nothing of the ids between the two.
    between = (await push(client, *texts(20, 40)))[-1]
    await client.hset(SymbolKeys("TEST:A").state, "position", between)
    await terms.run((await push(client, *texts(30, 50)))[-1])
    assert terms.refused == {DUPLICATE: 10}
    # They are in the store again, before what was read now.
    await client.xtrim(STREAM, maxlen=0, approximate=False)
    await terms.run((await push(client, *texts(15, 25), *texts(49, 51)))[-1])
    assert terms.refused == {DUPLICATE: 10 + 10 + 1}


async def test_the_stream_is_trimmed_also_by_workers_that_live_for_a_short_time(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "KEPT_BEHIND", 200)
    terms, longest = Terms(client), 0
    for round_ in range(30):
        ids = range(round_ * 50, round_ * 50 + 50)
        await terms.run((await push(client, *(OURS | {"id": str(number)} for number in ids)))[-1])
        longest = max(longest, await client.xlen(STREAM))
        if round_ >= 8:
            assert await client.xlen(STREAM) >= 200
    # Twice what is left behind, what came since, and a node of the stream.
    assert longest <= 2 * 200 + 50 + 100


# entries of any size


class Sizes(Redis):
    """Notes how many bytes each answer has."""

    seen: ClassVar[list[int]] = []

    async def execute_command(self, *arguments: Any, **options: Any) -> Any:
        found = await super().execute_command(*arguments, **options)  # type: ignore[no-untyped-call]
        if arguments[0] in ("XREAD", "XREVRANGE") and found:
            Sizes.seen.append(len(repr(found)))
        return found


@pytest.mark.parametrize(
    "sizes",
    [[100] * 400, [20_000] * 60, [100_000] * 5, [100] * 200 + [20_000] * 30 + [100] * 200, [200_000, 1, 200_000]],
    ids=["small", "big", "each too big", "mixed", "giants"],
)
async def test_a_read_takes_no_more_bytes_than_it_may_and_no_entry_is_passed_over(
    redis_url: str, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "MAX_READ_BYTES", 80_000)
    monkeypatch.setattr(Sizes, "seen", [])
    async with Sizes.from_url(redis_url) as noting:
        entries = [OURS | {"id": str(at), "junk": "x" * size} for at, size in enumerate(sizes)]
        await push(noting, *entries)
        reader = source(noting)
        await reader.open("", NOTHING_APPLIED)
        reader._appetite.mean_bytes = 80_000 / 4
        read = list[int]()
        while len(read) < len(entries):
            batch = await reader.read(1_000, 10)
            assert batch.trades.ids, "an entry is read, however big it is"
            read += batch.trades.ids
        assert read == list(range(len(entries)))
        assert not (await reader.read(1_000, 10)).backlog
    # What is asked for is guessed by what came before: a change of size costs one answer that is too big.
    assert sum(size > 2 * max(80_000, *sizes) for size in Sizes.seen) <= 2


async def test_big_entries_do_not_keep_anybody_from_starting(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were read whole at each start, 10,000 of them: a command of seconds, and the lease was lost over it."""
    monkeypatch.setattr(inbox, "MAX_READ_BYTES", 1 << 20)
    monkeypatch.setattr(Sizes, "seen", [])
    async with Sizes.from_url(redis_url) as noting:
        entries = [OURS | {"id": f"text-{at}", "junk": "x" * 100_000} for at in range(200)]
        last = (await push(noting, *entries))[-1]
        terms = Terms(noting)
        for _ in range(5):
            await terms.run(last, reads=3)
        await terms.run(last)
        # Also where another release was in between.
        await noting.hdel(SymbolKeys("TEST:A").state, "source_note")
        await push(noting, *texts(0, 50))
        await terms.run("", reads=20)
        assert terms.refused == {DUPLICATE: 50}
    assert max(Sizes.seen) <= 2 << 20


def test_ids_of_the_store_and_of_the_source_are_as_many() -> None:
    text = (Path(script.__file__).parent / "scripts" / "commit.lua").read_text()
    assert f"MAX_TEXT_IDS = 16, 86400000, 20000, 10, {inbox.KEPT_BEHIND}\n" in text
