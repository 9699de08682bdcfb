"""What readers see: one look is one moment of the store."""

from dataclasses import replace

import anyio
import pytest
from redis.asyncio import Redis

from common.market.builder.builder import Checkpoint
from common.market.builder.gaps import Gap
from common.series import FOOTPRINTS, MINUTE_SERIES
from common.store.commit import StreamBounds
from common.store.parts import Entries, Minutes, Range
from common.store.reads import SymbolOwner, SymbolReader
from common.store.state import AMENDED_KEPT, Amendment
from common.store.symbol import SymbolStore
from tests.kit.store.steps import MINUTE_MS, SYMBOL, claim, step

A = "a" * 32
ALL = Range(0, 1 << 50)
LEVELS = replace(ALL, series=FOOTPRINTS)


def minute(at: int) -> dict[int, tuple[bytes, bytes]]:
    return {at * MINUTE_MS: (b"c%d" % at, b"f%d" % at)}


@pytest.fixture
async def five_minutes(store: SymbolStore) -> None:
    await claim(store, A)
    for at in range(5):
        await store.commit(step(A, at, at + 1, minutes=minute(at)))


async def test_a_symbol_nobody_has_written_is_empty(reader: SymbolReader) -> None:
    view = await reader.view(Minutes(ALL, LEVELS), Entries(0))
    assert view.state is None
    assert view.owner == SymbolOwner("", "", 0, 0)
    assert (view.minutes, view.stream.entries, view.stream.first) == ([[], []], [], None)


async def test_the_state_is_that_of_the_last_commit(store: SymbolStore, reader: SymbolReader) -> None:
    await claim(store, A)
    checkpoint = Checkpoint(77, b"\x00candle", b"\xfffootprint", b"[[0],[1,9,10,90]]", b'{"duplicate":3}')
    health = {"mode": "LIVE", "source": "test"}
    await store.commit(step(A, 0, 1, position="here", checkpoint=checkpoint, health=health))
    view = await reader.view(Minutes(LEVELS))
    assert view.state
    assert (view.state.seq, view.state.token, view.state.position) == (1, A, "here")
    assert view.state.watermark_ms == 77
    assert view.state.open == {"candles": b"\x00candle", "footprints": b"\xfffootprint"}
    assert view.state.refused == {"duplicate": 3}
    assert [span.last for span in view.state.coverage("contiguous").spans()] == [9]
    assert view.state.cursor == f"1-{A}"
    # With since when it is so, by the store's clock.
    assert view.health == health | {"since_ms": view.health["since_ms"]}
    assert (view.owner.token, view.owner.holder, view.owner.epoch) == (A, "tests:1", 1)


async def test_times_are_of_the_servers_clock(store: SymbolStore, reader: SymbolReader) -> None:
    await claim(store, A)
    await store.commit(step(A, 0, 1))
    view = await reader.view()
    assert view.state
    assert 0 <= view.server_ms - view.state.updated_ms < 10_000
    assert view.state.updated_ms == view.owner.beat_ms


@pytest.mark.usefixtures("five_minutes")
@pytest.mark.parametrize(
    ("wanted", "opens"),
    [
        (ALL, [0, 1, 2, 3, 4]),
        (Range(MINUTE_MS, 3 * MINUTE_MS), [1, 2]),
        (Range(1, MINUTE_MS), []),
        (Range(0, 1 << 50, newest=2), [3, 4]),
        (Range(0, 4 * MINUTE_MS, newest=2), [2, 3]),
        (Range(0, 1 << 50, newest=99), [0, 1, 2, 3, 4]),
        (Range(MINUTE_MS, 1 << 50, oldest=2), [1, 2]),
        (Range(3 * MINUTE_MS, MINUTE_MS), []),
    ],
)
async def test_a_range_is_right_open_ascending_and_counted_from_its_end(
    reader: SymbolReader, wanted: Range, opens: list[int]
) -> None:
    view = await reader.view(Minutes(wanted, replace(wanted, series=FOOTPRINTS)))
    assert view.minutes == [[b"c%d" % at for at in opens], [b"f%d" % at for at in opens]]


@pytest.mark.usefixtures("five_minutes")
async def test_several_ranges_are_read_at_once(reader: SymbolReader) -> None:
    view = await reader.view(Minutes(Range(0, MINUTE_MS), ALL))
    assert [len(candles) for candles in view.minutes] == [1, 5]


@pytest.mark.usefixtures("five_minutes")
async def test_entries_since_a_commit_include_it(reader: SymbolReader) -> None:
    view = await reader.view(Entries(4))
    assert [entry.seq for entry in view.stream.entries] == [4, 5]
    assert view.stream.first and view.stream.first.seq == 1
    assert [entry.seq for entry in await reader.entries(after_seq=2, count=2)] == [3, 4]


@pytest.mark.usefixtures("five_minutes")
async def test_entries_back_begin_with_the_commit_asked_for_and_name_the_oldest(
    client: Redis, reader: SymbolReader
) -> None:
    for asked, seqs in (((4, 3), [4, 3, 2]), ((2, 9), [2, 1]), ((99, 1), [5])):
        entries, oldest = await reader.entries_back(*asked)
        assert [entry.seq for entry in entries] == seqs
        assert oldest and (oldest.seq, oldest.token) == (1, A)
    await client.xtrim(reader.keys.trades, maxlen=2, approximate=False)
    entries, oldest = await reader.entries_back(3, 9)
    assert entries == [] and oldest and oldest.seq == 4
    await client.delete(reader.keys.trades)
    assert await reader.entries_back(3, 9) == ([], None)


