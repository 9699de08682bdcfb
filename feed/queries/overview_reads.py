"""How the overview is read: all symbols at once, their prices of a day now and then, and all of it once a second."""

from dataclasses import dataclass, field

from common.store.fleet_reads import FleetReads
from feed.queries.kept_answer import KeptAnswer
from feed.queries.queries import Queries
from feed.reading.price_lines import PriceLines

# However many pages ask, each every two seconds.
KEPT_S = 1.0


@dataclass(frozen=True, slots=True)
class OverviewReads:
    views: FleetReads
    lines: PriceLines
    answer: KeptAnswer = field(default_factory=lambda: KeptAnswer(KEPT_S))

    @classmethod
    def of(cls, queries: Queries) -> "OverviewReads":
        return cls(FleetReads(queries.client, queries.older), PriceLines(queries.client, queries.workers))
