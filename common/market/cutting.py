"""Coverage, and the ledger of its holes, of a history whose beginning is cut off."""

from collections.abc import Iterable

from common.market.coverage import Span
from common.market.gaps import Gap
from common.market.instrument import Ids

# 1990: no venue's trades are older. What begins before has taken a 0, or seconds for ms, for a time.
EARLIEST_MS = 631_152_000_000


def cut_coverage(ids: Ids, rows: list[list[int]], from_ms: int) -> list[list[int]]:
    """Coverage (as it is dumped) of what was traded from `from_ms` on; what is left of a span begins there.

    A span is left if it reaches that far, though one of its ends may have a time that is none.
    """
    if ids != "contiguous":
        (window, floor_ms, first_ms, last_ms) = rows[0]
        return [[window, floor_ms, max(first_ms, from_ms), max(last_ms, from_ms)]]
    spans = (Span(*row) for row in rows[1:])
    left = [span for span in spans if max(span.from_ms, span.to_ms) >= from_ms]
    return [rows[0], *([s.first, s.last, max(s.from_ms, from_ms), max(s.to_ms, from_ms)] for s in left)]


def cut_gaps(gaps: Iterable[Gap], rows: list[list[int]], from_ms: int) -> list[str]:
    """The ids of the gaps that are not of what is left: over before it, or before its first id."""
    first = rows[1][0] if len(rows) > 1 else 0
    return [gap.id for gap in gaps if gap.to_ms < from_ms or gap.last < first]