async def test_gaps_are_those_of_the_last_commit(store: SymbolStore, reader: SymbolReader) -> None:
    assert (await reader.gaps()).gaps == {}
    await claim(store, A)
    gap = Gap(3, 5, 10, 20, "disconnect", 30, missing=3)
    await store.commit(step(A, 0, 1, gaps={gap.id: gap.dump()}))
    assert (await reader.gaps()).gaps == {"3-5": gap}
    await store.commit(step(A, 1, 2, forgotten=[gap.id]))
    assert (await reader.gaps()).gaps == {}


async def test_a_view_is_one_moment_of_a_store_that_is_being_written(client: Redis, reader: SymbolReader) -> None:
    store = SymbolStore(client, SYMBOL, StreamBounds(1_000, 1_000))
    await claim(store, A)
    commits = 150

    async def write() -> None:
        for at in range(commits):
            await store.commit(step(A, at, at + 1, minutes=minute(at)))

    looks = 0
    async with anyio.create_task_group() as group:
        group.start_soon(write)
        seq = 0
        while seq < commits:
            view = await reader.view(Minutes(ALL, Range(0, 1 << 50, newest=1), LEVELS), Entries(0))
            seq = view.state.seq if view.state else 0
            assert len(view.minutes[0]) == len(view.minutes[2]) == len(view.stream.entries) == seq
            assert view.owner.token == A
            if seq:
                assert view.minutes[1] == [b"c%d" % (seq - 1)]
                assert view.state and view.state.position == f"after {seq}"
            looks += 1
    assert looks > 10


async def test_amendments_are_told_by_the_span_of_minutes_they_changed(
    store: SymbolStore, reader: SymbolReader
) -> None:
    await claim(store, A)
    await store.commit(step(A, 0, 1, minutes=minute(0) | minute(1), checkpoint=at_minute(3)))
    assert await amended(reader) == ()
    await store.commit(step(A, 1, 2, minutes=minute(2), checkpoint=at_minute(3)))
    await store.commit(step(A, 2, 3, minutes=minute(3) | minute(1) | minute(0), checkpoint=at_minute(4)))
    assert await amended(reader) == (Amendment(3, 0, MINUTE_MS), Amendment(2, 2 * MINUTE_MS, 2 * MINUTE_MS))


async def test_the_last_amendments_are_kept(store: SymbolStore, reader: SymbolReader) -> None:
    await claim(store, A)
    for seq in range(40):
        await store.commit(step(A, seq, seq + 1, minutes=minute(0), checkpoint=at_minute(3)))
    assert [found.seq for found in await amended(reader)] == list(range(40, 40 - AMENDED_KEPT, -1))


@pytest.mark.parametrize(
    ("before", "after", "reshaped"),
    [
        (b"[[0],[1,5,10,50]]", b"[[0],[1,9,10,90]]", False),
        (b"[[0],[1,5,10,50],[8,9,80,90]]", b"[[0],[1,5,10,50],[8,12,80,99]]", False),
        (b"[[0],[1,5,10,50]]", b"[[0],[1,5,10,50],[8,9,80,90]]", True),
        (b"[[0],[1,5,10,50],[8,9,80,90]]", b"[[0],[1,9,10,90]]", True),
        (b"[[0],[3,5,30,50]]", b"[[0],[1,5,10,50]]", True),
        (b"[[50000,-1,10,50]]", b"[[50000,-1,10,90]]", False),
        (b"[[50000,-1,10,50]]", b"[[50000,-1,5,90]]", True),
    ],
)
async def test_coverage_that_changed_otherwise_than_by_growing_is_told(
    store: SymbolStore, reader: SymbolReader, before: bytes, after: bytes, reshaped: bool
) -> None:
    await claim(store, A)
    await store.commit(step(A, 0, 1, checkpoint=Checkpoint(1, b"", b"", before, b"{}")))
    await store.commit(step(A, 1, 2, checkpoint=Checkpoint(1, b"", b"", after, b"{}")))
    state = (await reader.view()).state
    assert state and state.reshaped_seq == (2 if reshaped else 0)


async def test_floors_only_rise(store: SymbolStore, reader: SymbolReader) -> None:
    await claim(store, A)
    for seq, floor_ms in enumerate([None, 5, 3, 9]):
        floors_ms = {} if floor_ms is None else dict.fromkeys(MINUTE_SERIES, floor_ms)
        await store.commit(step(A, seq, floors_ms=floors_ms))
        state = (await reader.view()).state
        assert state and state.candle_floor_ms == state.floor_ms(FOOTPRINTS) == [-1, 5, 5, 9][seq]


def at_minute(minutes: int) -> Checkpoint:
    return Checkpoint(minutes * MINUTE_MS, b"", b"", b"[[0]]", b"{}")


async def amended(reader: SymbolReader) -> tuple[Amendment, ...]:
    state = (await reader.view()).state
    assert state
    return state.amended
