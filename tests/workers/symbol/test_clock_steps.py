"""The wall clock is set while a symbol is served: for each source nothing is lost, refused, amended or dropped by it.

The machine's clock steps, time itself goes on, and the store's clock is right; then the step is taken back.
"""

import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from common.clock import HOLD_MS, JudgedClock, SystemClock
from common.market.builder.builder import Builder, pack_minute
from common.market.builder.validity import FUTURE, MAX_AHEAD_MS
from common.market.candle import IMPORT, LIVE, Candle
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, minute_of
from common.market.trade import BUY, Trade, Trades
from common.store.commit import StreamBounds
from common.store.health import CLOCK, DEGRADED
from common.store.keys import SymbolKeys
from common.store.lease import NOTHING_SEEN
from common.store.stream_reader import OwnReader
from common.store.symbol import Claim
from infra.exchange import MarketClock
from tests.kit.clocks import FakeClock
from tests.kit.delta_oracle import packed_is_as
from tests.kit.fakes import SETTINGS, TOKEN, NotingStore
from tests.kit.imports import importer
from tests.kit.store.model import StoreModel
from tests.kit.venue_line import come_to_rest, exchange_of, line, pass_market_time
from tests.kit.waiting import wait_until_async
from workers.recordings import TradeFile
from workers.sources.base import Applied, Batch, Source
from workers.sources.inbox import Inbox
from workers.sources.replay import Replay
from workers.sources.simulator import Simulator
from workers.symbol.term import Term

STEPS_MS = [-3_000, -7_200_000, 3_600_000, DAY_MS, 500 * DAY_MS]
EVERY_STEP = pytest.mark.parametrize("step_ms", STEPS_MS, ids=["-3s", "-2h", "+1h", "+24h", "+500d"])

INSTRUMENT = Instrument("TEST:A", 2, 3, "contiguous")
START_MS = 1_699_999_980_000
# Older than all else, and kept: 399 days before.
OLDEST = Trade(START_MS - 399 * DAY_MS, 1, 100, 5, BUY)

Act = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class ToldStore(NotingStore):
    """Says what time it is with each answer, as the scripts do."""

    judged: JudgedClock = field(kw_only=True)
    shown_ms: Callable[[], int] = field(kw_only=True)

    def _note(self, command: str) -> None:
        NotingStore._note(self, command)
        self.judged.heard(self.shown_ms(), self.judged.boot_ms())


@dataclass(slots=True)
class Driven:
    """A source before each read of which the next act of a script happens."""

    inner: Source
    script: deque[Act]
    name: str = field(init=False)
    sources: int = field(init=False)

    def __post_init__(self) -> None:
        self.name, self.sources = self.inner.name, self.inner.sources

    async def open(self, position: str, applied: Applied) -> None:
        await self.inner.open(position, applied)

    async def read(self, limit: int, wait_ms: int) -> Batch:
        await self.script.popleft()()
        return await self.inner.read(limit, min(wait_ms, 1))

    async def committed(self, position: str) -> None:
        await self.inner.committed(position)

    async def close(self) -> None:
        await self.inner.close()


