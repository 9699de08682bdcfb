"""Everything at once: all kinds of processes killed and stopped at random, and the store made to forget; trades come
from an inbox, a venue and a recording; four recorders follow the stream. Nothing is lost, and nothing is there twice.

`CHAOS_SEED=123 infra/test tests/chaos -s` repeats the trades and the order of the faults; their moments differ.
`CHAOS_S=200` goes on for so long, instead of 30 s.
"""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from common.market.builder.spans import IdSpan
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import Timeframe
from common.market.trade import Trade
from common.store.keys import SymbolKeys
from common.store.reads import SymbolReader
from tests.chaos.hostile import Hostile, hostile
from tests.chaos.recorder import LIMIT, Deaf, Recorder
from tests.chaos.symbols import PUSHED, REPLAYED, TRADED, recorded
from tests.chaos.truth import Truth, bare
from tests.kit.folding import Fold
from tests.kit.oracle import MISSING, Step, lineage
from tests.kit.store.leaks import leaks
from tests.kit.waiting import wait_until_async
from workers.clock.due import due_work

pytestmark = pytest.mark.chaos

CHAOS_S = float(os.environ.get("CHAOS_S", "30"))
# Between two faults, in seconds.
RESTS_S = (0.05, 0.8)
# How much longer they come until recorders and workers have met all that they must have met.
MAX_MORE_S = 60.0
# All that is due is done, and all is told, within this of the last fault.
SETTLE_S = 90.0
# Between two looks at whether it is.
LOOK_S = 0.1
SERIES = (
    ((PUSHED.symbol, "1m"), (PUSHED.symbol, "1d")),
    ((TRADED.symbol, "1s"), (TRADED.symbol, "1m")),
    ((REPLAYED.symbol, "15m"), (REPLAYED.symbol, "1w")),
    ((PUSHED.symbol, "10s"), (TRADED.symbol, "1h"), (REPLAYED.symbol, "1h")),
)


@pytest.fixture
def random() -> Random:
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1 << 40))
    print(f"CHAOS_SEED={seed}")
    return Random(seed)


