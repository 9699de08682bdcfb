"""What is said of minutes once they are closed: which contradict themselves, and which the venue has otherwise.

Every minute that a step closes or amends is looked at in that step, so what is wrong with it is committed with it. The
venue's own candles are compared by the source (workers/sources/venue/checks.py). Both are counted over all terms.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from common.market.builder.builder import Changes, Minute
from common.market.builder.validation import faults, footprint_faults, order_faults
from common.market.timeframes.timeframe import MINUTE_MS, minute_of
from common.store.health import Tally
from workers.sources.base import Mismatch

log = logging.getLogger(__name__)

# Names of what is wrong with a minute, by its open.
Faults = dict[int, list[str]]


class Inspection(NamedTuple):
    """One step's. To be begun before the step: it grows the stored footprints in place.

    `closed_ms`: no minute that opens by then may be closed any more. `partial`: minutes whose footprint has not all
    their trades, for it is kept for less long, and a venue's own candle comes without.
    """

    closed_ms: int
    partial: Collection[int]

    @classmethod
    def begin(cls, watermark_ms: int, stored: Mapping[int, Minute]) -> "Inspection":
        partial = [open_ms for open_ms, m in stored.items() if footprint_faults(m.candle, m.footprint)]
        return cls(minute_of(watermark_ms) - MINUTE_MS, partial)

    def faults(self, changes: Changes) -> Faults:
        if not changes.closed and not changes.amended:
            return {}
        found = {open_ms: faults(minute.candle, minute.footprint) for open_ms, minute in changes.closed.items()}
        for open_ms, minute in changes.amended.items():
            is_whole = minute.footprint.levels and open_ms not in self.partial
            found[open_ms] = faults(minute.candle, minute.footprint if is_whole else None)
        for open_ms, name in order_faults(changes.closed, self.closed_ms):
            found[open_ms].append(name)
        return {open_ms: names for open_ms, names in found.items() if names}


@dataclass(slots=True)
class Verdicts:
    """One term's. `tally` goes on where the last term's ended."""

    symbol: str
    tally: Tally = field(default_factory=Tally)

    def mismatched(self, found: Iterable[Mismatch]) -> list[Mismatch]:
        """Count those that are new, and return them: the holder before us may have told of the newest minute, too."""
        told_ms = -1 if self.tally.mismatch_ms is None else self.tally.mismatch_ms
        new = [mismatch for mismatch in found if mismatch.open_ms > told_ms]
        if new:
            count = self.tally.mismatches + len(new)
            self.tally = replace(self.tally, mismatches=count, mismatch_ms=new[-1].open_ms)
        for open_ms, fields in new:
            what = {"symbol": self.symbol, "t": open_ms, "fields": fields}
            log.warning("minute is not as its venue has it", extra=what)
        return new

    def faulty(self, found: Faults, changes: Changes) -> None:
        """Count them, and say so: a fault of our own is a bug."""
        if found:
            self.tally = replace(self.tally, faults=self.tally.faults + len(found), fault_ms=max(found))
        for open_ms, names in found.items():
            minute = (changes.closed | changes.amended)[open_ms]
            what = {"symbol": self.symbol, "t": open_ms, "faults": names, "candle": repr(minute.candle)}
            log.error("minute contradicts itself", extra=what)
