"""Coverage, and the ledger of its holes, of a history whose beginning is cut off."""

from collections.abc import Iterable
from dataclasses import replace

from common.market.builder.gaps import Gap
from common.market.builder.id_coverage import IdCoverage
from common.market.builder.recent_coverage import RecentCoverage


def cut_coverage(coverage: IdCoverage | RecentCoverage, from_ms: int) -> IdCoverage | RecentCoverage:
    """Coverage of what was traded from `from_ms` on; what is left of a span begins there.

    A span is left if it reaches that far, though one of its ends may have a time that is none.
    """
    if isinstance(coverage, RecentCoverage):
        gone = tuple(hole for hole in coverage.gone if hole.to_ms >= from_ms)
        return replace(coverage, from_ms=max(coverage.from_ms, from_ms), to_ms=max(coverage.to_ms, from_ms), gone=gone)
    left = (span for span in coverage.spans() if max(span.from_ms, span.to_ms) >= from_ms)
    spans = [span._replace(from_ms=max(span.from_ms, from_ms), to_ms=max(span.to_ms, from_ms)) for span in left]
    return IdCoverage.of(spans, coverage.forgotten)


def cut_gaps(gaps: Iterable[Gap], coverage: IdCoverage | RecentCoverage, from_ms: int) -> list[str]:
    """The ids of the gaps that are not of what is left: over before it, or before its first id."""
    oldest = coverage.oldest()
    first = oldest.first if oldest else 0
    return [gap.id for gap in gaps if gap.to_ms < from_ms or gap.last < first]
