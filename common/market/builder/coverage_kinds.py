"""Which kind of coverage suits the ids of a symbol."""

from collections.abc import Mapping

from common.market.builder.id_coverage import IdCoverage
from common.market.builder.recent_coverage import RecentCoverage
from common.market.instrument import Ids
from common.market.trade import Trades


def empty_coverage(ids: Ids) -> IdCoverage | RecentCoverage:
    return IdCoverage() if ids == "contiguous" else RecentCoverage()


def load_coverage(
    ids: Ids, rows: list[list[int]], recent: Trades | None, chunks: Mapping[int, bytes] | None = None
) -> IdCoverage | RecentCoverage:
    """`chunks`: where coverage is stored by chunks, and `rows` are its newest span alone."""
    return IdCoverage.load(rows, chunks) if ids == "contiguous" else RecentCoverage.load(rows, recent, chunks)
