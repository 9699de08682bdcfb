"""One term: read, step, commit, renew, until it is stopped, ends or fails."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from common.errors import Fenced, Stale, StoreUnavailable
from common.market.builder.builder import candle_of, unpack_minute
from common.market.builder.gaps import DISCONNECT, ID_JUMP, REPAIRED, REPAIRING, START, UNFILLABLE
from common.market.builder.spans import Hole, IdSpan
from common.market.builder.validity import BELOW_FLOOR
from common.market.candle import BACKFILL, LIVE
from common.market.coding.codec import unpack_candle
from common.market.instrument import Instrument
from common.market.trade import Trades
from common.store.commit import StreamBounds
from tests.kit.fakes import MINUTE_MS, SETTINGS, START_MS, Bench, trades
from tests.kit.store.model import StoreModel
from workers.sources.base import Batch
from workers.symbol.heartbeat import BEATS_PER_LEASE
from workers.symbol.term import MAX_WAIT_MS


@pytest.fixture
def bench() -> Bench:
    return Bench()


def pauses(times: list[int]) -> list[int]:
    return [after - before for before, after in zip(times, times[1:], strict=False)]


# pace


async def test_trades_that_come_one_by_one_share_commits(bench: Bench) -> None:
    """A read a millisecond, a commit every ten."""

    def arriving() -> Batch:
        bench.clock.advance(1)
        after_ms = bench.clock.monotonic_ms()
        return Batch(trades((after_ms, after_ms)), str(after_ms))

    await bench.serve(*[arriving] * 30)
    assert min(pauses(bench.store.times("commit"))) >= SETTINGS.commit_interval_ms


async def test_the_first_commit_does_not_wait(bench: Bench) -> None:
    await bench.serve(Batch(trades((1, 0)), "1"))
    assert bench.store.times("commit") == [0]


async def test_full_batches_follow_one_another_at_once(bench: Bench) -> None:
    full = [Batch(trades(*((4 * at + i, at) for i in range(4))), str(at), backlog=True) for at in range(10)]
    await bench.serve(*full)
    assert bench.store.times("commit") == [0] * 10


async def test_a_step_that_changes_nothing_is_not_committed(bench: Bench) -> None:
    await bench.serve(Batch(trades((1, 0)), "1"), Batch(Trades(), "1"), Batch(Trades(), "1"))
    assert len(bench.store.commits) == 1


async def test_a_position_that_moved_is_committed_also_without_trades(bench: Bench) -> None:
    await bench.serve(Batch(trades((1, 0)), "1"), Batch(trades((1, 0)), "2"))
    assert [commit.position for commit in bench.store.commits] == ["1", "2"]
    assert bench.store.commits[1].trade_count == 0
    assert json.loads(bench.store.commits[1].checkpoint.refused) == {"duplicate": 1}


async def test_the_source_is_told_what_is_safe(bench: Bench) -> None:
    await bench.serve(Batch(trades((1, 0)), "1"), Batch(Trades(), "1"), Batch(trades((2, 0)), "2"))
    assert bench.source.committed_positions == ["1", "2"]


# signs of life


@pytest.mark.parametrize("lease_ms", [600, 6_000])
async def test_an_idle_holder_gives_signs_of_life_six_times_a_lease(lease_ms: int) -> None:
    bench = Bench(settings=replace(SETTINGS, lease_ttl_ms=lease_ms))
    await bench.serve(*[bench.idle()] * 60)
    beats = bench.store.times("beat")
    assert len(beats) > 50
    assert max(pauses(beats)) <= lease_ms // BEATS_PER_LEASE


async def test_a_commit_is_a_sign_of_life(bench: Bench) -> None:
    def one(number: int) -> Callable[[], Batch]:
        def read() -> Batch:
            bench.clock.advance(500)
            return Batch(trades((number, 0)), str(number))

        return read

    await bench.serve(*[one(number) for number in range(1, 20)])
    assert not bench.store.times("beat")


@pytest.mark.parametrize("lease_ms", [6_000, 600_000])
async def test_no_read_waits_so_long_that_a_stop_is_noticed_late(lease_ms: int) -> None:
    bench = Bench(settings=replace(SETTINGS, lease_ttl_ms=lease_ms))
    await bench.serve(*[bench.idle()] * 10)
    assert max(bench.source.waits_ms) <= MAX_WAIT_MS


async def test_a_source_that_tells_no_time_is_not_asked_all_the_time(bench: Bench) -> None:
    """A replay of old trades: by our clock its minute should have been closed long ago."""
    bench.clock.advance(86_400_000)
    await bench.serve(Batch(trades((1, 0)), "1"), *[bench.idle("1")] * 10)
    assert min(bench.source.waits_ms[2:]) >= 100


# minutes


async def test_the_clock_closes_the_minute_of_a_quiet_venue(bench: Bench) -> None:
    bench.clock.jump(START_MS - bench.clock.now_ms())
    await bench.serve(Batch(trades((1, 0)), "1"), *[bench.idle("1", tells_time=True)] * 80)
    closing = next(at for at, commit in enumerate(bench.store.commits) if commit.minutes)
    assert list(bench.store.commits[closing].minutes) == [START_MS]
    closed_at_ms = bench.store.times("commit")[closing]
    due_ms = MINUTE_MS + SETTINGS.close_grace_ms
    assert due_ms <= closed_at_ms <= due_ms + 5


async def test_a_backlog_is_not_closed_by_the_clock(bench: Bench) -> None:
    bench.clock.advance(86_400_000)
    await bench.serve(Batch(trades((1, 0)), "1", backlog=True), Batch(trades((2, 1_000)), "2", backlog=True))
    assert not any(commit.minutes for commit in bench.store.commits)


async def test_a_late_trade_amends_the_stored_minute(bench: Bench) -> None:
    await bench.serve(
        Batch(trades((1, 0), (2, 10)), "1"),
        Batch(trades((4, MINUTE_MS)), "2"),
        Batch(trades((3, 20)), "3"),
    )
    candle, footprint = bench.store.commits[2].minutes[START_MS]
    minute = unpack_minute(candle, footprint)
    assert (minute.candle.rev, minute.candle.trades, minute.candle.close_ticks) == (1, 3, 103)
    assert sum(level[0] for level in minute.footprint.levels.values()) == 15
    assert b'"type":"amend"' in bench.store.commits[2].events[0]


async def test_the_next_term_goes_on_as_if_nothing_had_been(bench: Bench) -> None:
    script = [
        Batch(trades((1, 0), (2, 10)), "1"),
        Batch(trades((4, MINUTE_MS), (2, 10)), "2"),
        Batch(trades((3, 20)), "3"),
        Batch(trades((5, 3 * MINUTE_MS)), "4"),
    ]
    whole = Bench()
    await whole.serve(*script)
    for at, batch in enumerate(script):
        await bench.serve(batch, token=f"{at}" * 32)
    assert bench.source.opened == ["", "1", "2", "3"]
    assert bench.model.tables.candles == whole.model.tables.candles
    assert bench.model.tables.footprints == whole.model.tables.footprints
    assert bench.model.tables.checkpoint == whole.model.tables.checkpoint
    assert [entry.seq for entry in bench.model.tables.entries] == [1, 2, 3, 4]


async def test_where_ids_are_not_contiguous_the_next_term_knows_the_last_ones() -> None:
    bench = Bench(instrument=Instrument("TEST:A", 2, 3, "unique"))
    await bench.serve(Batch(trades((7, 0), (3, 1)), "1"))
    await bench.serve(Batch(trades((3, 1), (5, 2), (7, 0)), "2"), token="b" * 32)
    assert bench.store.commits[1].trade_count == 1
    assert json.loads(bench.store.commits[1].checkpoint.refused) == {"duplicate": 2}


async def test_where_the_last_ids_are_lost_nothing_is_counted_twice() -> None:
    """The trade stream is bounded: what it no longer tells can't be told from a duplicate, and is refused."""
    bench = Bench(model=StoreModel(StreamBounds(trades=3, events=10)), instrument=Instrument("TEST:A", 2, 3, "unique"))
    for number in range(8):
        await bench.serve(Batch(trades((number, number)), str(number)), token=f"{number:032}")
    await bench.serve(Batch(trades((0, 0), (9, 5), (10, 10)), "again"), token="b" * 32)
    tables = bench.model.tables
    assert tables.checkpoint
    assert unpack_candle(tables.checkpoint.candle).trades == 9
    assert json.loads(tables.checkpoint.refused) == {"too_late": 2}