class Machine:
    """A worker's machine, and the store's. `truth_ms`: what time it is."""

    def __init__(self) -> None:
        self.wall = FakeClock(START_MS)
        # By how much the store's clock is off.
        self.skew_ms = 0
        self.judged = JudgedClock(self.wall)
        self.model = StoreModel(StreamBounds(1_000_000, 100_000))
        self.store = ToldStore(self.model, self.wall, judged=self.judged, shown_ms=lambda: self.shown_ms)
        self.health: list[tuple[str, str]] = []
        self.term: Term | None = None

    @property
    def truth_ms(self) -> int:
        return START_MS + self.wall.boot_ms()

    @property
    def shown_ms(self) -> int:
        return self.truth_ms + self.skew_ms

    async def serve(self, source: Source, script: list[Act], batch_trades: int = 1_000) -> None:
        acts = deque(script)
        self.term = Term(
            instrument=INSTRUMENT,
            store=self.store,
            source=Driven(source, acts),
            clock=self.judged,
            settings=replace(SETTINGS, batch_trades=batch_trades),
            token=TOKEN,
            stopping=lambda: not acts,
            on_progress=lambda progress, batch: self._note(),
        )
        claim = self.model.claim(TOKEN, NOTHING_SEEN, "tests")
        assert isinstance(claim, Claim)
        await self.term.serve(claim)

    def _note(self) -> None:
        found = self.model.tables.health
        self.health.append((found.get("mode", ""), found.get("reason", "")))

    def jump(self, step_ms: int, *, store: bool = False) -> Act:
        async def act() -> None:
            self.wall.jump(step_ms)
            if store:
                self.skew_ms += step_ms

        return act

    def wait(self, span_ms: int) -> Act:
        async def act() -> None:
            self.wall.advance(span_ms)

        return act

    @property
    def candles(self) -> dict[int, Candle]:
        return {at_ms: codec.unpack_candle(packed) for at_ms, packed in self.model.tables.candles.items()}

    @property
    def refused(self) -> dict[str, int]:
        assert self.model.tables.checkpoint
        found: dict[str, int] = json.loads(self.model.tables.checkpoint.refused)
        return found

    @property
    def watermark_ms(self) -> int:
        assert self.model.tables.checkpoint
        return self.model.tables.checkpoint.watermark_ms

    def applied(self) -> list[Trade]:
        return [row for entry in self.model.tables.entries for row in codec.unpack_trades(entry.trades).rows()]


def with_step(machine: Machine, step_ms: int, acts: list[Act]) -> list[Act]:
    """The clock is set at a third of the way, and back at two thirds."""
    third = len(acts) // 3
    return [*acts[:third], machine.jump(step_ms), *acts[third:-third], machine.jump(-step_ms), *acts[-third:]]


def closed_of(trades: list[Trade], until_ms: int, sources: int = LIVE) -> dict[int, bytes]:
    """The minutes of a single pass without a clock, up to the open one."""
    builder = Builder.new(INSTRUMENT, sources)
    changes = builder.step(Trades.of(trades), until_ms, {})
    return {at_ms: pack_minute(minute)[0] for at_ms, minute in changes.closed.items()}


def text_of(row: Trade) -> dict[Any, Any]:
    price = f"{row.price_ticks / 100:.2f}"
    return {"ts_ms": str(row.ts_ms), "price": price, "size": "0.005", "side": "buy", "id": str(row.id)}


def assert_undisturbed(machine: Machine, trades: list[Trade], sources: int = LIVE) -> None:
    """As if no clock had ever been set; and it was told while one was."""
    assert sorted(machine.applied()) == sorted(trades)
    assert machine.refused == {}
    expected = closed_of(trades, machine.watermark_ms, sources)
    found = machine.model.tables.candles
    assert found.keys() == expected.keys()
    assert all(packed_is_as(found[at_ms], expected[at_ms]) for at_ms in expected)
    assert machine.watermark_ms <= machine.truth_ms
    assert (DEGRADED, CLOCK) in machine.health and machine.health[-1][1] != CLOCK


@EVERY_STEP
async def test_the_inbox(step_ms: int, client: Redis) -> None:
    machine, trades = Machine(), [OLDEST]
    stream = SymbolKeys(INSTRUMENT.symbol).inbox
    source = Inbox(INSTRUMENT, stream, client, OwnReader(client, stream), machine.judged, trim=False)

    async def push(row: Trade) -> None:
        await client.xadd(stream, text_of(row))

    async def trade() -> None:
        machine.wall.advance(20_000)
        trades.append(Trade(machine.truth_ms, len(trades) + 1, 100 + len(trades), 5, BUY))
        await push(trades[-1])

    await push(OLDEST)
    # Quiet minutes are the clock's to close, when it is right.
    acts = [trade] * 9 + [machine.wait(MINUTE_MS)] * 3
    await machine.serve(source, with_step(machine, step_ms, acts * 3))
    assert_undisturbed(machine, trades)
    assert machine.watermark_ms == minute_of(machine.truth_ms - SETTINGS.close_grace_ms)


