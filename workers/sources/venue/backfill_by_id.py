"""Backfill where trade ids count on by one: what is missing is the holes of coverage, the newest first.

the newest hole      its trades by id, the newest page first where the venue is asked by id
what is denied       ids the venue does not give out: its own candles take their minutes, once those are closed and
                     nothing else is missing in them; where it has no candle either, the hole is given up
the head             after a reconnect into silence: has anything been traded since the last trade?
what is too old      trades of minutes that retention does not keep would be refused: such a hole is given up
the beginning        of a market that is new: the first page of its history; the hole after it is like any other
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.market.builder.gaps import START
from common.market.builder.spans import Hole, IdSpan
from common.market.candle import BACKFILL, Candle
from common.market.timeframes.timeframe import MINUTE_MS, minute_of
from common.market.trade import Trades
from workers.sources.base import Batch
from workers.sources.venue.backfill import SETTLE_MS, Backfill, Job
from workers.venues.shared.base import Unserved, VenueError, VenueUnavailable

log = logging.getLogger(__name__)

# Trades asked for at once; venues that give fewer have it continued.
PAGE = 1_000
# Requests under way side by side: enough to hide the way to the venue, and the budget bounds them anyhow.
AT_ONCE = 4
# A venue's REST may lag behind its stream: an id it does not know yet is asked for so often before it counts as denied.
MAX_FRUITLESS = 6


@dataclass(slots=True, kw_only=True)
class BackfillById(Backfill):
    _denied: list[IdSpan] = field(default_factory=list)
    # How often a hole was asked for in vain, by its end: what is found is cut off there.
    _fruitless: dict[int, int] = field(default_factory=dict)
    # Ids up to this one were traded before what is kept.
    _too_old_id: int = -1

    def heard(self, ts_ms: int = 0) -> None:
        """What lies before it is a hole like any other."""
        self.head_known = True
        self._head_due_ms = None

    def missed(self, ts_ms: int) -> None:
        """It is a hole like any other."""

    def unread(self, ts_ms: int) -> None:
        """It stays one until it is denied."""

    async def _begin(self) -> None:
        oldest, from_ms = self.applied.coverage.oldest(), self._begins_ms
        if self.history_ms and (not oldest or oldest.from_ms > from_ms):
            try:
                found = await self.venue.trades_between(self.listing, from_ms, self.clock.now_ms())
            except Unserved as error:
                log.warning("no history", extra={"symbol": self._symbol, "error": str(error)})
                found = Trades()
            self._put(Batch(found, "", sources=BACKFILL, cause=START))
        self.begun = True

    def _next_of_begun(self) -> Job | None:
        holes = [hole for hole in self.applied.coverage.holes() if not self.applied.gaps.given_up(hole)]
        if too_old := [hole for hole in holes if self._is_too_old(hole)]:
            return lambda: self._give_up(too_old)
        for hole in reversed(holes):
            if not self._is_denied(hole):
                return lambda: self._fill(hole)
        if group := self._replaceable(holes):
            return lambda: self._replace(group)
        return self._look_at_head if self._is_head_due else None

    # Trades.

    async def _fill(self, hole: Hole) -> None:
        try:
            found = await (self._newest_first(hole) if self.venue.asked_by_id else self._oldest_first(hole))
        except Unserved as error:
            log.warning("trades are not served", extra={"symbol": self._symbol, "gap": str(hole), "error": str(error)})
            self._deny(IdSpan(*hole))
            return
        if found or self._is_denied(hole):
            self._fruitless.pop(hole.last, None)
            return
        self._fruitless[hole.last] = self._fruitless.get(hole.last, 0) + 1
        if self._fruitless[hole.last] >= MAX_FRUITLESS:
            del self._fruitless[hole.last]
            self._deny(IdSpan(*hole))
            return
        raise VenueUnavailable(f"ids {hole.first} to {hole.last} are not there yet")

    async def _newest_first(self, hole: Hole) -> int:
        found = 0
        for end in range(hole.last, hole.first - 1, -PAGE * AT_ONCE):
            if end <= self._too_old_id:
                break
            ends = range(end, max(hole.first - 1, end - PAGE * AT_ONCE), -PAGE)
            pages = (self._page(max(hole.first, last - PAGE + 1), last, hole.from_ms) for last in ends)
            results = await asyncio.gather(*pages, return_exceptions=True)
            found += sum(result for result in results if isinstance(result, int))
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            await self.queue.room.wait()
        return found

    async def _oldest_first(self, hole: Hole) -> int:
        found, first, at_ms = 0, hole.first, hole.from_ms
        while first <= hole.last:
            asked = await self.venue.trades_from_id(self.listing, first, PAGE, at_ms)
            kept = self._take(asked, first, hole.last)
            if not kept:
                break
            found, first, at_ms = found + len(kept), kept.ids[-1] + 1, kept.ts_ms[-1]
            await self.queue.room.wait()
        return found

    async def _page(self, first: int, last: int, at_ms: int) -> int:
        # One more than is missing: only a later trade shows that what is not there will not come.
        asked = await self.venue.trades_from_id(self.listing, first, min(PAGE, last - first + 2), at_ms)
        return len(self._take(asked, first, last))

    def _take(self, asked: Trades, first: int, last: int) -> Trades:
        """Queue what is missing; ids the venue skips are denied."""
        kept = asked.take([at for at, trade_id in enumerate(asked.ids) if first <= trade_id <= last])
        floor_ms = self.applied.floor_ms()
        too_old = (trade_id for ts_ms, trade_id in zip(kept.ts_ms, kept.ids, strict=True) if ts_ms < floor_ms)
        self._too_old_id = max(self._too_old_id, max(too_old, default=-1))
        if kept:
            self._put(Batch(kept, "", sources=BACKFILL))
        known_to = min(last, asked.ids[-1] if asked else -1)
        expected = first
        for trade_id in [*kept.ids, known_to + 1]:
            if expected < trade_id:
                self._deny(IdSpan(expected, trade_id - 1, 0, 0))
            expected = trade_id + 1
        return kept

    # What is too old.

    def _is_too_old(self, hole: Hole) -> bool:
        return hole.to_ms < self.applied.floor_ms() or hole.last <= self._too_old_id

    async def _give_up(self, holes: Sequence[Hole]) -> None:
        self._put(Batch(Trades(), "", given_up=holes))
        log.info("gaps older than what is kept", extra={"symbol": self._symbol, "count": len(holes)})

    # What the venue does not give out.

    def _deny(self, span: IdSpan) -> None:
        self._denied.append(span)

    def _is_denied(self, hole: Hole) -> bool:
        return any(span.first <= hole.first and hole.last <= span.last for span in self._denied)

    def _replaceable(self, holes: Sequence[Hole]) -> list[Hole]:
        """The newest denied holes that share minutes, once those are closed and at rest; else none."""
        newest = self.applied.coverage.newest()
        newest_ms = newest.to_ms if newest else 0
        rest = list(reversed(holes))
        while rest:
            group = [rest.pop(0)]
            while rest and minute_of(rest[0].to_ms) >= minute_of(group[-1].from_ms):
                group.append(rest.pop(0))
            if minute_of(group[0].to_ms) + MINUTE_MS + SETTLE_MS <= newest_ms:
                return group
        return []

    async def _replace(self, group: Sequence[Hole]) -> None:
        """`group`: from the newest to the oldest."""
        from_ms, to_ms = minute_of(group[-1].from_ms), minute_of(group[0].to_ms) + MINUTE_MS
        try:
            candles = await self.venue.candles(self.listing, from_ms, to_ms)
        except VenueError as error:
            log.warning("candles are not served", extra={"symbol": self._symbol, "error": str(error)})
            candles = list[Candle]()
        if self.is_held():
            # Of what is missing here something could not be read.
            return
        opens = {candle.open_ms for candle in candles}
        # In both of these minutes there was a trade: without a candle of each the venue does not have them any more.
        filled = [hole for hole in group if {minute_of(hole.from_ms), minute_of(hole.to_ms)} <= opens]
        kept = {open_ms for hole in filled for open_ms in range(minute_of(hole.from_ms), hole.to_ms + 1, MINUTE_MS)}
        lost = [hole for hole in group if hole not in filled]
        # A minute of which a part is lost stays as it is: its candle would count what is found there later twice.
        for hole in lost:
            kept -= set(range(minute_of(hole.from_ms), hole.to_ms + 1, MINUTE_MS))
        self._put(
            Batch(
                Trades(),
                "",
                candles=[candle for candle in candles if candle.open_ms in kept],
                covered=[IdSpan(*hole) for hole in filled],
                given_up=lost,
            )
        )
        # All of them are dealt with: by coverage, or in the ledger.
        done = [
            span for span in self._denied if any(span.first <= hole.last and hole.first <= span.last for hole in group)
        ]
        self._denied = [span for span in self._denied if span not in done]
        log.info("gaps closed by candles", extra={"symbol": self._symbol, "filled": len(filled), "lost": len(lost)})

    # The head.

    async def _look_at_head(self) -> None:
        newest = self.applied.coverage.newest()
        self._head_due_ms = None
        if not newest:
            self.head_known = True
            return
        try:
            found = await self.venue.trades_from_id(self.listing, newest.last + 1, PAGE, newest.to_ms)
        except Unserved:
            # There is no telling; the next live trade shows the hole.
            return
        except BaseException:
            self._head_due_ms = self.clock.monotonic_ms()
            raise
        # Only the newest: what lies before it is then a hole with a cause, and filled like one.
        self._put(Batch(found[-1:], "", sources=BACKFILL))
        self.head_known = len(found) < PAGE
        if not self.head_known:
            self._head_due_ms = self.clock.monotonic_ms()
