"""What is missing, fetched from the venue behind the live stream: newest hole first, page by page, through the budget.

    the newest hole      its trades by id, the newest page first where the venue is asked by id
    what is denied       ids the venue does not give out: its own candles take their minutes, once those are closed and
                         nothing else is missing in them; where it has no candle either, the hole is given up
    the head             after a reconnect into silence: has anything been traded since the last trade?
    what is too old      trades of minutes that retention does not keep would be refused: such a hole is given up
    the beginning        of a market that is new: the first page of its history; the hole after it is like any other

Where ids are not contiguous coverage has no holes, and what may be missing is a stretch of time:

    a stretch            from a little before the newest trade, or from where the history of a new market begins, until
                         now; its newest part first. What is there already is a duplicate, and dropped as such. It is
                         begun when the connection has delivered, so that nothing can get lost between the two.
    what is not served   whole minutes of it without a trade: the venue's own candles. Some venues forget soon.

One such job at a time. Before the next one is chosen, all that was fetched has been applied, so coverage says what is
missing and nothing is asked for twice. Only the holder of a symbol has a source, so a backfill runs once in the fleet,
and it ends with the term.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from common.clock import Clock, wait_at_most
from common.errors import StoreUnavailable
from common.market.builder.coverage import RecentCoverage
from common.market.builder.gaps import START
from common.market.builder.spans import Hole, IdSpan
from common.market.candle import BACKFILL, Candle
from common.market.timeframes.timeframe import MINUTE_MS, minute_of
from common.market.trade import Trades
from workers.sources.base import Applied, Batch
from workers.venues.shared.base import Listing, Throttled, Unserved, Venue, VenueError, VenueUnavailable

log = logging.getLogger(__name__)

# Trades asked for at once; venues that give fewer have it continued.
PAGE = 1_000
# Requests under way side by side: enough to hide the way to the venue, and the budget bounds them anyhow.
AT_ONCE = 4
# Batches that wait to be applied before more is fetched.
MAX_WAITING = 32
# A venue's REST may lag behind its stream: an id it does not know yet is asked for so often before it counts as denied.
MAX_FRUITLESS = 6
# How long a closed minute rests before its candle is taken for final.
SETTLE_MS = 3_000
# Silence after a reconnect before the head is asked for.
HEAD_MS = 2_000
BACKOFF_MS, BACKOFF_CAP_MS = 250, 30_000
# Trades may be printed, and come, a little out of order: a stretch begins so long before the newest.
OVERLAP_MS = 5_000
# A stretch is fetched in parts of this length. The last 50,000 ids are known (coverage.RECENT_IDS), so of a long one
# only the newest trades may be had.
PART_MS = 10 * MINUTE_MS
# A trade of the stream that can't be used is asked for after so long, with those that followed it.
MISSED_MS = 10_000
# Minutes of which a trade can't be read, kept until the venue's candle takes their place.
MAX_UNREAD = 1_000
# A position says that the history of a new market has begun, and from when on trades may be missing.
BEGUN = "begun"
# A refusal for good (a delisted market, say) is tried again so rarely.
REFUSED_MS = 60_000


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


@dataclass(slots=True)
class MissingStretch:
    """A time of which trades may be missing. `to_ms` None: until now."""

    from_ms: int
    to_ms: int | None = None


@dataclass(slots=True)
class Backfill:
    """`desk` takes what was found, `on_put` is told of it. `history_ms`: how much a new market has behind it.

    `committed`: the position to go on from.
    """

    venue: Venue
    listing: Listing
    clock: Clock
    applied: Applied
    desk: BatchQueue
    on_put: Callable[[], None]
    history_ms: int
    committed: str
    # Whether what can't be read now may be so soon: nothing is asked for, and nothing given up.
    is_held: Callable[[], bool] = lambda: False
    # Whether the history of a new market has begun.
    begun: bool = field(init=False)
    # Nothing was traded between the newest trade and the reconnect, or all of it is known.
    head_known: bool = False
    _head_due_ms: int | None = None
    _denied: list[IdSpan] = field(default_factory=list)
    _fruitless: dict[int, int] = field(default_factory=dict)
    # Ids up to this one were traded before what is kept.
    _too_old_id: int = -1
    _failures: int = 0
    # Only where ids are not contiguous, oldest first.
    _stretches: list[MissingStretch] = field(default_factory=list)
    # Opens of minutes of which the venue gave a trade that could not be read.
    _unread: set[int] = field(default_factory=set)
    # The venue's time of the first live trade of this connection.
    _heard_ms: int | None = None
    # Whether something that is missing is being fetched.
    is_busy: bool = False
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        word, _, from_ms = self.committed.partition(" ")
        self.begun = word == BEGUN
        if self.begun and from_ms:
            self._stretches.append(MissingStretch(int(from_ms)))

    @property
    def position(self) -> str:
        """What the next term must know besides coverage."""
        if not self.begun:
            return ""
        return f"{BEGUN} {min(each.from_ms for each in self._stretches)}" if self._stretches else BEGUN

    def wake(self) -> None:
        """Coverage has changed: look again."""
        self._woken.set()

    def reconnected(self) -> None:
        self.head_known = False
        self._head_due_ms = self.clock.monotonic_ms() + HEAD_MS
        self._heard_ms = None
        self._miss_head()
        self.wake()

    def disconnected(self) -> None:
        self.head_known = False
        self._head_due_ms = None

    def heard(self, ts_ms: int = 0) -> None:
        """A live trade came: what lies before it is a hole like any other."""
        if not self._by_time:
            self.head_known = True
            self._head_due_ms = None
        elif self._heard_ms is None:
            # Only now it is sure that the connection delivers: what was fetched before may lack something.
            self._heard_ms = ts_ms
            self.head_known = False
            self._head_due_ms = self.clock.monotonic_ms()
            self._miss_head()
            self.wake()

    def missed(self, ts_ms: int) -> None:
        """A trade of the stream could not be used: it is asked for. (By ids it is a hole like any other.)"""
        if not self._by_time or ts_ms < 0:
            return
        from_ms, newest = ts_ms - OVERLAP_MS, self._stretches[-1] if self._stretches else None
        if newest and newest.to_ms is None:
            newest.from_ms = min(newest.from_ms, from_ms)
        else:
            self._stretches.append(MissingStretch(from_ms))
        if self._head_due_ms is None:
            self._head_due_ms = self.clock.monotonic_ms() + MISSED_MS

    def unread(self, ts_ms: int) -> None:
        """A trade that the venue gave when it was asked can't be used: its candle takes the minute's place."""
        if self._by_time and ts_ms >= 0 and len(self._unread) < MAX_UNREAD:
            self._unread.add(minute_of(ts_ms))

    async def run(self) -> None:
        while True:
            await self.desk.applied.wait()
            job = self._next()
            self.is_busy = job is not None
            if job is None:
                await self._rest()
                continue
            try:
                await job()
            except (VenueUnavailable, StoreUnavailable) as error:
                self._failures += 1
                await self._back_off(error)
            except VenueError as error:
                log.error("backfill refused", extra={"symbol": self._symbol, "error": str(error)})
                await self.clock.sleep_ms(REFUSED_MS)
            else:
                self._failures = 0

    @property
    def _symbol(self) -> str:
        return self.listing.instrument.symbol

    def _next(self) -> Callable[[], Awaitable[None]] | None:
        if self.is_held():
            return None
        if not self.begun:
            return self._begin
        if self._by_time:
            return self._next_by_time()
        holes = [hole for hole in self.applied.coverage.holes() if not self.applied.gaps.given_up(hole)]
        if too_old := [hole for hole in holes if self._is_too_old(hole)]:
            return lambda: self._give_up(too_old)
        for hole in reversed(holes):
            if not self._is_denied(hole):
                return lambda: self._fill(hole)
        if group := self._replaceable(holes):
            return lambda: self._replace(group)
        if self._head_due_ms is not None and self.clock.monotonic_ms() >= self._head_due_ms:
            return self._look_at_head
        return None

    async def _rest(self) -> None:
        """Wait for a change, or until something may be due that nobody tells of."""
        self._woken.clear()
        await wait_at_most(self._woken, self.clock, HEAD_MS // 4)

    async def _back_off(self, error: Exception) -> None:
        bound_ms = min(BACKOFF_MS << min(self._failures, 10), BACKOFF_CAP_MS)
        wait_ms = int(random.uniform(0.5, 1) * bound_ms)
        if isinstance(error, Throttled):
            # The budget of the fleet waits as well; it is asked again only when that makes sense.
            wait_ms = max(wait_ms, int(min(error.retry_after_ms, BACKOFF_CAP_MS) * random.uniform(1, 1.1)))
        log.warning("backfill waits", extra={"symbol": self._symbol, "error": str(error), "wait_ms": wait_ms})
        await self.clock.sleep_ms(wait_ms)

    # The beginning of a new market.

    async def _begin(self) -> None:
        now_ms = self.clock.now_ms()
        # What is older than all that is kept would be refused, and leave no hole to be filled from.
        oldest, from_ms = self.applied.coverage.oldest(), max(now_ms - self.history_ms, self.applied.floor_ms())
        if self._by_time:
            self._stretches = [MissingStretch(from_ms)] if self.history_ms else []
        elif self.history_ms and (not oldest or oldest.from_ms > from_ms):
            try:
                found = await self.venue.trades_between(self.listing, from_ms, now_ms)
            except Unserved as error:
                log.warning("no history", extra={"symbol": self._symbol, "error": str(error)})
                found = Trades()
            self._put(Batch(found, "", sources=BACKFILL, cause=START))
        self.begun = True

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
        # Keyed by its end: what is found is cut off there.
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
            await self.desk.room.wait()
        return found

    async def _oldest_first(self, hole: Hole) -> int:
        found, first, at_ms = 0, hole.first, hole.from_ms
        while first <= hole.last:
            asked = await self.venue.trades_from_id(self.listing, first, PAGE, at_ms)
            kept = self._take(asked, first, hole.last)
            if not kept:
                break
            found, first, at_ms = found + len(kept), kept.ids[-1] + 1, kept.ts_ms[-1]
            await self.desk.room.wait()
        return found

    async def _page(self, first: int, last: int, at_ms: int) -> int:
        # One more than is missing: only a later trade shows that what is not there will not come.
        asked = await self.venue.trades_from_id(self.listing, first, min(PAGE, last - first + 2), at_ms)
        return len(self._take(asked, first, last))

    def _take(self, asked: Trades, first: int, last: int) -> Trades:
        """Put on the desk what is missing; ids the venue skips are denied."""
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

    def _put(self, batch: Batch) -> None:
        self.desk.put(batch)
        self.on_put()

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

    # Where ids are not contiguous.

    @property
    def _by_time(self) -> bool:
        return self.listing.instrument.ids != "contiguous"

    def _miss_head(self) -> None:
        """Something may be missing from the newest trade on."""
        newest = self.applied.coverage.newest()
        knows_already = self._stretches and self._stretches[-1].to_ms is None
        if self._by_time and newest and not knows_already:
            self._stretches.append(MissingStretch(newest.to_ms - OVERLAP_MS))

    def _next_by_time(self) -> Callable[[], Awaitable[None]] | None:
        is_due = self._head_due_ms is not None and self.clock.monotonic_ms() >= self._head_due_ms
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
        await self.desk.applied.wait()
        if self.is_held():
            return
        is_last = from_ms <= max(stretch.from_ms, self._floor_ms + 1)
        await self._replace_bare(stretch.from_ms if is_last else from_ms, to_ms)
        await self.desk.applied.wait()
        if stretch.to_ms is None:
            if due_ms != self._head_due_ms:
                # The connection was lost meanwhile, or has delivered for the first time: look again.
                return
            self.head_known, self._head_due_ms = True, None
        stretch.to_ms = from_ms
        if is_last:
            self._stretches.remove(stretch)

    async def _fetch(self, from_ms: int, to_ms: int) -> None:
        """Put the trades of this time on the desk, page by page."""
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
            await self.desk.room.wait()
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