@EVERY_STEP
async def test_the_simulator(step_ms: int) -> None:
    machine = Machine()
    source = Simulator(INSTRUMENT, machine.judged, seed=7, start_price_ticks=10_000)
    await machine.serve(source, with_step(machine, step_ms, [machine.wait(20_000)] * 60))
    applied = machine.applied()
    assert [row.id for row in applied] == list(range(1, len(applied) + 1))
    times = [row.ts_ms for row in applied]
    assert times == sorted(times) and times[-1] <= machine.truth_ms
    # Some in every minute, or it would not be the market that it was.
    assert {*map(minute_of, times)} == {*range(minute_of(times[0]), minute_of(times[-1]) + 1, MINUTE_MS)}
    assert_undisturbed(machine, applied, source.sources)


@EVERY_STEP
async def test_an_import_by_a_machine_whose_clock_is_off(step_ms: int, redis_url: str, tmp_path: Path) -> None:
    """By one a trade of a minute ago is of the future, by another one of tomorrow is not: the store's clock counts."""
    now_ms = SystemClock().now_ms()
    times = [now_ms - 2 * DAY_MS, now_ms - 60_000, now_ms + 10 * 60_000]
    path = tmp_path / "trades.csv"
    lines = [f"{ts_ms},1.00,1,buy,{at}" for at, ts_ms in enumerate(times, 1)]
    path.write_text("ts_ms,price,size,side,id\n" + "\n".join(lines) + "\n", "utf-8")
    work = importer(redis_url, [path], INSTRUMENT)
    work.clock = JudgedClock(FakeClock(now_ms + step_ms))
    done = await work.run()
    assert (done.trades, done.refused) == (2, {FUTURE: 1})


@EVERY_STEP
@pytest.mark.parametrize("speed", [None, 1.0], ids=["fast", "paced"])
async def test_a_replay(step_ms: int, speed: float | None, tmp_path: Path) -> None:
    machine = Machine()
    rows = [OLDEST] + [Trade(START_MS - DAY_MS + 5_000 * at, at + 2, 100 + at % 7, 5, BUY) for at in range(200)]
    first = 1 if speed else 0
    lines = [f"{row.ts_ms},{row.price_ticks / 100:.2f},0.005,buy,{row.id}" for row in rows[first:]]
    path = tmp_path / "trades.csv"
    path.write_text("ts_ms,price,size,side,id\n" + "\n".join(lines) + "\n", "utf-8")
    source = Replay([TradeFile(path, INSTRUMENT)], IMPORT, speed, machine.judged)
    await machine.serve(source, with_step(machine, step_ms, [machine.wait(20_000)] * 60), batch_trades=4)
    assert_undisturbed(machine, rows[first:], source.sources)


class SteppedClock(MarketClock):
    """The market's, on a machine whose wall clock is off."""

    skew_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + SteppedClock.skew_ms


