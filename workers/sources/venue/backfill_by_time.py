"""Backfill where trade ids do not count on: coverage has no holes, and what may be missing is a stretch of time.

a stretch            from a little before the newest trade, or from where the history of a new market begins, until
                     now; its newest part first. What is there already is a duplicate, and dropped as such. It is
                     begun when the connection has delivered, so that nothing can get lost between the two.
what is not served   whole minutes of it without a trade: the venue's own candles. Some venues forget soon.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.market.builder.recent_coverage import RecentCoverage
from common.market.candle import BACKFILL, Candle
from common.market.timeframes.timeframe import MINUTE_MS, minute_of
from common.market.trade import Trades
from workers.sources.base import Batch
from workers.sources.venue.backfill import BEGUN, SETTLE_MS, Backfill, Job
from workers.venues.shared.base import Unserved, VenueError

log = logging.getLogger(__name__)

# Trades may be printed, and come, a little out of order: a stretch begins so long before the newest.
OVERLAP_MS = 5_000
# A stretch is fetched in parts of this length. The last 50,000 ids are known (RECENT_IDS of recent_coverage), so of a
# long one only the newest trades may be had.
PART_MS = 10 * MINUTE_MS
# A trade of the stream that can't be used is asked for after so long, with those that followed it.
MISSED_MS = 10_000
# Minutes of which a trade can't be read, kept until the venue's candle takes their place.
MAX_UNREAD = 1_000


@dataclass(slots=True)
class MissingStretch:
    """A time of which trades may be missing. `to_ms` None: until now."""

    from_ms: int
    to_ms: int | None = None


@dataclass(slots=True, kw_only=True)
class BackfillByTime(Backfill):
    # Oldest first.
    _stretches: list[MissingStretch] = field(default_factory=list)
    # Opens of minutes of which the venue gave a trade that could not be read.
    _unread: set[int] = field(default_factory=set)
    # The venue's time of the first live trade of this connection.
    _heard_ms: int | None = None

    def __post_init__(self) -> None:
        # (A dataclass with slots has another class by now than the one that an argumentless super() knows.)
        super(BackfillByTime, self).__post_init__()
        from_ms = self.committed.partition(" ")[2]
        if self.begun and from_ms:
            self._stretches.append(MissingStretch(int(from_ms)))

    @property
    def position(self) -> str:
        if not self.begun or not self._stretches:
            return BEGUN if self.begun else ""
        return f"{BEGUN} {min(each.from_ms for each in self._stretches)}"

    @property
    def is_blind(self) -> bool:
        return self.is_busy

    def reconnected(self) -> None:
        self._heard_ms = None
        self._miss_head()
        super(BackfillByTime, self).reconnected()

    def heard(self, ts_ms: int = 0) -> None:
        if self._heard_ms is None:
            # Only now it is sure that the connection delivers: what was fetched before may lack something.
            self._heard_ms = ts_ms
            self.head_known = False
            self._head_due_ms = self.clock.monotonic_ms()
            self._miss_head()
            self.wake()

    def missed(self, ts_ms: int) -> None:
        """It is asked for. (By ids it is a hole like any other.)"""
        if ts_ms < 0:
            return
        from_ms, newest = ts_ms - OVERLAP_MS, self._stretches[-1] if self._stretches else None
        if newest and newest.to_ms is None:
            newest.from_ms = min(newest.from_ms, from_ms)
        else:
            self._stretches.append(MissingStretch(from_ms))
        if self._head_due_ms is None:
            self._head_due_ms = self.clock.monotonic_ms() + MISSED_MS

    def unread(self, ts_ms: int) -> None:
        """The venue's candle takes the minute's place."""
        if ts_ms >= 0 and len(self._unread) < MAX_UNREAD:
            self._unread.add(minute_of(ts_ms))

    async def _begin(self) -> None:
        self._stretches = [MissingStretch(self._begins_ms)] if self.history_ms else []
        self.begun = True

    def _miss_head(self) -> None:
        """Something may be missing from the newest trade on."""
        newest = self.applied.coverage.newest()
        knows_already = self._stretches and self._stretches[-1].to_ms is None
        if newest and not knows_already:
            self._stretches.append(MissingStretch(newest.to_ms - OVERLAP_MS))

    def _next_of_begun(self) -> Job | None:
        is_due = self._is_head_due
        for stretch in reversed(self._stretches):
            if stretch.to_ms is not None or is_due:
                return lambda: self._shorten(stretch)
        if is_due and not self._stretches:
            self.head_known, self._head_due_ms = True, None
        if not self._stretches and (opens := self._unread_at_rest()):
            return lambda: self._replace_unread(opens)
        return None

    async def _shorten(self, stretch: MissingStretch) -> None:
        """Fetch the newest part of it."""
        due_ms = self._head_due_ms
        to_ms = max(self.clock.now_ms(), self._heard_ms or 0) if stretch.to_ms is None else stretch.to_ms
        # Of whole minutes, so that each is in one part: it has trades, or its candle is asked for.
        from_ms = max(stretch.from_ms, minute_of(to_ms - PART_MS), self._floor_ms + 1)
        await self._fetch(from_ms, to_ms)
        await self.queue.applied.wait()
        if self.is_held():
            return
        is_last = from_ms <= max(stretch.from_ms, self._floor_ms + 1)
        await self._replace_bare(stretch.from_ms if is_last else from_ms, to_ms)
        await self.queue.applied.wait()
        if stretch.to_ms is None:
            if due_ms != self._head_due_ms:
                # The connection was lost meanwhile, or has delivered for the first time: look again.
                return
            self.head_known, self._head_due_ms = True, None
        stretch.to_ms = from_ms
        if is_last:
            self._stretches.remove(stretch)

    async def _fetch(self, from_ms: int, to_ms: int) -> None:
        """Queue the trades of this time, page by page."""
        at_ms = from_ms
        while at_ms <= to_ms:
            try:
                found = await self.venue.trades_between(self.listing, at_ms, to_ms)
            except Unserved as error:
                log.warning("trades are not served", extra={"symbol": self._symbol, "error": str(error)})
                return
            if not found:
                return
            self._put(Batch(found, "", sources=BACKFILL))
            await self.queue.room.wait()
            # What is at the floor or before can't be told from a duplicate any more.
            at_ms = max(found.ts_ms[-1], self._floor_ms) + 1

    async def _replace_bare(self, from_ms: int, to_ms: int) -> None:
        """The venue's candles for the closed minutes of this time that have no trade."""
        rested_ms = min(to_ms, self.applied.watermark_ms() - SETTLE_MS)
        opens = range(minute_of(from_ms - 1) + MINUTE_MS, minute_of(rested_ms), MINUTE_MS)
        known = await self.applied.minutes(list(opens))
        bare = [open_ms for open_ms in opens if open_ms not in known]
        if not bare:
            return
        try:
            candles = await self.venue.candles(self.listing, bare[0], bare[-1] + MINUTE_MS)
        except VenueError as error:
            log.warning("candles are not served", extra={"symbol": self._symbol, "error": str(error)})
            return
        missing = [candle for candle in candles if candle.open_ms in bare]
        if missing:
            self._put(Batch(Trades(), "", candles=missing))
            log.info("minutes without trades closed by candles", extra={"symbol": self._symbol, "count": len(missing)})

    def _unread_at_rest(self) -> list[int]:
        """Those that are closed, of one page of candles."""
        rested_ms = self.applied.watermark_ms() - SETTLE_MS
        opens = sorted(open_ms for open_ms in self._unread if open_ms + MINUTE_MS <= rested_ms)
        return [open_ms for open_ms in opens if open_ms - opens[0] < PART_MS]

    async def _replace_unread(self, opens: Sequence[int]) -> None:
        try:
            candles = await self.venue.candles(self.listing, opens[0], opens[-1] + MINUTE_MS)
        except VenueError as error:
            log.warning("candles are not served", extra={"symbol": self._symbol, "error": str(error)})
            candles = list[Candle]()
        self._unread.difference_update(opens)
        found = [candle for candle in candles if candle.open_ms in opens]
        self._put(Batch(Trades(), "", candles=found))
        log.info("minutes with trades that can't be read are the venue's", extra={"symbol": self._symbol})

    @property
    def _floor_ms(self) -> int:
        """Up to there trades can't be told from duplicates, or would be refused."""
        coverage = self.applied.coverage
        known_ms = coverage.floor_ms if isinstance(coverage, RecentCoverage) else -1
        return max(known_ms, self.applied.floor_ms() - 1)