async def test_a_late_trade_of_a_minute_without_a_footprint_keeps_its_candle_whole() -> None:
    """Footprints are kept for 40 days, candles for 400."""
    bench = Bench()
    days_ms = 50 * 86_400_000
    bench.clock.advance(days_ms)
    await bench.serve(
        Batch(trades((1, 0), (2, 10)), "1"),
        Batch(trades((4, days_ms)), "2"),
        Batch(trades((5, days_ms + MINUTE_MS)), "3"),
        Batch(trades((3, 20)), "4"),
    )
    tables = bench.model.tables
    assert START_MS not in tables.footprints
    assert unpack_candle(tables.candles[START_MS]).trades == 3


async def test_a_late_trade_of_a_minute_that_is_not_kept_is_refused_and_counted() -> None:
    bench = Bench()
    days_ms = 500 * 86_400_000
    bench.clock.advance(days_ms)
    await bench.serve(
        Batch(trades((1, 0), (2, 10)), "1"),
        Batch(trades((4, days_ms)), "2"),
        Batch(trades((5, days_ms + MINUTE_MS)), "3"),
        Batch(trades((3, 20)), "4"),
    )
    last = bench.store.commits[-1]
    assert (last.trade_count, list(last.minutes), last.position) == (0, [], "4")
    assert json.loads(last.checkpoint.refused) == {BELOW_FLOOR: 1}
    # What it says of the hole is still true.
    assert bench.term._builder.coverage.holes() == [Hole(3, 3, START_MS + 10, START_MS + days_ms)]