@asynccontextmanager
async def meanwhile(*jobs: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """They run as long as the block does. One that fails ends it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(job) for job in jobs]
        yield
        for task in tasks:
            task.cancel()


@pytest.mark.timeout(CHAOS_S * 4 + 180 + MAX_MORE_S)
async def test_under_fire_nothing_is_lost_nothing_is_twice_and_all_recorders_have_what_history_shows(
    tmp_path: Path, random: Random
) -> None:
    recording = recorded(tmp_path / "recording.csv", random)
    async with hostile(tmp_path, random) as fleet:
        recorders = [Recorder(series, fleet.ports, Random(random.random())) for series in SERIES]
        deaf = Deaf([(TRADED.symbol, "1s")], fleet.ports, Random(random.random()))
        fleet.start(tmp_path / "recording.csv")
        async with meanwhile(fleet.processes.watch(), *(one.run() for one in (*recorders, deaf))):
            async with meanwhile(fleet.pusher.run()):
                await fire(fleet, random, CHAOS_S, lambda: have_met_all(recorders) and have_lost(fleet))
                await fleet.processes.all_go_on()
                await wait_until_async(fleet.is_answered, SETTLE_S, LOOK_S)
                # Now: with the next snapshot, should one come, it would have what it missed.
                await wait_until_async(lambda: found_out(fleet, deaf), SETTLE_S, LOOK_S)
            await fleet.comes_to_rest()
            await wait_until_async(lambda: fleet.has_replayed, SETTLE_S, LOOK_S)
            truths = await settled(fleet, recording)
            for truth in truths:
                assert not await wrong(fleet, truth)
                # The negative control: the same with a trade removed from the truth.
                assert set(await wrong(fleet, truth.without(random.choice(list(truth.trades))))) > {"candles"}
            for one in recorders:
                await agreement(fleet, one)
        tell(fleet, recorders)
        assert_met_its_faults(fleet, recorders)
        verified = await asyncio.to_thread(fleet.fleet, "archive", "verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert not [key for key in leaks(fleet.store.url) if not key.startswith("rq:")]


@pytest.mark.timeout(120)
async def test_without_the_fence_it_leaves_traces(tmp_path: Path, random: Random) -> None:
    async with hostile(tmp_path, random) as fleet:
        # Not of the inbox: its reader hangs on the store all the time, and learns of each restart by that.
        fleet.held = [TRADED]
        fleet.processes.start("worker", "tests.chaos.worker_main", count=3, CHAOS_UNGUARDED="1")
        found: dict[str, str] = {}
        async with meanwhile(fleet.processes.watch()):
            for _ in range(20):
                await commits(fleet, TRADED, 5)
                await fleet.happen("rewind store")
                await commits(fleet, TRADED, 5)
                found = lineage(await steps(fleet, TRADED), await fleet.traded())
                # What is on its way is not lost.
                found.pop(MISSING, None)
                if found:
                    print(f"after {dict(fleet.happened)}: {found}")
                    break
        assert found


async def commits(fleet: Hostile, instrument: Instrument, count: int) -> None:
    """Wait for so many more of them."""

    async def seq() -> int:
        return int(await fleet.client.hget(SymbolKeys(instrument.symbol).state, "seq") or 0)

    async def are_there(goal: int) -> bool:
        return await seq() >= goal

    goal = await seq() + count
    await wait_until_async(lambda: are_there(goal), SETTLE_S, LOOK_S)


def have_met_all(recorders: Collection[Recorder]) -> bool:
    """Whether each went on from its cursor and began again, and one lost a feed that ended under it."""
    each = all(one.happened["connected"] > 3 and one.heard("resumed") and one.heard("snapshot") for one in recorders)
    return each and any(one.happened["ConnectionClosedError"] for one in recorders)


def have_lost(fleet: Hostile) -> bool:
    """Whether workers have lost a term to another, and one to the store."""
    workers = fleet.logged("worker")
    return workers["claimed"] > 6 and bool(workers["lost fenced"] and workers["lost"])


async def fire(fleet: Hostile, random: Random, seconds: float, is_enough: Callable[[], bool]) -> None:
    """Every fault at least twice, in any order, and then any until the time is over and it is enough.

    When what is killed, and who works or is connected then, is luck: it goes on for at most MAX_MORE_S to have it.
    """
    until_s = time.monotonic() + seconds
    names = [*2 * [*fleet.faults(), "kill web"], "kill job"]
    random.shuffle(names)
    while names or time.monotonic() < until_s or not (is_enough() or time.monotonic() > until_s + MAX_MORE_S):
        await asyncio.sleep(random.uniform(*RESTS_S))
        await fleet.happen(names.pop() if names else random.choice(list(fleet.faults())))


async def settled(fleet: Hostile, recording: list[Trade]) -> list[Truth]:
    """Wait until all is applied and all that is due is done; return what should be there now."""
    pushed = list(fleet.pusher.pushed.values())
    traded = await fleet.traded()
    begins = {PUSHED: 1, REPLAYED: 1}
    for instrument, trades in ((PUSHED, pushed), (TRADED, traded), (REPLAYED, recording)):
        last = max(trade.id for trade in trades)
        await wait_until_async(lambda i=instrument, last=last: is_whole(fleet, i, last), SETTLE_S, LOOK_S)  # type: ignore[misc]
    await wait_until_async(lambda: nothing_is_due(fleet), SETTLE_S, LOOK_S)
    (span,) = await spans(fleet, TRADED)
    begins[TRADED] = span.first
    assert [(await spans(fleet, one))[0].first for one in begins] == list(begins.values())
    known = [trade for trade in traded if trade.id >= span.first]
    return [Truth(PUSHED, pushed), Truth(TRADED, known), Truth(REPLAYED, recording)]


async def spans(fleet: Hostile, instrument: Instrument) -> list[IdSpan]:
    state = (await SymbolReader(fleet.client, instrument.symbol).view()).state
    return state.coverage("contiguous").spans() if state else []


async def is_whole(fleet: Hostile, instrument: Instrument, last: int) -> bool:
    return [span.last for span in await spans(fleet, instrument)] == [last]


async def nothing_is_due(fleet: Hostile) -> bool:
    return not await due_work(fleet.client, archiving=True, trades_kept=1_000_000)


async def wrong(fleet: Hostile, truth: Truth) -> dict[str, str]:
    """Name each check of a symbol that fails."""
    symbol = truth.instrument.symbol
    candles = (await fleet.get(f"/v1/candles/{symbol}", limit=50_000))["bars"]
    footprints = (await fleet.get(f"/v1/footprint/{symbol}", limit=50_000))["bars"]
    differ = {
        "candles": unequal({bar["t"]: bare(bar) for bar in candles}, truth.candles()),
        "footprints": unequal({bar["t"]: bar["rows"] for bar in footprints}, truth.footprints()),
    }
    sentences = {name: f"those that open at {opens}" for name, opens in differ.items() if opens}
    return lineage(await steps(fleet, truth.instrument), truth.trades) | sentences


def unequal(found: Mapping[int, Any], expected: Mapping[int, Any]) -> list[int]:
    return sorted(at for at in {*found, *expected} if found.get(at) != expected.get(at))


async def steps(fleet: Hostile, instrument: Instrument) -> list[Step]:
    """All commits of a symbol."""
    entries: Any = await fleet.client.xrange(SymbolKeys(instrument.symbol).trades)
    return [
        Step(int(entry_id.partition(b"-")[0]), fields[b"token"].decode(), codec.unpack_trades(fields[b"trades"]))
        for entry_id, fields in entries
    ]


async def differences(fleet: Hostile, recorder: Recorder) -> dict[tuple[str, str], dict[int, Any]]:
    """Where what a recorder holds is not what history shows: both, by series and open."""
    return {one: pairs for one, fold in recorder.folds.items() if (pairs := await unlike(fleet, fold))}


async def found_out(fleet: Hostile, deaf: Deaf) -> bool:
    """Whether every bar that the control has missed is one in which it is not what history shows."""
    missed, found = dict(deaf.missed), await differences(fleet, deaf) if deaf.missed else {}
    return bool(missed) and all(at in found.get(one, {}) for one, at in missed.items())


async def unlike(fleet: Hostile, fold: Fold) -> dict[int, Any]:
    answer = await fleet.get(f"/v1/candles/{fold.symbol}", timeframe=fold.timeframe, limit=LIMIT)
    # Of bars of trades it is that of the newest minute, which nobody tells of the others.
    left_out = () if Timeframe.parse(fold.timeframe).of_minutes else ("source",)
    held, shown = (
        {bar["t"]: {name: value for name, value in bar.items() if name not in left_out} for bar in bars}
        for bars in (fold.bars.values(), answer["bars"])
    )
    assert held, f"nothing was heard of {fold.symbol} {fold.timeframe}"
    return {at: (held.get(at), shown.get(at)) for at in unequal(held, shown)}


async def agreement(fleet: Hostile, recorder: Recorder) -> None:
    """Wait until a recorder has what history shows; fail with what it has instead."""

    async def agrees() -> bool:
        return not await differences(fleet, recorder)

    with suppress(AssertionError):
        await wait_until_async(agrees, SETTLE_S, LOOK_S)
    assert not await differences(fleet, recorder)


def tell(fleet: Hostile, recorders: Collection[Recorder]) -> None:
    print(f"faults: {dict(fleet.happened)}")
    print(f"pushed {len(fleet.pusher.pushed)}: {dict(fleet.pusher.happened)}")
    print(f"workers: {dict(fleet.logged('worker'))}")
    print(f"ended by themselves: {dict(fleet.processes.ended)}")
    for one in recorders:
        kinds = {kind: one.heard(kind) for kind in ("snapshot", "resumed", "candle", "amend", "gap", "lag")}
        print(f"{one.series}: {dict(one.happened)}, {kinds}")


def assert_met_its_faults(fleet: Hostile, recorders: Collection[Recorder]) -> None:
    """Else it has shown nothing."""
    assert all(fleet.happened[name] >= 2 for name in fleet.faults()) and fleet.happened["killed job"]
    pusher = fleet.pusher.happened
    assert have_lost(fleet)
    assert pusher["unknown"] and pusher["late"] and pusher["twice"] and pusher["after a rewind"]
    assert have_met_all(recorders)
    # A command that is begun while the store is away says so, and ends.
    assert set(fleet.processes.ended) <= {("replay", 1)} and fleet.tracebacks() == []
