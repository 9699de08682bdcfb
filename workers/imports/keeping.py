"""Which days of an import the store keeps, and what becomes of the others."""

import sys
from dataclasses import dataclass, field

from redis.asyncio import Redis

from common.archive.archive import Archive
from common.market.timeframes.timeframe import day_of
from common.series import CANDLES, FOOTPRINTS, MINUTE_SERIES, MinuteSeries
from common.store.reads import View
from common.store.registry import Market
from workers.imports.below import Below
from workers.imports.days import day_floor
from workers.imports.order import FileOrder
from workers.imports.reach import Reach
from workers.symbol.commit import Retention


@dataclass(slots=True)
class Keeping:
    """`dropped_ms`: up to which day the store has dropped each series. Of what was dropped nothing is shown there."""

    order: FileOrder
    # Series of which only what the archive has is dropped.
    archived: frozenset[str]
    # Whether days older than what is kept are left out.
    is_within: bool
    dropped_ms: dict[str, int]
    # What becomes of days that the store has dropped, where the archive gets them.
    below: Below | None
    # Of the days that are imported.
    first_day_ms: int = field(init=False)

    def __post_init__(self) -> None:
        firsts = [ms for ms in self.order.first_ms if ms >= 0]
        self.first_day_ms = day_of(min(firsts)) if firsts else sys.maxsize

    @property
    def _is_of_trades(self) -> bool:
        return any(not file.of_minutes for file in self.order.files)

    def reach(self, newest_ms: int, retention: Retention) -> Reach:
        # What the store has dropped there it can't have again: between the two would be a hole that nothing tells of.
        gone = {each: floor_ms for each, floor_ms in self.dropped_ms.items() if self.first_day_ms < floor_ms}
        imported = MINUTE_SERIES.values() if self._is_of_trades else [CANDLES]
        kept = {each.name: retention.days(each) for each in imported if each.name not in gone}
        return Reach(self.first_day_ms, newest_ms, kept, gone, self.archived, self.is_within)

    def floors(self, newest_ms: int, retention: Retention) -> tuple[int, int]:
        """From which day on candles are made, and footprints."""

        def floor_ms(series: MinuteSeries) -> int:
            limit_ms = 0 if series.name in self.archived else day_floor(newest_ms, retention.days(series))
            return max(self.dropped_ms.get(series.name, 0), limit_ms)

        return floor_ms(CANDLES), floor_ms(FOOTPRINTS)


def keeping(
    client: Redis,
    market: Market,
    order: FileOrder,
    archived: frozenset[str],
    view: View,
    oldest_ms: int,
    *,
    is_within: bool,
    older: Archive | None,
) -> Keeping:
    """`oldest_ms`: of coverage. `older`: the archive that gets days which the store has dropped; None: none does."""
    state = view.state
    found = state.floors_ms if state else {}
    was_dropped = oldest_ms < max(found.values(), default=0)
    # Whole candles can't be merged into what the archive has: which of them it has is not known.
    of_trades = not any(file.of_minutes for file in order.files)
    if older and was_dropped and of_trades and found.keys() <= archived:
        below = Below(client, market, older, view.archived.minutes, day_of(oldest_ms))
        dropped_ms = {series: below.floor(series, floor_ms) for series, floor_ms in found.items()}
        return Keeping(order, archived, is_within, dropped_ms, below)
    # The floor also rises above a symbol that is younger: there was nothing to drop, and it goes back.
    dropped_ms = {series: floor_ms for series, floor_ms in found.items() if oldest_ms < floor_ms}
    return Keeping(order, archived, is_within, dropped_ms, None)
