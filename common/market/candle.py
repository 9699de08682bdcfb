"""A candle: what happened in one span, as a value that merges.

A candle keeps the order keys `(ts_ms, id)` of its first and last trade. Merging takes the open of the lesser
first key and the close of the greater last key; high is a maximum, low a minimum, the rest are sums. So merge
is associative and commutative: minutes to a day, minutes to an hour to a day, and trades to a day are equal.
It is not idempotent: duplicates are refused before it (coverage).

The range of the running delta alone depends on the order of the trades. It is merged of candles that follow each other,
and not known (None) of such that overlap: merged in the order of time, candles of any spans come to the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce

from common.market.orderflow.delta import DeltaRange, then

# Where the trades of a candle came from, as bits, so that merging keeps all of them.
LIVE, BACKFILL, IMPORT, SIMULATED = 1, 2, 4, 8
# The name shown is that of the least trustworthy part: nothing simulated ever passes for live.
SOURCE_NAMES = {SIMULATED: "simulated", IMPORT: "import", BACKFILL: "backfill", LIVE: "live"}


@dataclass(frozen=True, slots=True)
class Candle:
    """OHLCV of the right-open span that begins at `open_ms` (UTC).

    Prices in ticks, volumes in lots, turnover in ticks x lots (exact, may exceed 64 bits). Volume of unknown
    side is `volume_lots - buy_lots - sell_lots`. `rev` counts the trades that came after the span was closed.

    `delta_min_lots`, `delta_max_lots`: the least and the greatest of the running sums of what was bought less what was
    sold, after each trade, by order key; None, both, where they are not known.
    """

    open_ms: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int
    buy_lots: int
    sell_lots: int
    turnover: int
    trades: int
    first_ts_ms: int
    first_id: int
    last_ts_ms: int
    last_id: int
    rev: int = 0
    sources: int = LIVE
    delta_min_lots: int | None = None
    delta_max_lots: int | None = None

    @property
    def delta(self) -> DeltaRange | None:
        """The running delta, if its range is known."""
        if self.delta_min_lots is None or self.delta_max_lots is None:
            return None
        return DeltaRange(self.buy_lots - self.sell_lots, self.delta_min_lots, self.delta_max_lots)

    @property
    def unknown_lots(self) -> int:
        return self.volume_lots - self.buy_lots - self.sell_lots

    @property
    def source(self) -> str:
        return next(name for bit, name in SOURCE_NAMES.items() if self.sources & bit)

    def merge(self, other: "Candle") -> "Candle":
        """Return the candle of both. It is named by the earlier open; `rename` puts it on a coarser grid."""
        opens_first = (self.first_ts_ms, self.first_id) <= (other.first_ts_ms, other.first_id)
        closes_last = (self.last_ts_ms, self.last_id) >= (other.last_ts_ms, other.last_id)
        first, last = (self if opens_first else other), (self if closes_last else other)
        delta = _delta_of(first, other if first is self else self)
        return Candle(
            open_ms=min(self.open_ms, other.open_ms),
            open_ticks=first.open_ticks,
            high_ticks=max(self.high_ticks, other.high_ticks),
            low_ticks=min(self.low_ticks, other.low_ticks),
            close_ticks=last.close_ticks,
            volume_lots=self.volume_lots + other.volume_lots,
            buy_lots=self.buy_lots + other.buy_lots,
            sell_lots=self.sell_lots + other.sell_lots,
            turnover=self.turnover + other.turnover,
            trades=self.trades + other.trades,
            first_ts_ms=first.first_ts_ms,
            first_id=first.first_id,
            last_ts_ms=last.last_ts_ms,
            last_id=last.last_id,
            rev=self.rev + other.rev,
            sources=self.sources | other.sources,
            delta_min_lots=delta.min_lots if delta else None,
            delta_max_lots=delta.max_lots if delta else None,
        )

    def rename(self, open_ms: int) -> "Candle":
        return replace(self, open_ms=open_ms)


def _delta_of(earlier: Candle, later: Candle) -> DeltaRange | None:
    """That of both, if all trades of one come after those of the other."""
    follow = (earlier.last_ts_ms, earlier.last_id) < (later.first_ts_ms, later.first_id)
    return then(earlier.delta, later.delta) if follow else None


def merge_all(candles: Iterable[Candle]) -> Candle:
    """Merge one or more candles."""
    return reduce(Candle.merge, candles)
