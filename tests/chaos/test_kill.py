"""Real workers and a real store, killed and paused at random; then everything must be as if nothing had happened.

`CHAOS_SEED=123 infra/test tests/chaos -s` repeats the trades and the order of the faults; their moments differ.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from common.market.candle import LIVE
from common.market.instrument import Instrument
from common.market.trade import Trades
from common.store.registry import Market
from tests.chaos.fleet import LEASE_MS, Fleet
from tests.chaos.recording import KIND, hurry_flag, write_recording
from tests.kit.oracle import Outcome, differences, single_pass
from tests.kit.store.leaks import leaks
from tests.kit.waiting import wait_until
from tests.scale import scaled

pytestmark = pytest.mark.chaos

COUNTS = {"kill_holder": 20, "kill_any": 15, "pause_holder": 18, "kill_store": 6, "rewind": 6}
FAULTS = [name for name, count in COUNTS.items() for _ in range(scaled(count))]
# The control gives up its store's guards, and so it fails soon.
CONTROL_FAULTS = ["pause_holder"] * 2 + ["kill_holder"] * 2 + ["rewind"] * 10
TRADES = scaled(300_000)
BATCH_TRADES = 100
# A holder may have lost its lease before it commits to a store that went back: rewind again until one has not.
MAX_MORE_REWINDS = 20


@pytest.fixture
def random() -> Random:
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1 << 40))
    print(f"CHAOS_SEED={seed}")
    return Random(seed)


@dataclass(frozen=True, slots=True)
class Recorded:
    market: Market
    path: Path
    trades: Trades


def record(folder: Path, random: Random, count: int) -> Recorded:
    path = folder / "trades.bin"
    trades = write_recording(path, random, count)
    instrument = Instrument("CHAOS:A", 2, 3, "contiguous")
    return Recorded(Market(instrument, {"kind": KIND, "path": str(path)}), path, trades)


@contextmanager
def running(
    folder: Path, recorded: Recorded, random: Random, batch_trades: int, *, unguarded: bool = False
) -> Iterator[Fleet]:
    folder.mkdir()
    fleet = Fleet(folder, recorded.market, random, batch_trades, unguarded)
    try:
        yield fleet
    finally:
        fleet.close()


def undisturbed(folder: Path, recorded: Recorded, random: Random) -> Outcome:
    """One worker over the whole recording, as fast as it can."""
    hurry_flag(recorded.path).touch()
    with running(folder, recorded, random, 8_192) as fleet:
        fleet.start_worker()
        wait_until(lambda: fleet.position() == len(recorded.trades), 30)
        hurry_flag(recorded.path).unlink()
        return fleet.outcome()[1]


def disturb(fleet: Fleet, random: Random, faults: list[str]) -> Iterator[str]:
    """Let the faults happen one by one, a few commits apart."""
    fleet.start_worker()
    fleet.start_worker()
    for name in random.sample(faults, len(faults)):
        fleet.await_progress(random.randint(1, 40))
        fleet.fault(name)
        yield name


def rewind_until_stale(fleet: Fleet) -> None:
    for _ in range(MAX_MORE_REWINDS):
        fleet.await_progress(3)
        if fleet.logged()["stale"]:
            return
        fleet.fault("rewind")


@pytest.mark.timeout(120 + scaled(300))
def test_kills_and_pauses_leave_no_trace(tmp_path: Path, random: Random) -> None:
    recorded = record(tmp_path, random, TRADES)
    expected = undisturbed(tmp_path / "undisturbed", recorded, random)
    with running(tmp_path / "disturbed", recorded, random, BATCH_TRADES) as fleet:
        for _ in disturb(fleet, random, FAULTS):
            assert fleet.position() < len(recorded.trades), "the recording was over before the faults were"
        rewind_until_stale(fleet)
        hurry_flag(recorded.path).touch()
        wait_until(lambda: fleet.position() == len(recorded.trades), 60)
        assert fleet.stop_workers() == [0, 0]
        (_, found), logged = fleet.outcome(), fleet.logged()
        assert leaks(fleet.url) == []
    print(f"{len(recorded.trades)} trades in {len(found.steps)} commits; {dict(fleet.happened)}")
    print({reason: logged[reason] for reason in ("claimed", "fenced", "stale", "store lost")})
    print(f"takeover after SIGKILL, lease {LEASE_MS} ms: {sorted(round(1_000 * s) for s in fleet.takeovers_s)} ms")
    assert not differences(found, expected)
    assert not differences(expected, oracle(recorded)), "the undisturbed run is wrong itself"
    # What must have happened, else the test has shown nothing.
    assert (
        logged["claimed"] > scaled(40)
        and logged["fenced"] > scaled(5)
        and logged["stale"] > 0
        and logged["store lost"] > 0
    )


@pytest.mark.timeout(120)
def test_without_the_checks_in_the_commit_a_kill_leaves_traces(tmp_path: Path, random: Random) -> None:
    recorded = record(tmp_path, random, TRADES)
    with running(tmp_path / "unguarded", recorded, random, BATCH_TRADES, unguarded=True) as fleet:
        failed: dict[str, str] = {}
        for name in disturb(fleet, random, CONTROL_FAULTS):
            fleet.await_progress(3)
            position, found = fleet.outcome()
            failed = differences(found, oracle(recorded, position))
            if failed:
                print(f"after {dict(fleet.happened)}, the last a {name}: {failed}")
                break
    assert failed


def oracle(recorded: Recorded, rows: int | None = None) -> Outcome:
    """One pass over the whole recording, or over its first rows."""
    now_ms = max(recorded.trades.ts_ms) + 1
    return single_pass(recorded.market.instrument, LIVE, 2_000, recorded.trades[:rows], now_ms, 0)
