"""How far back an import reaches, and what becomes of the days that retention would drop at once.

Retention counts from the symbol's newest trade, of what is imported too, and by the days that are kept of that symbol.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from common.errors import BadInput
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.series import MINUTE_SERIES
from common.store.registry import Market, Registry
from workers.imports.days import day_floor


@dataclass(frozen=True, slots=True)
class Reach:
    """From the first day that is imported to the newest trade.

    `kept`: days kept of each series that is imported, but for those of which the store has dropped days before those of
    `gone`; `archived`: series that the archive gets before they are dropped. `within`: what is older is left out.
    """

    first_day_ms: int
    newest_ms: int
    kept: Mapping[str, int]
    gone: Mapping[str, int]
    archived: Collection[str]
    within: bool = False

    @property
    def days(self) -> int:
        return (day_of(self.newest_ms) - self.first_day_ms) // DAY_MS

    @property
    def short(self) -> dict[str, int]:
        """Series of which not all would be kept, with the first day that would."""
        floors = {series: day_floor(self.newest_ms, days) for series, days in self.kept.items()}
        return {series: floor_ms for series, floor_ms in floors.items() if self.first_day_ms < floor_ms}

    @property
    def raised(self) -> dict[str, int]:
        """Days that are to be kept of a series from now on: it has no other place, and is not to be left out."""
        return {} if self.within else {series: self.days for series in self.short if series not in self.archived}


async def keep_longer(registry: Registry, market: Market, days: Mapping[str, int]) -> Market:
    """The entry of a market of which each of these series is kept for so many days."""
    fields = {MINUTE_SERIES[series].retention: count for series, count in days.items()}
    found = await registry.change_symbol(market.symbol, lambda now: replace(now, **fields))  # type: ignore[arg-type]
    if found is None:
        raise BadInput(f"symbol {market.symbol} was removed while the import began")
    return found
