"""A recording on disk that a worker of the kill test reads: many trades, in a bad order, read again from any row."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import BinaryIO

from common.clock import Clock
from common.market.candle import LIVE
from common.market.trade import Trade, Trades
from common.store.registry import Market
from workers.sources.base import NEVER, Applied, Batch

KIND = "chaos"
START_MS = 1_690_000_000_000
# Mean distance of two trades: some 20 a second.
GAP_MS = 50
# While faults go on, a batch is read this often at most, so that the recording lasts; then the flag file appears.
PACE_MS = 10
_ROW = struct.Struct("<qqqqB")


def write_recording(path: Path, random: Random, count: int) -> Trades:
    """Write about `count` trades and return them in the order in which they are read."""
    rows = list(_disordered(random, count))
    path.write_bytes(b"".join(_ROW.pack(*row) for row in rows))
    return Trades.of(rows)


@dataclass(slots=True)
class RecordingFile:
    """The source: position is the number of rows taken. Goes slowly until `<path>.hurry` exists."""

    path: Path
    clock: Clock
    name: str = "recording"
    sources: int = LIVE
    _file: BinaryIO | None = None
    _at: int = 0

    @classmethod
    def of(cls, market: Market, clock: Clock) -> "RecordingFile":
        return cls(Path(market.source["path"]), clock)

    async def open(self, position: str, applied: Applied) -> None:
        self._at = int(position or "0")
        self._file = open(self.path, "rb")  # noqa: ASYNC230 - a local file of a test
        self._file.seek(self._at * _ROW.size)

    async def read(self, limit: int, wait_ms: int) -> Batch:
        assert self._file is not None, "read before open"
        if not self._is_in_a_hurry():
            await self.clock.sleep_ms(PACE_MS)
        packed = self._file.read(limit * _ROW.size)
        if not packed:
            await self.clock.sleep_ms(wait_ms)
        trades = Trades.of(map(Trade._make, _ROW.iter_unpack(packed)))
        self._at += len(trades)
        return Batch(trades, str(self._at), NEVER)

    def _is_in_a_hurry(self) -> bool:
        return hurry_flag(self.path).exists()

    async def committed(self, position: str) -> None: ...

    async def close(self) -> None:
        if self._file:
            self._file.close()


def hurry_flag(path: Path) -> Path:
    return path.with_suffix(".hurry")


def _disordered(random: Random, count: int) -> Iterator[Trade]:
    """Of a hundred one is never seen, one late by a moment or by minutes, one seen twice; some are invalid."""
    places: list[tuple[float, Trade]] = []
    ts_ms, price = START_MS, 10_000
    for trade_id in range(1, count + 1):
        ts_ms += int(random.random() * 2 * GAP_MS)
        price += random.choice((-1, 0, 0, 1))
        trade = Trade(ts_ms, trade_id, price, random.randrange(1, 500), trade_id % 3)
        chance = random.random()
        if chance < 0.01:
            continue
        late = random.choice((2.5, 40.5, 20_000 * random.random())) if chance < 0.02 else 0
        places.append((trade_id + late, trade))
        if chance > 0.99:
            places.append((trade_id + 5_000 * random.random(), trade))
        if chance > 0.9995:
            places.append((trade_id, trade._replace(price_ticks=0)))
    return (trade for _, trade in sorted(places))
