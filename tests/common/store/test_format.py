"""The store's format: who may write what, and what an earlier or a later release has left."""

from typing import Any

import pytest
from redis.asyncio import Redis

from common.errors import NewerFormat, OperatorError
from common.market.instrument import Instrument
from common.series import CANDLES
from common.store import format
from common.store.commit import StreamBounds
from common.store.format import FORMAT, known, store_format, symbols_by_format, written
from common.store.keys import FORMAT_KEY, PROCESSES, SYMBOLS, SYMBOLS_VERSION, SymbolKeys
from common.store.lease import NOTHING_SEEN
from common.store.messages import WHOLE, CommitMessage
from common.store.months import RolledMonths
from common.store.parts import Seals
from common.store.presence import WORKER, Process
from common.store.reads import SymbolReader
from common.store.registry import Market, Registry
from common.store.symbol import Claim, SymbolStore
from common.store.upgrading import upgrade
from tests.kit.store.recorded import CONTIGUOUS, UNIQUE, restore
from tests.kit.store.steps import SYMBOL, claim, everything, step

pytestmark = pytest.mark.anyio

MARKET = Market(Instrument(SYMBOL, 2, 3), {"kind": "inbox"})
LEASE_MS = 300


async def test_a_store_that_is_new_is_in_the_newest_format(client: Redis) -> None:
    await Registry(client).add_symbol(MARKET)
    assert await store_format(client) == FORMAT


async def test_a_store_that_says_nothing_is_in_the_first_format_and_stays_so(client: Redis) -> None:
    await restore(client, 1)
    await Registry(client).add_symbol(MARKET)
    assert await store_format(client) == 1
    assert await symbols_by_format(client) == {1: 2}


async def test_an_upgrade_raises_it_and_lets_workers_know(client: Redis) -> None:
    await restore(client, 1)
    before: Any = await client.get(SYMBOLS_VERSION)
    assert await upgrade(client, LEASE_MS) == 1
    assert await store_format(client) == FORMAT
    assert before != await client.get(SYMBOLS_VERSION)
    assert await upgrade(client, LEASE_MS) == FORMAT


async def test_it_is_not_raised_while_a_process_says_that_it_knows_an_older_format(client: Redis) -> None:
    await restore(client, 1)
    await client.zadd(PROCESSES, {Process("old:1", WORKER, 1, 1, "0.0.9", 1).member(): 1 << 50})
    with pytest.raises(OperatorError, match=r"stays in format 1.*: worker old:1 \(format 1\); replace them first"):
        await upgrade(client, LEASE_MS)
    assert await store_format(client) == 1


