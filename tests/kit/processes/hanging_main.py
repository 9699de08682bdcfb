"""The real worker process, whose source hangs after its first trade: python -m tests.kit.processes.hanging_main"""

import threading

from common.market.candle import LIVE
from common.market.trade import BUY, Trade, Trades
from workers import run
from workers.sources import SOURCES
from workers.sources.base import Applied, Batch

KIND = "hanging"


class Hanging:
    """Its second read never returns, and holds the whole loop."""

    name = KIND
    sources = LIVE
    reads = 0

    async def open(self, position: str, applied: Applied) -> None: ...

    async def read(self, limit: int, wait_ms: int) -> Batch:
        self.reads += 1
        if self.reads > 1:
            threading.Event().wait()
        return Batch(Trades.of([Trade(1_700_000_000_000, 1, 100, 5, BUY)]), "1")

    async def committed(self, position: str) -> None: ...

    async def close(self) -> None: ...


if __name__ == "__main__":
    SOURCES[KIND] = lambda market, means: Hanging()
    raise SystemExit(run.main())
