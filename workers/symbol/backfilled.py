"""How much of what is missing has been fetched, as health tells it while a source fetches it."""

from dataclasses import dataclass


@dataclass(slots=True)
class Backfilled:
    """Counted in ids, as the gap ledger counts them."""

    # The most that was missing since the source began to fetch.
    _most: int = 0

    def percent(self, missing: int, *, is_fetching: bool) -> str:
        """Whole percent, `""` where there is nothing to tell. It falls only when more is found missing than ever."""
        self._most = max(self._most, missing) if is_fetching else 0
        return str(100 * (self._most - missing) // self._most) if self._most else ""
