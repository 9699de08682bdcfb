"""Pages that are worked out of much more than they say, kept for as long as nothing is written.

Whoever asks the same of the same commit gets the same bars; what is said of the symbol's health is of now.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace

from common.byte_lru import ByteLru
from common.series import FOOTPRINTS
from common.store.reads import View
from feed.bars.page import Page
from feed.bars.source import PageRead
from feed.reading.coverage import KnownCoverage
from feed.reading.history import History

MAX_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class StatedPage:
    """A page, what is stated of all its bars, and the view and coverage these are true of."""

    page: Page
    stated: Mapping[str, object]
    view: View
    cover: KnownCoverage

    @property
    def read(self) -> PageRead:
        return self.page, self.view, self.cover

    @property
    def bytes(self) -> int:
        return sum(map(len, self.page.runs))

    def as_of(self, view: View) -> "StatedPage | None":
        """The same at a later view; None if something has been written since, or dropped, or archived."""
        is_same = self.view.state == view.state and self.view.archived == view.archived
        return replace(self, view=view) if is_same else None


def _pages() -> ByteLru[Hashable, StatedPage]:
    return ByteLru(MAX_BYTES, lambda page: page.bytes)


@dataclass(frozen=True, slots=True)
class StatedPages:
    """Those of a process, by what was asked."""

    _pages: ByteLru[Hashable, StatedPage] = field(default_factory=_pages)

    async def read(self, history: History, key: Hashable, work_out: Callable[[], Awaitable[StatedPage]]) -> StatedPage:
        kept = self._pages.get(key)
        if kept is not None:
            found = kept.as_of(await history.look(FOOTPRINTS))
            if found is not None:
                return found
        made = await work_out()
        self._pages.put(key, made)
        return made
