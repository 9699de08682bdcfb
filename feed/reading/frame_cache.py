"""Decoded stretches of minutes, and the bars made of them."""

import asyncio
from collections.abc import Hashable

import polars as pl

from common.byte_lru import ByteLru
from feed.reading.workers import THREADS

# What all decoded days of a process may take, and the bars made of them. A day of candles takes some 150 kB.
MAX_BYTES = 256 << 20


class FrameCache:
    """Decoded stretches of a process, by what they were decoded of, and the bars made of them.

    A cached frame is known again by its identity: it is never changed, and a cut of it is another frame.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._frames: ByteLru[Hashable, pl.DataFrame] = ByteLru(max_bytes, lambda frame: int(frame.estimated_size()))
        # By the identity of their frame.
        self._keys: dict[int, Hashable] = {}
        self.turns = asyncio.Semaphore(THREADS)

    @property
    def bytes(self) -> int:
        return self._frames.bytes

    def get(self, key: Hashable) -> pl.DataFrame | None:
        return self._frames.get(key)

    def keep(self, key: Hashable, frame: pl.DataFrame) -> None:
        """The first frame of a key stays: the bars made of it are found by its identity."""
        if key in self._frames:
            return
        self._keys[id(frame)] = key
        for gone in self._frames.put(key, frame):
            del self._keys[id(gone)]

    def merged(self, frame: pl.DataFrame, how: Hashable) -> pl.DataFrame | None:
        """Return what was merged of a cached frame, by `how` that was done."""
        stretch = self._keys.get(id(frame))
        return None if stretch is None else self.get((stretch, how))

    def keep_merged(self, frame: pl.DataFrame, how: Hashable, bars: pl.DataFrame) -> None:
        """Keep what was merged of a frame, if that is cached."""
        stretch = self._keys.get(id(frame))
        # Bars that are hardly fewer than their minutes would take the room of other minutes, which cost more.
        if stretch is not None and 2 * len(bars) < len(frame):
            self.keep((stretch, how), bars)
