"""Decoded stretches of minutes, and the bars made of them."""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable

import polars as pl

from feed.reading.workers import THREADS

# What all decoded days of a process may take, and the bars made of them. A day of candles takes some 150 kB.
MAX_BYTES = 256 << 20


class FrameCache:
    """Decoded stretches of a process, by what they were decoded of, and the bars made of them; the least used go first.

    A kept frame is known again by its identity: nobody changes it, and who cuts it has another.
    """

    def __init__(self, most_bytes: int = MAX_BYTES) -> None:
        self._kept: OrderedDict[Hashable, pl.DataFrame] = OrderedDict()
        self._keys: dict[int, Hashable] = {}
        self._most_bytes = most_bytes
        self.bytes = 0
        self.turns = asyncio.Semaphore(THREADS)

    def get(self, key: Hashable) -> pl.DataFrame | None:
        frame = self._kept.get(key)
        if frame is not None:
            self._kept.move_to_end(key)
        return frame

    def keep(self, key: Hashable, frame: pl.DataFrame) -> None:
        if key in self._kept:
            return
        self._kept[key] = frame
        self._keys[id(frame)] = key
        self.bytes += int(frame.estimated_size())
        while self.bytes > self._most_bytes and self._kept:
            _, gone = self._kept.popitem(last=False)
            del self._keys[id(gone)]
            self.bytes -= int(gone.estimated_size())

    def merged(self, frame: pl.DataFrame, how: Hashable) -> pl.DataFrame | None:
        """Return what was merged of a kept frame, by `how` that was done."""
        stretch = self._keys.get(id(frame))
        return None if stretch is None else self.get((stretch, how))

    def keep_merged(self, frame: pl.DataFrame, how: Hashable, bars: pl.DataFrame) -> None:
        """Keep what was merged of a frame, if that is kept."""
        stretch = self._keys.get(id(frame))
        # Bars that are hardly fewer than their minutes would take the room of other minutes, which cost more.
        if stretch is not None and 2 * len(bars) < len(frame):
            self.keep((stretch, how), bars)