async def test_a_late_trade_of_a_minute_that_the_archive_has_is_applied() -> None:
    bench = Bench()
    bench.store.taken_ms = START_MS
    days_ms = 500 * 86_400_000
    bench.clock.advance(days_ms)
    await bench.serve(
        Batch(trades((1, 0), (2, 10)), "1"),
        Batch(trades((4, days_ms)), "2"),
        Batch(trades((5, days_ms + MINUTE_MS)), "3"),
        Batch(trades((3, 20), (6, -1)), "4"),
    )
    last = bench.store.commits[-1]
    # What it makes by itself is for the archive.
    assert (last.trade_count, list(last.minutes)) == (1, [START_MS])
    assert [json.loads(event)["type"] for event in last.events] == ["gap"]
    assert START_MS not in bench.model.tables.candles
    assert json.loads(last.checkpoint.refused) == {BELOW_FLOOR: 1}


async def test_what_the_source_could_not_read_is_counted_with_the_rest(bench: Bench) -> None:
    await bench.serve(Batch(trades((1, 0)), "1", refused=Counter(bad_line=3)), Batch(trades((1, 0)), "2"))
    assert bench.term.progress.refused == {"bad_line": 3, "duplicate": 1}
    assert json.loads(bench.store.commits[-1].checkpoint.refused) == {"bad_line": 3, "duplicate": 1}


# health, listeners


