"""Once a minute, the newest closed minute against the venue's own candle of it.

Only what both state is compared, and only of minutes in which nothing is known to be missing: what is missing is a gap,
and backfill's. A minute that differs is looked at again a minute later, for a late trade may be on its way to us or to
the venue's candle; if it still differs, it is told. Nothing is changed by it.

A look that can't be made, because the venue throttles or does not answer, is left out: there are no sessions in which a
market rests, so the next minute is as good.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from zlib import crc32

from common.clock import Clock
from common.errors import StoreUnavailable
from common.market.builder.validation import Differences, differences
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS, minute_of
from workers.sources.base import Applied, Mismatch
from workers.sources.venue.backfill import SETTLE_MS
from workers.venues.shared.base import Listing, Venue, VenueError, VenueUnavailable

log = logging.getLogger(__name__)

# Looks of a fleet's symbols are spread over so long, so that they do not come all at once.
SPREAD_MS = 20_000
# A minute that differs waits no longer than this for its second look.
MAX_WAIT_MS = 10 * MINUTE_MS
# Binance rounds the turnover of a trade to so many decimals; ticks x lots may have more.
TURNOVER_DECIMALS = 8


@dataclass(slots=True)
class Checks:
    """`may_ask`: whether the venue is not to be spared just now. `on_found` is told of each new mismatch."""

    venue: Venue
    listing: Listing
    clock: Clock
    applied: Applied
    may_ask: Callable[[], bool]
    on_found: Callable[[], None]
    # Whether the newest minute that was compared differs for good.
    is_wrong: bool = False
    _found: list[Mismatch] = field(default_factory=list)
    # Opens of minutes that differed at the first look, ascending.
    _suspects: list[int] = field(default_factory=list)
    _looked_ms: int = -1
    _judged_ms: int = -1
    _failures: int = 0

    def take(self) -> list[Mismatch]:
        """What was found since the last call."""
        found, self._found = self._found, []
        return found

    async def run(self) -> None:
        phase_ms = SETTLE_MS + crc32(self._instrument.symbol.encode()) % SPREAD_MS
        while True:
            await self.clock.sleep_ms(MINUTE_MS - (self.clock.now_ms() - phase_ms) % MINUTE_MS)
            if self.may_ask():
                await self._try_to_look()

    async def _try_to_look(self) -> None:
        try:
            await self._look()
        except Exception as error:
            self._failures += 1
            # The first time, and then ever more rarely. Whatever it is: trades come all the same.
            if self._failures & (self._failures - 1) == 0:
                known = isinstance(error, VenueUnavailable | VenueError | StoreUnavailable)
                what = {"symbol": self._instrument.symbol, "error": str(error), "count": self._failures}
                log.warning("candle not compared", extra=what, exc_info=not known)
        else:
            self._failures = 0

    async def _look(self) -> None:
        newest_ms = minute_of(min(self.clock.now_ms() - SETTLE_MS, self.applied.watermark_ms())) - MINUTE_MS
        self._suspects = [open_ms for open_ms in self._suspects if open_ms >= newest_ms - MAX_WAIT_MS]
        new = [newest_ms] if newest_ms > self._looked_ms else []
        opens = [open_ms for open_ms in (*self._suspects, *new) if self._is_whole(open_ms)]
        if not opens:
            return
        stated = await self.venue.candles(self.listing, opens[0], opens[-1] + MINUTE_MS)
        theirs = {candle.open_ms: candle for candle in stated}
        ours = await self.applied.minutes(opens)
        self._looked_ms = newest_ms
        for open_ms in filter(self._is_whole, opens):
            candle = ours[open_ms].candle if open_ms in ours else None
            fields, slack = self.venue.candle_fields, self._turnover_slack
            self._judge(open_ms, differences(candle, theirs.get(open_ms), fields, slack))

    def _judge(self, open_ms: int, differing: Differences) -> None:
        if not differing:
            self._settle(open_ms, is_wrong=False)
        elif open_ms in self._suspects:
            self._settle(open_ms, is_wrong=True)
            self._found.append(Mismatch(open_ms, differing))
            self.on_found()
        else:
            self._suspects.append(open_ms)

    def _settle(self, open_ms: int, *, is_wrong: bool) -> None:
        if open_ms in self._suspects:
            self._suspects.remove(open_ms)
        if open_ms > self._judged_ms:
            self._judged_ms, self.is_wrong = open_ms, is_wrong

    def _is_whole(self, open_ms: int) -> bool:
        """Whether nothing is known to be missing. It may turn out to be while the venue is asked."""
        return self.applied.coverage.covers(open_ms, open_ms + MINUTE_MS)

    @property
    def _instrument(self) -> Instrument:
        return self.listing.instrument

    @property
    def _turnover_slack(self) -> int:
        finer = self._instrument.price_decimals + self._instrument.size_decimals - TURNOVER_DECIMALS
        return 10**finer if finer > 0 else 0
