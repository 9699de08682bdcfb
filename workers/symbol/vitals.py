"""What a term says of itself in figures, with its health: how late and how many its live trades are, what is missing,
how far the fetching of it is, how often it was corrected."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.market.builder.builder import Changes
from common.market.builder.gaps import Ledger
from common.market.candle import BACKFILL, IMPORT
from common.store.health import AMENDED
from workers.sources.base import Batch
from workers.symbol.live_window import LiveWindow


@dataclass(slots=True)
class Vitals:
    """`amended`: minutes, since the symbol began."""

    window: LiveWindow
    amended: int = 0
    # The most that was missing since the source began to fetch, in ids.
    _most_missing: int = 0
    _figures: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def begin(cls, told: Mapping[str, str], now_ms: int) -> "Vitals":
        """`told`: the health that the last holder left; `now_ms`: of the monotonic clock, here and below."""
        made = cls(LiveWindow(now_ms), int(told.get(AMENDED, 0)))
        made.look(now_ms)
        return made

    def committed(self, changes: Changes, batch: Batch, sources: int, wall_ms: int, now_ms: int) -> None:
        """Trades of a backlog, or fetched ones, are late because of what they are."""
        self.amended += len(changes.amended)
        if not (batch.backlog or sources & (BACKFILL | IMPORT)):
            self.window.note(changes.trades.ts_ms, wall_ms, now_ms)
        self.look(now_ms)

    def look(self, now_ms: int) -> None:
        """Bring the figures of the window up to now."""
        self._figures = self.window.told(now_ms)

    def said(self, gaps: Ledger, *, is_fetching: bool) -> dict[str, str]:
        pending = gaps.open
        return {
            **self._figures,
            AMENDED: str(self.amended),
            "gaps_open": str(len(pending)),
            "backfill_percent": self._percent(sum(gap.missing for gap in pending), is_fetching=is_fetching),
        }

    def _percent(self, missing: int, *, is_fetching: bool) -> str:
        """Whole percent, `""` where there is nothing to tell. It falls only when more is missing than ever."""
        most = self._most_missing = max(self._most_missing, missing) if is_fetching else 0
        return str(100 * (most - missing) // most) if most else ""