async def test_health_is_told_when_it_changes(bench: Bench) -> None:
    ended = await bench.serve(
        Batch(trades((1, 0)), "1", backlog=True),
        Batch(trades((2, 0)), "2", backlog=True),
        Batch(Trades(), "2"),
        Batch(Trades(), "2"),
        Batch(trades((3, 0)), "3"),
        Batch(Trades(), "3", ended=True),
        Batch(Trades(), "never read"),
    )
    assert ended
    told = [commit.health.get("mode", "") for commit in bench.store.commits]
    assert told == ["BACKFILLING", "", ""]
    # LIVE, before any commit could say so; CLOSED at the end.
    assert [command for command, _ in bench.store.notes] == [
        *("commit", "commit", "beat", "commit", "beat", "release"),
    ]
    left = {"mode": "CLOSED", "reason": "", "source": "scripted", "backfill_percent": "", "gaps_open": "0"}
    assert bench.model.tables.health.items() >= left.items()


async def test_trades_are_written_as_text_while_somebody_listens(bench: Bench) -> None:
    def listening(count: int) -> Callable[[], Batch]:
        def read() -> Batch:
            bench.store.listeners = count
            number = bench.model.tables.seq + 1
            return Batch(trades((number, 0)), str(number))

        return read

    await bench.serve(listening(0), listening(1), listening(1), listening(0), listening(0))
    channel = "{TEST:A}:trades"
    # The answer to one commit decides for the next.
    assert [channel in dict(commit.messages) for commit in bench.store.commits] == [False, False, True, True, False]


async def test_progress_is_counted(bench: Bench) -> None:
    await bench.serve(Batch(trades((1, 0), (3, MINUTE_MS)), "1"), Batch(trades((2, 0)), "2"))
    progress = bench.term.progress
    assert (progress.commits, progress.applied, progress.closed, progress.amended) == (2, 3, 1, 1)


# the end


async def test_a_stop_gives_the_symbol_back(bench: Bench) -> None:
    assert not await bench.serve(Batch(trades((1, 0)), "1"))
    assert bench.model.tables.token == ""
    assert bench.source.is_closed


async def test_the_symbol_is_free_before_the_source_is_closed(bench: Bench) -> None:
    """A spare waits for it; and closing may fail."""
    bench.source.close_error = ConnectionError("venue")
    with pytest.raises(ConnectionError):
        await bench.serve(Batch(trades((1, 0)), "1"))
    assert bench.model.tables.token == ""


async def test_a_fenced_term_leaves_the_symbol_to_its_new_holder(bench: Bench) -> None:
    bench.store.fails["commit"] = Fenced("")
    with pytest.raises(Fenced):
        await bench.serve(Batch(trades((1, 0)), "1"))
    assert not bench.store.times("release")
    assert bench.source.is_closed


@pytest.mark.parametrize("error", [Stale(""), StoreUnavailable(""), RuntimeError("a bug")])
async def test_any_other_error_gives_the_symbol_back_and_guesses_nothing(bench: Bench, error: Exception) -> None:
    bench.store.fails["commit"] = error
    with pytest.raises(type(error)):
        await bench.serve(Batch(trades((1, 0)), "1"), Batch(trades((2, 0)), "2"))
    assert [command for command, _ in bench.store.notes] == ["commit", "release"]
    assert bench.source.is_closed
    assert bench.source.script


async def test_a_broken_source_gives_the_symbol_back(bench: Bench) -> None:
    with pytest.raises(ConnectionError):
        await bench.serve(Batch(trades((1, 0)), "1"), ConnectionError("venue"))
    assert bench.model.tables.token == ""


async def test_a_release_that_fails_too_does_not_hide_why(bench: Bench) -> None:
    bench.store.fails = {"commit": Stale("why"), "release": StoreUnavailable("")}
    with pytest.raises(Stale, match="why"):
        await bench.serve(Batch(trades((1, 0)), "1"))


async def test_a_holder_that_was_paused_past_its_lease_is_fenced(bench: Bench) -> None:
    def paused() -> Batch:
        tables = bench.model.tables
        tables.token = "b" * 32
        return Batch(trades((2, 0)), "2")

    with pytest.raises(Fenced):
        await bench.serve(Batch(trades((1, 0)), "1"), paused)
    assert bench.model.tables.token == "b" * 32
    assert bench.model.tables.seq == 1


# gaps