async def test_it_is_not_raised_while_a_holder_beats_that_says_nothing_of_itself(client: Redis) -> None:
    await restore(client, 1)
    owner = SymbolKeys(UNIQUE).owner
    # It stands still: a process that is dead.
    await client.hset(owner, mapping={"token": "t", "beats": "5", "holder": "old:7"})
    looks = 0

    async def beat_on_the_second_look(*arguments: Any, **options: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks == 2:
            await client.hincrby(owner, "beats", 1)
        return await hkeys(*arguments, **options)

    hkeys = client.hkeys
    client.hkeys = beat_on_the_second_look  # type: ignore[method-assign]
    with pytest.raises(OperatorError, match=r"run: worker old:7; replace"):
        await upgrade(client, LEASE_MS)
    assert await upgrade(client, LEASE_MS) == 1


async def test_a_store_of_a_later_release_is_refused_by_a_sentence_with_both_numbers(client: Redis) -> None:
    await client.set(FORMAT_KEY, FORMAT + 1)
    sentence = f"the store is in format {FORMAT + 1}, and this release knows none above {FORMAT}: use a newer release"
    for refused in (store_format(client), upgrade(client, LEASE_MS)):
        with pytest.raises(NewerFormat) as error:
            await refused
        assert str(error.value) == sentence


async def test_a_symbol_of_a_later_release_is_neither_claimed_nor_read(client: Redis, store: SymbolStore) -> None:
    token = "a" * 32
    await claim(store, token)
    await store.commit(step(token, 0, 1))
    await store.release(token)
    await client.hset(store.keys.state, "format", FORMAT + 1)
    before = await everything(client)
    for refused in (store.claim("b" * 32, NOTHING_SEEN, "tests:2"), SymbolReader(client, SYMBOL).view()):
        with pytest.raises(NewerFormat, match=f"{SYMBOL} is in format {FORMAT + 1}, .* none above {FORMAT}"):
            await refused
    assert await everything(client) == before


@pytest.mark.parametrize(
    ("symbol", "allowed", "expected"), [(1, 1, 1), (1, 2, 2), (2, 1, 2), (2, 2, 2), (1, 9, FORMAT)]
)
def test_a_symbol_is_written_as_far_as_the_store_allows_and_never_brought_back(
    symbol: int, allowed: int, expected: int
) -> None:
    assert written(symbol, allowed) == expected


def test_every_format_up_to_the_newest_is_known() -> None:
    assert [known(each, "x") for each in range(1, FORMAT + 1)] == list(range(1, FORMAT + 1))


async def test_what_the_first_format_holds_is_read_as_it_was_written(client: Redis) -> None:
    messages = await restore(client, 1)
    state = (await SymbolReader(client, CONTIGUOUS).view()).state
    assert state
    coverage = state.coverage("contiguous")
    assert [span[:2] for span in coverage.spans()] == [(1, 20), (22, 39), (41, 41), (50, 60)]
    ledger = await SymbolReader(client, CONTIGUOUS).gaps()
    assert [(gap.id, gap.missing) for gap in ledger.gaps.values()] == [("21-23", 1), ("40-40", 1), ("42-49", 8)]
    found = await SymbolStore(client, CONTIGUOUS, StreamBounds(100, 100)).claim("a" * 32, NOTHING_SEEN, "tests:1")
    assert isinstance(found, Claim) and found.checkpoint and found.format == 1
    assert found.checkpoint.coverage == state.coverage_json and not found.checkpoint.is_chunked
    message = CommitMessage.unpack(messages[SymbolKeys(CONTIGUOUS).commits])
    assert (message.version, message.seq, message.token) == (WHOLE, state.seq, state.token)
    assert message.coverage_json == state.coverage_json and message.pack() == messages[SymbolKeys(CONTIGUOUS).commits]
    unique = (await SymbolReader(client, UNIQUE).view()).state
    assert unique and unique.coverage("unique").oldest() == unique.coverage("unique").newest() is not None


async def test_what_the_second_format_holds_is_read_as_it_was_written(client: Redis) -> None:
    messages = await restore(client, 2)
    assert await store_format(client) == 2 and await symbols_by_format(client) == {2: 2}
    view = await SymbolReader(client, CONTIGUOUS).view(Seals(0), RolledMonths(0))
    assert view.state and [seal.count(CANDLES) for seal in view.seals] == [29, 25, 30] and view.months == []
    spans = view.state.coverage("contiguous").spans()
    assert [span[:2] for span in spans] == [(1, 20), (22, 41), (46, 120)]
    found = await SymbolStore(client, CONTIGUOUS, StreamBounds(100, 100)).claim("a" * 32, NOTHING_SEEN, "tests:1")
    assert isinstance(found, Claim) and found.format == 2
    message = CommitMessage.unpack(messages[SymbolKeys(CONTIGUOUS).commits])
    assert message.seq == view.state.seq and message.coverage_json == view.state.coverage_json


async def test_a_format_is_begun_by_the_first_symbol_alone(client: Redis) -> None:
    await client.hset(SYMBOLS, "X", "{}")
    await format.begin(client)
    assert await client.get(FORMAT_KEY) is None
    await client.delete(SYMBOLS)
    await client.set(FORMAT_KEY, 1)
    await format.begin(client)
    assert await client.get(FORMAT_KEY) == b"1"
