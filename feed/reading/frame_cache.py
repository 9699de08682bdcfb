"""Stretches of minutes as they are read, decoded or not, and the bars made of them."""

import asyncio
from collections.abc import Hashable

import polars as pl

from common.byte_lru import ByteLru
from common.frames.minutes import MinuteRows
from common.frames.sealed import SealedCandles
from feed.reading.workers import THREADS

# What all stretches of a process may take, and the bars made of them. A day of candles takes some 35 kB as it is
# sealed, and 140 kB decoded.
MAX_BYTES = 256 << 20


class FrameCache:
    """Stretches of a process, by what they were read of, and the bars made of them.

    A cached stretch is known again by its identity: it is never changed, and a cut of it is another one.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._found: ByteLru[Hashable, MinuteRows] = ByteLru(max_bytes, lambda minutes: int(minutes.estimated_size()))
        # By the identity of their minutes.
        self._keys: dict[int, Hashable] = {}
        self.turns = asyncio.Semaphore(THREADS)

    @property
    def bytes(self) -> int:
        return self._found.bytes

    def get(self, key: Hashable) -> MinuteRows | None:
        return self._found.get(key)

    def keep(self, key: Hashable, minutes: MinuteRows) -> None:
        """The first minutes of a key stay: the bars made of them are found by their identity."""
        if key in self._found:
            return
        self._keys[id(minutes)] = key
        for gone in self._found.put(key, minutes):
            del self._keys[id(gone)]

    def merged(self, minutes: MinuteRows, how: Hashable) -> pl.DataFrame | None:
        """Return the bars that were made of a cached stretch, by `how` that was done."""
        stretch = self._keys.get(id(minutes))
        bars = None if stretch is None else self.get((stretch, how))
        assert bars is None or isinstance(bars, pl.DataFrame)
        return bars

    def keep_merged(self, minutes: MinuteRows, how: Hashable, bars: pl.DataFrame) -> None:
        """Keep what was made of a stretch, if that is cached."""
        stretch = self._keys.get(id(minutes))
        # Bars that are hardly fewer than their minutes would take the room of other minutes, which cost more.
        count = minutes.minute_count if isinstance(minutes, SealedCandles) else len(minutes)
        if stretch is not None and 2 * len(bars) < count:
            self.keep((stretch, how), bars)
