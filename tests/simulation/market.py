"""Trades as bad as they come: late, out of order, twice, with holes and nonsense; and a source to read them again."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from common.market.candle import LIVE
from common.market.timeframes.timeframe import MINUTE_MS
from common.market.trade import Trade, Trades
from tests.simulation.scheduler import VirtualClock
from workers.sources.base import NEVER, Applied, Batch

# Trade times begin here; the clocks of the simulation are days ahead of them.
START_MS = 1_690_000_020_000
# In a trade's stead, and hours after the last of them: when the source says that no trade is left.
END_MS = START_MS + 10 * 60 * MINUTE_MS


@dataclass(slots=True)
class Recording:
    """What the source has: `trades[i]` may be read from `due_ms[i]` on (virtual time)."""

    trades: Trades
    due_ms: list[int]
    # Before each trade, and after the last: no trade from before that time is left.
    complete_ms: list[int]

    @classmethod
    def generate(cls, random: Random, count: int, gap_ms: int) -> "Recording":
        rows = _disordered(random, _regular(random, count))
        # Bursts: half of them come together with the trade before.
        due_ms = list(accumulate((0 if random.random() < 0.5 else random.randint(1, 4 * gap_ms)) for _ in rows))
        complete_ms = list(accumulate(reversed([*(row.ts_ms for row in rows), END_MS]), min))[::-1]
        return cls(Trades.of(rows), due_ms, complete_ms)


@dataclass(slots=True)
class RecordingSource:
    """Read again from any position, the number of trades taken. `tells_complete`: whether quiet minutes close early."""

    recording: Recording
    clock: VirtualClock
    fails: Callable[[], bool]
    tells_complete: bool
    name: str = "recording"
    sources: int = LIVE
    _at: int = 0

    async def open(self, position: str, applied: Applied) -> None:
        self._at = int(position or "0")

    async def read(self, limit: int, wait_ms: int) -> Batch:
        due_ms, count = self.recording.due_ms, len(self.recording.trades)
        until_ms = due_ms[self._at] - self.clock.monotonic_ms() if self._at < count else wait_ms
        if until_ms > 0:
            await self.clock.sleep_ms(min(until_ms, wait_ms))
        if self.fails():
            raise ConnectionLost("the venue hung up")
        start = self._at
        while self._at < min(count, start + limit) and due_ms[self._at] <= self.clock.monotonic_ms():
            self._at += 1
        complete_ms = self.recording.complete_ms[self._at] if self.tells_complete else NEVER
        return Batch(self.recording.trades[start : self._at], str(self._at), complete_ms)

    async def committed(self, position: str) -> None: ...

    async def close(self) -> None: ...


class ConnectionLost(Exception):
    """An error the worker does not know: it ends the term and makes the symbol wait."""


def _regular(random: Random, count: int) -> list[Trade]:
    rows, ts_ms = [], START_MS
    for trade_id in range(1, count + 1):
        ts_ms += random.choice((0, 900, 4_000, 20_000, 20_000, 130_000))
        price = 0 if random.random() < 0.01 else random.randint(95, 105)
        rows.append(Trade(ts_ms, trade_id, price, random.randint(0, 9), random.randint(0, 2)))
    return rows


def _disordered(random: Random, rows: list[Trade]) -> list[Trade]:
    """Some are never seen, some late by a little or a lot, some are seen twice."""
    places: list[tuple[float, Trade]] = []
    for at, row in enumerate(rows):
        if random.random() < 0.03:
            continue
        late = random.choice((0, 0, 0, 0, 1.5, 3.5, random.random() * len(rows) / 2))
        places.append((at + late, row))
        if random.random() < 0.08:
            places.append((at + late + random.random() * len(rows) / 2, row))
    return [row for _, row in sorted(places)]
