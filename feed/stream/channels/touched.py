"""Bars of which it is known that a commit touched them: read once more, and told at the commit they are read at.

A commit says which bars it touched. These are read once more, at most every EVERY_S, and what is told of them is true
of the commit they are read at; so it is told once the series has followed up to that commit, and knows of no other bar
that was touched by then. A client that has it all is at that commit.
"""

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from common.errors import FleetError, StoreUnavailable
from common.store.instrument import InstrumentChanged
from feed.bars.live import At, Update
from feed.bars.source import BarSource
from feed.reading.lanes import Busy
from feed.stream.series import LiveSeries, SeriesHost, pause_after
from feed.stream.topic import Topic

log = logging.getLogger(__name__)

# Between the beginnings of two reads; and how many times as long as a read takes there is none.
EVERY_S = 0.05
REST = 3
# How long a read waits for the series to follow.
FOLLOW_S = 1.0


@dataclass(slots=True)
class TouchedBars:
    """Bars to be read: by their opens, the first and the last commit that touched them."""

    _commits: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._commits)

    @property
    def opens(self) -> frozenset[int]:
        return frozenset(self._commits)

    def add(self, open_ms: int, first_seq: int, last_seq: int) -> None:
        known = self._commits.get(open_ms)
        self._commits[open_ms] = known[0] if known else first_seq, last_seq

    def until(self, seq: int) -> frozenset[int]:
        """Those that had been touched by then."""
        return frozenset(open_ms for open_ms, (first_seq, _) in self._commits.items() if first_seq <= seq)

    def told(self, seq: int) -> None:
        """All are told as they were at that commit."""
        self._commits = {
            open_ms: (max(first_seq, seq + 1), last_seq)
            for open_ms, (first_seq, last_seq) in self._commits.items()
            if last_seq > seq
        }


class TouchedSeries(LiveSeries[Update]):
    """`_complete`: the cursor of a client that has all that was told."""

    def __init__(self, host: SeriesHost, topic: Topic, source: BarSource) -> None:
        super().__init__(host, topic, source)
        self._touched = TouchedBars()
        self._complete = ""
        self._moved = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None

    @abstractmethod
    async def _tell_once(self) -> None:
        """Read what is touched and tell it; nothing, if that is to be tried again."""

    def touched_by(self, before: At, at: At, updates: Sequence[Update]) -> Iterable[int]:
        """The opens of the bars that are other ones now."""
        return [update.open_ms for update in updates]

    def close(self) -> None:
        super().close()
        if self._telling:
            self._telling.cancel()

    def _tell_updates(self, before: At, at: At, updates: Sequence[Update]) -> None:
        """Not yet: note what is to be read."""
        if not self._touched:
            self._complete = before.cursor
        for open_ms in self.touched_by(before, at, updates):
            self._touched.add(open_ms, before.seq + 1, at.seq)
        self._moved.set()
        if self._touched and self._telling is None:
            self._telling = asyncio.create_task(self._tell_touched())

    def _lost(self) -> None:
        super()._lost()
        self._touched = TouchedBars()
        self._moved.set()

    async def _tell_touched(self) -> None:
        """Read and tell until nothing is left to be told."""
        failures = 0
        while self._touched:
            began_s = time.monotonic()
            try:
                await self._tell_once()
                failures = 0
            except InstrumentChanged:
                self.host.on_changed()
                break
            except (StoreUnavailable, Busy) as error:
                log.warning("rows wait", extra={"series": self.names, "error": str(error)})
                await pause_after(failures)
                failures += 1
            except FleetError as error:
                self.end(error)
                break
            except Exception:
                log.exception("rows failed", extra={"series": self.names})
                await pause_after(failures)
                failures += 1
            took_s = time.monotonic() - began_s
            await asyncio.sleep(max(EVERY_S - took_s, REST * took_s))
        self._telling = None

    async def _followed(self, seq: int, token: str) -> bool:
        """Wait until the series is at the commit that was read; False if it went another way."""
        try:
            async with asyncio.timeout(FOLLOW_S):
                while self.live and not has_reached(self.live.at, seq, token):
                    if self.live.at.seq > seq:
                        return False
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True


def has_reached(at: At, seq: int, token: str) -> bool:
    return at.token == token and at.seq >= seq
