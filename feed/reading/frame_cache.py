"""Stretches of minutes as they are read, decoded or not, and the bars made of them."""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable

import polars as pl

from common.frames.minutes import MinuteRows
from feed.reading.workers import THREADS

# What all stretches of a process may take, and the bars made of them. A day of candles takes some 35 kB as it is
# sealed, and 140 kB decoded.
MAX_BYTES = 256 << 20


class FrameCache:
    """Stretches of a process, by what they were read of, and the bars made of them; the least used go first.

    A kept stretch is known again by its identity: nobody changes it, and who cuts it has another.
    """

    def __init__(self, most_bytes: int = MAX_BYTES) -> None:
        self._kept: OrderedDict[Hashable, MinuteRows] = OrderedDict()
        self._keys: dict[int, Hashable] = {}
        self._most_bytes = most_bytes
        self.bytes = 0
        self.turns = asyncio.Semaphore(THREADS)

    def get(self, key: Hashable) -> MinuteRows | None:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: Hashable, minutes: MinuteRows) -> None:
        if key in self._kept:
            return
        self._kept[key] = minutes
        self._keys[id(minutes)] = key
        self.bytes += int(minutes.estimated_size())
        while self.bytes > self._most_bytes and self._kept:
            _, gone = self._kept.popitem(last=False)
            del self._keys[id(gone)]
            self.bytes -= int(gone.estimated_size())

    def merged(self, minutes: MinuteRows, how: Hashable) -> pl.DataFrame | None:
        """Return the bars that were made of a kept stretch, by `how` that was done."""
        stretch = self._keys.get(id(minutes))
        bars = None if stretch is None else self.get((stretch, how))
        assert bars is None or isinstance(bars, pl.DataFrame)
        return bars

    def keep_merged(self, minutes: MinuteRows, how: Hashable, bars: pl.DataFrame) -> None:
        """Keep what was made of a stretch, if that is kept."""
        stretch = self._keys.get(id(minutes))
        # Bars that are hardly fewer than their minutes would take the room of other minutes, which cost more.
        if stretch is not None and 2 * len(bars) < len(minutes):
            self.keep((stretch, how), bars)
