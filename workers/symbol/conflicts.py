"""What is said of trades that were refused because another one with their id had been applied.

All are counted, by the builder. The first ones of a term, or of an import, are told of as well: in the log, and as
events of the commit that counts them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.market.builder.recent import Conflict
from common.market.instrument import Instrument

log = logging.getLogger(__name__)

# Of one term: what goes on for longer is the same again.
MAX_CONFLICTS_TOLD = 100


@dataclass(slots=True)
class Conflicts:
    """One term's. `told`: those that have been told of, oldest first."""

    instrument: Instrument
    told: list[Conflict] = field(default_factory=list)

    def tell(self, found: Sequence[Conflict]) -> Sequence[Conflict]:
        """Return those of them that are to be told of, once they have been logged."""
        new = found[: MAX_CONFLICTS_TOLD - len(self.told)]
        self.told += new
        for conflict in new:
            what = {"symbol": self.instrument.symbol, "id": conflict.refused.id}
            log.warning("trade is not the one applied under its id", extra=what | conflict.texts(self.instrument))
        return new
