"""Between a backfill and the source: what was fetched waits to be applied."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from common.market.trade import Trades
from workers.sources.base import Batch

# Batches that wait to be applied before more is fetched.
MAX_WAITING = 32


@dataclass(slots=True)
class BatchQueue:
    """Where fetched batches wait to be read. `applied` is set while there are none and the last one is applied."""

    batches: list[Batch] = field(default_factory=list)
    applied: asyncio.Event = field(default_factory=asyncio.Event)
    room: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.applied.clear()
        if len(self.batches) >= MAX_WAITING:
            self.room.clear()

    def read(self, limit: int) -> list[Batch]:
        """Batches up to `limit` trades, at least one. To be called again when what it returned has been applied."""
        count, trades = 0, 0
        while count < len(self.batches) and (not count or trades + len(self.batches[count].trades) <= limit):
            trades += len(self.batches[count].trades)
            count += 1
        found, self.batches = self.batches[:count], self.batches[count:]
        if len(self.batches) < MAX_WAITING:
            self.room.set()
        if not found:
            self.applied.set()
        return found


def joined(parts: Sequence[Batch]) -> Batch:
    """One batch of several of one cause: their trades in order, and all else."""
    if len(parts) == 1:
        return parts[0]
    trades = Trades()
    for part in parts:
        trades.ts_ms += part.trades.ts_ms
        trades.ids += part.trades.ids
        trades.price_ticks += part.trades.price_ticks
        trades.size_lots += part.trades.size_lots
    trades.sides = b"".join(part.trades.sides for part in parts)
    return replace(
        parts[0],
        trades=trades,
        covered=[span for part in parts for span in part.covered],
        candles=[candle for part in parts for candle in part.candles],
        given_up=[hole for part in parts for hole in part.given_up],
    )