@pytest.mark.process
async def test_a_venue(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps, one after the other."""
    exchange = exchange_of(orders_per_s=5, history_ms=3 * MINUTE_MS)
    async with line(exchange, redis_url, history_ms=2 * MINUTE_MS) as made:
        made.clock = SteppedClock(exchange)
        made.judged = JudgedClock(made.clock)
        tables = made.model.tables
        await made.start()
        for skew_ms in [0, *chain.from_iterable((step_ms, 0) for step_ms in STEPS_MS)]:
            monkeypatch.setattr(SteppedClock, "skew_ms", skew_ms)
            told = {"mode": DEGRADED, "reason": CLOCK} if skew_ms else {"reason": ""}
            await wait_until_async(lambda told=told: told.items() <= tables.health.items())  # type: ignore[misc]
            await pass_market_time(made, 20_000)
            # A minute is over when it is.
            assert tables.checkpoint and tables.checkpoint.watermark_ms <= exchange.now_ms
        await come_to_rest(made)
        made.assert_true()
        assert tables.checkpoint and json.loads(tables.checkpoint.refused) == {}
        assert "mismatches" not in tables.health


# Both clocks are set.


def inbox_of(machine: Machine, client: Redis) -> tuple[Inbox, Callable[[int, int], Act]]:
    stream = SymbolKeys(INSTRUMENT.symbol).inbox

    def push(trade_id: int, after_ms: int) -> Act:
        """A trade so many ms from now on, by the clock that is right."""

        async def act() -> None:
            fields = text_of(Trade(machine.truth_ms + after_ms, trade_id, 100, 5, BUY))
            await client.xadd(stream, fields)

        return act

    return Inbox(INSTRUMENT, stream, client, OwnReader(client, stream), machine.judged, trim=False), push


async def test_both_clocks_were_wrong_and_are_set_right_no_trade_is_lost(client: Redis) -> None:
    """They were an hour behind; whoever pushes has the right time from the same moment on."""
    machine = Machine()
    source, push = inbox_of(machine, client)
    hour_ms = 3_600_000
    await machine.serve(
        source,
        [push(1, 0), machine.jump(hour_ms, store=True), push(2, 0), push(3, hour_ms), machine.wait(HOLD_MS)],
    )
    assert [row.id for row in machine.applied()] == [1, 2, 3] and machine.refused == {}
    assert (DEGRADED, CLOCK) in machine.health and machine.health[-1][1] == ""
    # It waited for the answer, and gave signs of life.
    assert len(machine.store.times("beat")) > 100


async def test_both_clocks_are_wrong_for_a_while_a_trade_by_them_is_of_the_future(client: Redis) -> None:
    machine = Machine()
    source, push = inbox_of(machine, client)

    def back() -> None:
        if machine.wall.boot_ms() > HOLD_MS // 2 and machine.wall.now_ms() > machine.truth_ms:
            machine.wall.jump(-DAY_MS)
            machine.skew_ms -= DAY_MS

    machine.store.on_note = back
    await machine.serve(
        source, [push(1, 0), machine.jump(DAY_MS, store=True), push(2, 0), push(3, DAY_MS), push(4, 0), machine.wait(1)]
    )
    assert [row.id for row in machine.applied()] == [1, 2, 4] and machine.refused == {FUTURE: 1}
    assert machine.watermark_ms <= machine.truth_ms


async def test_who_is_to_stop_does_not_wait_for_the_clock_and_loses_nothing(
    client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine()
    source, push = inbox_of(machine, client)
    await machine.serve(source, [push(1, 0), machine.jump(DAY_MS, store=True), push(2, DAY_MS)])
    position = machine.model.tables.position
    assert [row.id for row in machine.applied()] == [1]
    machine.judged = JudgedClock(machine.wall)
    machine.store.judged = machine.judged
    # A process that starts accepts what both clocks show, and goes on where the last one stopped.
    await machine.serve(inbox_of(machine, client)[0], [machine.wait(1)])
    assert [row.id for row in machine.applied()] == [1, 2] and machine.refused == {}
    assert machine.model.tables.position != position
    assert "wall clock accepted, which the holder before did not believe" in caplog.messages


async def test_a_process_that_starts_with_another_clock_than_the_store_goes_by_the_stores(client: Redis) -> None:
    machine = Machine()
    machine.wall.jump(500 * DAY_MS)
    machine.judged = machine.store.judged = JudgedClock(machine.wall)
    # What the claim says.
    machine.judged.heard(machine.shown_ms, machine.judged.boot_ms())
    source, push = inbox_of(machine, client)
    await machine.serve(source, [push(1, 0), push(2, MAX_AHEAD_MS + 1), machine.wait(MINUTE_MS), push(3, 0)])
    assert [row.id for row in machine.applied()] == [1, 3] and machine.refused == {FUTURE: 1}
    assert {health for health in machine.health} == {(DEGRADED, CLOCK)}
    # Minutes are closed by trades alone.
    assert machine.watermark_ms == machine.applied()[-1].ts_ms