def ledger(bench: Bench) -> list[tuple[str, str, str, int, int]]:
    gaps = bench.model.gaps().gaps.values()
    return [(gap.id, gap.state, gap.cause, gap.recovered, gap.replaced) for gap in gaps]


async def test_a_hole_is_in_the_ledger_by_the_commit_that_opens_it_and_is_told(bench: Bench) -> None:
    await bench.serve(Batch(trades((1, 0), (4, 40)), "", cause=DISCONNECT), Batch(trades((3, 30)), "", cause=START))
    first, second = (json.loads(commit.events[0])["gap"] for commit in bench.store.commits)
    assert (first["id"], first["state"], first["missing"], first["from"], first["to"]) == (
        "2-3",
        "open",
        2,
        START_MS,
        START_MS + 40,
    )
    assert (second["id"], second["state"], second["cause"], second["missing"]) == ("2-3", "repairing", "disconnect", 1)
    assert ledger(bench) == [("2-3", REPAIRING, DISCONNECT, 1, 0)]


async def test_the_next_term_goes_on_with_the_ledger(bench: Bench) -> None:
    await bench.serve(Batch(trades((1, 0), (4, 40)), "", cause=DISCONNECT))
    again = Bench(model=bench.model)
    await again.serve(Batch(trades((2, 20), (3, 30)), "", cause=START))
    assert ledger(again) == [("2-3", REPAIRED, DISCONNECT, 2, 0)]


async def test_ids_without_a_trade_are_committed_as_covered(bench: Bench) -> None:
    await bench.serve(
        Batch(trades((1, 0), (4, 40)), "", cause=ID_JUMP),
        Batch(Trades(), "", covered=[IdSpan(2, 3, START_MS, START_MS)]),
    )
    assert ledger(bench) == [("2-3", REPAIRED, ID_JUMP, 0, 2)]
    assert bench.model.tables.checkpoint and json.loads(bench.model.tables.checkpoint.coverage)[1][:2] == [1, 4]


async def test_the_venues_candle_takes_the_place_of_a_closed_minute_without_its_footprint(bench: Bench) -> None:
    theirs = candle_of(START_MS, trades((1, 0), (2, 20), (3, 30)), LIVE)
    await bench.serve(
        Batch(trades((1, 0), (4, MINUTE_MS)), "", cause=DISCONNECT),
        Batch(Trades(), "", candles=[theirs], covered=[IdSpan(2, 3, START_MS, START_MS)]),
    )
    tables = bench.model.tables
    assert unpack_candle(tables.candles[START_MS]) == replace(theirs, rev=1, sources=BACKFILL)
    assert START_MS not in tables.footprints
    assert ledger(bench) == [("2-3", REPAIRED, DISCONNECT, 0, 2)]


async def test_a_candle_of_the_open_minute_is_left_alone(bench: Bench) -> None:
    theirs = candle_of(START_MS, trades((1, 0), (2, 20)), LIVE)
    await bench.serve(Batch(trades((1, 0)), "1"), Batch(Trades(), "2", candles=[theirs]))
    assert bench.model.tables.candles == {}


async def test_a_hole_that_can_not_be_filled_stays_and_is_said_to_be_so(bench: Bench) -> None:
    hole = Hole(2, 3, START_MS, START_MS + 40)
    await bench.serve(Batch(trades((1, 0), (4, 40)), "", cause=DISCONNECT), Batch(Trades(), "", given_up=[hole]))
    assert ledger(bench) == [("2-3", UNFILLABLE, DISCONNECT, 0, 0)]
    assert json.loads(bench.store.commits[-1].events[-1])["gap"]["state"] == "unfillable"


async def test_backfilled_trades_mark_their_minute(bench: Bench) -> None:
    await bench.serve(Batch(trades((2, 20), (3, MINUTE_MS)), "1"), Batch(trades((1, 0)), "2", sources=BACKFILL))
    assert unpack_candle(bench.model.tables.candles[START_MS]).sources == LIVE | BACKFILL
