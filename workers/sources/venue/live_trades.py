"""Live trades that wait to be read by the term."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.market.builder.gaps import DISCONNECT, ID_JUMP, START, THROTTLE, UNKNOWN
from common.market.builder.spans import IdSpan
from common.market.trade import TradeRow, Trades
from workers.sources.base import Batch
from workers.venues.shared import live

# Trades that wait to be read before the socket waits.
MAX_WAITING = 200_000
# The lag follows a rise by one part in so many a frame, and a fall at once.
LAG_EVENTS = 64


@dataclass(slots=True)
class LivePart:
    """Trades, and then ids under which the venue says there is none. `cause`: why there may be a hole before them."""

    cause: str
    rows: list[TradeRow] = field(default_factory=list)
    covered: list[IdSpan] = field(default_factory=list)


@dataclass(slots=True)
class LiveTrades:
    """`arrived` is set with whatever comes."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    # How far the venue's trades are behind our clock.
    lag_ms: int | None = None
    # Why the next hole at the newest end is there.
    cause: str = START
    _parts: deque[LivePart] = field(default_factory=deque)
    _count: int = 0
    _room: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_empty(self) -> bool:
        return not self._parts

    def put(self, rows: Sequence[TradeRow]) -> None:
        self._part(is_of_trades=True).rows.extend(rows)
        self._count += len(rows)

    def put_none(self, trade_id: int, ts_ms: int) -> None:
        """An id under which the venue says there is no trade."""
        self._part(is_of_trades=False).covered.append(IdSpan(trade_id, trade_id, ts_ms, ts_ms))

    def _part(self, *, is_of_trades: bool) -> LivePart:
        """Where that goes which came now: a part has no trades behind its ids of none."""
        part = self._parts[-1] if self._parts else None
        if part is None or part.cause != self.cause or (part.covered and is_of_trades):
            part = LivePart(self.cause)
            self._parts.append(part)
        self.cause = ID_JUMP
        self.arrived.set()
        return part

    def take(self, limit: int) -> Batch:
        """What waits, up to `limit`, of one cause. Only now columns are made of it."""
        cause = self._parts[0].cause if self._parts else UNKNOWN
        rows, covered = list[TradeRow](), list[IdSpan]()
        while self._parts and self._parts[0].cause == cause and len(rows) < limit:
            part, room = self._parts[0], limit - len(rows)
            rows += part.rows[:room]
            if len(part.rows) > room:
                del part.rows[:room]
                break
            covered += part.covered
            self._parts.popleft()
        self._count -= len(rows)
        self._room.set()
        return Batch(Trades.of(rows), "", cause=cause, covered=covered)

    async def room(self) -> None:
        """Wait while too many wait."""
        while self._count > MAX_WAITING:
            await self._taken()

    async def until_empty(self) -> None:
        while self._parts:
            await self._taken()

    async def _taken(self) -> None:
        self._room.clear()
        await self._room.wait()

    def lags(self, lag_ms: int) -> None:
        if self.lag_ms is None or lag_ms < self.lag_ms:
            self.lag_ms = lag_ms
        else:
            self.lag_ms += (lag_ms - self.lag_ms) // LAG_EVENTS

    def disconnected(self, cause: str) -> None:
        if self.cause != START:
            self.cause = THROTTLE if cause == live.THROTTLED else DISCONNECT
