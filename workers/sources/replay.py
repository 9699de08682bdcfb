"""Replay: recorded trades as a source, at their own pace, a multiple of it, or as fast as they can be committed.

A replay goes through the same claim, step and commit as live trades. Its position names the recording, a chunk of it
and the trades taken of that chunk, so that another process goes on where a killed one stopped.
"""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from common.clock import Clock, SystemClock
from common.errors import BadInput
from common.market.trade import Trades
from workers.recordings import TradeFile
from workers.recordings.base import TradeChunk
from workers.sources.base import NEVER, Applied, Batch

BAD_LINE = "bad_line"


@dataclass(frozen=True, slots=True)
class ReplayPosition:
    """A committed place in a recording of several files."""

    recording: str
    file: int = 0
    chunk: int = 0
    trade: int = 0

    @classmethod
    def parse(cls, text: str) -> "ReplayPosition":
        recording, _, numbers = text.partition(":")
        try:
            file, chunk, trade = map(int, numbers.split(":"))
        except ValueError:
            raise BadInput(f"position {text[:60]!r} is not a replay's, expected recording:file:chunk:trade") from None
        return cls(recording, file, chunk, trade)

    def __str__(self) -> str:
        return f"{self.recording}:{self.file}:{self.chunk}:{self.trade}"


@dataclass(slots=True)
class Replay:
    """`speed`: times the recorded pace, or None for as fast as possible. `fraction`: how much has been read."""

    files: Sequence[TradeFile]
    sources: int
    speed: float | None = None
    clock: Clock = field(default_factory=SystemClock)
    name: str = "replay"
    fraction: float = 0.0
    _place: ReplayPosition = field(default_factory=lambda: ReplayPosition(""))
    _chunk: TradeChunk = field(default_factory=lambda: TradeChunk(Trades()))
    _chunks: Iterator[tuple[ReplayPosition, TradeChunk]] = field(default_factory=lambda: iter(()))
    _next: "asyncio.Task[tuple[ReplayPosition, TradeChunk] | None] | None" = None
    _ended: bool = False
    # Recorded time minus our monotonic time x speed, set by the first trade of a term.
    _offset_ms: float | None = None

    async def open(self, position: str, applied: Applied) -> None:
        recording = "".join(file.fingerprint() for file in self.files)[:32]
        place = ReplayPosition.parse(position) if position else ReplayPosition(recording)
        # Another recording begins at its beginning; trades the symbol has already are refused as duplicates.
        place = place if place.recording == recording else ReplayPosition(recording)
        self._place, self._ended, self._offset_ms, self._chunk = place, False, None, TradeChunk(Trades())
        self._chunks = self._read_from(place)
        self._prefetch()

    async def read(self, limit: int, wait_ms: int) -> Batch:
        refused = await self._fill()
        if self._ended:
            return Batch(Trades(), str(self._place), ended=True, refused=refused)
        start = self._place.trade
        end = min(start + limit, len(self._chunk.trades))
        complete_ms = NEVER
        if self.speed is not None:
            end, complete_ms = await self._due(start, end, wait_ms)
        self._place = ReplayPosition(self._place.recording, self._place.file, self._place.chunk, end)
        trades = self._chunk.trades[start:end]
        return Batch(trades, str(self._place), complete_ms, backlog=self.speed is None, refused=refused)

    async def committed(self, position: str) -> None:
        """A file keeps nothing for us."""

    async def close(self) -> None:
        if self._next is not None:
            # The thread can't be stopped; its chunk is dropped.
            await asyncio.gather(self._next, return_exceptions=True)
            self._next = None

    async def _fill(self) -> Counter[str]:
        """Have a chunk with a trade left to give, or have ended. Returns the bad lines met on the way."""
        refused = Counter[str]()
        while not self._ended and self._place.trade >= len(self._chunk.trades):
            assert self._next is not None, "read before open"
            found = await self._next
            if found is None:
                self._ended = True
                self.fraction = 1.0
                break
            self._place, self._chunk = found
            self.fraction = self._chunk.fraction
            if self._place.trade == 0 and self._chunk.bad:
                refused[BAD_LINE] += self._chunk.bad
            self._prefetch()
        return refused

    async def _due(self, start: int, end: int, wait_ms: int) -> tuple[int, int]:
        """The end of the trades whose time has come, waiting for the first at most `wait_ms`; and that time."""
        assert self.speed is not None
        ts_ms = self._chunk.trades.ts_ms
        if self._offset_ms is None:
            self._offset_ms = ts_ms[start] - self.clock.monotonic_ms() * self.speed
        early_ms = (ts_ms[start] - self._recorded_ms()) / self.speed
        if early_ms > 0:
            await self.clock.sleep_ms(min(int(early_ms) + 1, wait_ms))
        now_ms = self._recorded_ms()
        return bisect_right(ts_ms, now_ms, start, end), now_ms

    def _recorded_ms(self) -> int:
        assert self._offset_ms is not None and self.speed is not None
        return int(self.clock.monotonic_ms() * self.speed + self._offset_ms)

    def _prefetch(self) -> None:
        """Read the next chunk in a thread while this one is applied."""
        self._next = asyncio.create_task(asyncio.to_thread(next, self._chunks, None))

    def _read_from(self, place: ReplayPosition) -> Iterator[tuple[ReplayPosition, TradeChunk]]:
        before = 0.0
        for number, file in enumerate(self.files):
            if number >= place.file:
                first = place.chunk if number == place.file else 0
                for at, chunk in enumerate(file.chunks(first), first):
                    taken = place.trade if (number, at) == (place.file, place.chunk) else 0
                    chunk.fraction = (before + chunk.fraction) / len(self.files)
                    yield ReplayPosition(place.recording, number, at, taken), chunk
            before += 1
