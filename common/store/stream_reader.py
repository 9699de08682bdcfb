"""Reading streams as they grow: over a connection of the reader's own, or over one for all readers of a process.

A read that waits holds its connection, and 250 inboxes of one worker would hold 250. But one XREAD may wait for any
number of streams. So streams whose readers have nothing left are *parked*: read together, and what comes is kept for
their readers. Any other, one that has just begun or has more than is kept, is read by itself, at once and without
waiting, over the connections of all other commands.

A read that waits can't be told of one more stream. Until it returns, newcomers are asked for together every POLL_S;
then they join the others. And that nothing came over the shared connection does not say that nothing is there: for
readers that have waited in vain there is one more look, for all of the same moment together, before they are told so.

So a stream may be asked for twice at once. Its answer counts only if it begins where the stream has been read up to.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.store.client import COMMAND_TIMEOUT_S, translated

log = logging.getLogger(__name__)

Entries = list[tuple[bytes, dict[bytes, bytes]]]

# How long the read of all parked streams waits: so long does it take at most until newcomers are among them.
PARKED_WAIT_MS = 1_000
# Newcomers are asked for that often meanwhile.
POLL_S = 0.01
# After each read of n streams that found something, n times this: naming 250 streams costs half a millisecond, and
# what comes meanwhile is read together.
REST_PER_STREAM_S = 20e-6
# Who waited in vain waits that long for others of its moment.
GATHER_S = 0.002
# Kept for one reader, and for all of them, about. A stream that has more is read by itself.
MAX_KEPT, MAX_KEPT_BYTES = 64, 8 << 20
# Entries of one shared read: they may all be larger than any before.
MAX_READ = 1_024
# Of an entry beside its texts, about.
ENTRY_OVERHEAD = 32


class StreamReader(Protocol):
    """Of one stream, by one task."""

    async def next(self, position: str, count: int, wait_ms: int | None) -> Entries:
        """Return the entries after `position`, at most `count`; none only if there is none.

        Wait for the first one for at most `wait_ms`, None: not at all. StoreUnavailable if the store does not answer.
        """

    def close(self) -> None: ...


class OwnReader:
    """Waits on a connection of its own."""

    def __init__(self, blocking: Redis, stream: str) -> None:
        self._blocking, self._stream = blocking, stream

    async def next(self, position: str, count: int, wait_ms: int | None) -> Entries:
        return await _read_one(self._blocking, self._stream, position, count, wait_ms)

    def close(self) -> None:
        pass


@dataclass(slots=True)
class _Parked:
    """`begins`: the reader's position, `kept` follows it, and is read up to `position`.

    `news`: something is kept, or the stream is not parked any more.
    """

    begins: str
    position: str
    kept: Entries = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)


class SharedReads:
    """One connection for all streams of the process whose readers wait."""

    def __init__(self, commands: Redis, blocking: Redis) -> None:
        self._commands, self._blocking = commands, blocking
        self._streams: set[str] = set()
        self._parked: dict[str, _Parked] = {}
        # Those parked since the read under way began, and those whose readers have waited in vain.
        self._newcomers: set[str] = set()
        self._unsure: set[str] = set()
        self._kept_bytes = 0
        # Until it is known: as if only one entry of each were to be asked for.
        self._mean_bytes = float(MAX_KEPT_BYTES)
        # The read of all, the polls of newcomers, and the next look for those who waited in vain.
        self._waiting: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    def reader(self, stream: str) -> StreamReader:
        """A second reader of a stream that has one is at a place of its own, and gets a connection of its own."""
        if stream in self._streams:
            return OwnReader(self._blocking, stream)
        self._streams.add(stream)
        return _SharedReader(self, stream)

    async def next(self, stream: str, position: str, count: int, wait_ms: int | None) -> Entries:
        """What a reader of the stream gets next."""
        parked = self._parked.get(stream)
        if parked is None or parked.begins != position:
            self.leave(stream)
            entries = await _read_one(self._commands, stream, position, count, None)
            if entries or not wait_ms:
                return entries
            parked = self._park(stream, position)
        await self._await_news(stream, parked, wait_ms)
        if parked.kept:
            return self._take(parked, count)
        if self._parked.get(stream) is parked:
            return []
        return await _read_one(self._commands, stream, position, count, None)

    def leave(self, stream: str) -> None:
        """Park it no more. What is kept is forgotten: its reader reads that again, by itself."""
        parked = self._parked.pop(stream, None)
        self._newcomers.discard(stream)
        if parked:
            self._kept_bytes -= _size(parked.kept)
            parked.kept = []
            parked.news.set()

    def end(self, stream: str) -> None:
        """Its reader is gone."""
        self.leave(stream)
        self._streams.discard(stream)

    async def close(self) -> None:
        # Without anything to read they also end by themselves: a client may lose a cancellation.
        for stream in list(self._parked):
            self.leave(stream)
        tasks = [task for task in (self._waiting, self._polling, self._looking) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _park(self, stream: str, position: str) -> _Parked:
        parked = self._parked[stream] = _Parked(position, position)
        self._newcomers.add(stream)
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._wait())
        elif self._polling is None:
            self._polling = asyncio.create_task(self._poll_newcomers())
        return parked

    async def _await_news(self, stream: str, parked: _Parked, wait_ms: int | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout((wait_ms or 0) / 1_000):
                await parked.news.wait()
        if not parked.news.is_set():
            self._unsure.add(stream)
            if self._looking is None:
                self._looking = asyncio.create_task(self._look())
            await asyncio.wait([self._looking])

    def _take(self, parked: _Parked, count: int) -> Entries:
        taken, parked.kept = parked.kept[:count], parked.kept[count:]
        self._kept_bytes -= _size(taken)
        parked.begins = taken[-1][0].decode()
        if not parked.kept:
            parked.news.clear()
        return taken

    async def _wait(self) -> None:
        """Read all parked streams, while there are any."""
        try:
            while self._parked:
                self._newcomers.clear()
                streams = list(self._parked)
                if await self._ask(self._blocking, streams, PARKED_WAIT_MS):
                    await asyncio.sleep(len(streams) * REST_PER_STREAM_S)
        finally:
            self._waiting = None

    async def _poll_newcomers(self) -> None:
        """While there are streams that the read under way does not know of."""
        try:
            while self._newcomers:
                await self._ask(self._commands, list(self._newcomers), None)
                await asyncio.sleep(POLL_S)
        finally:
            self._polling = None

    async def _look(self) -> None:
        """Once, for all who have waited in vain by now."""
        await asyncio.sleep(GATHER_S)
        streams, self._unsure, self._looking = self._unsure, set(), None
        await self._ask(self._commands, [stream for stream in streams if stream in self._parked], None)

    async def _ask(self, client: Redis, streams: list[str], wait_ms: int | None) -> bool:
        """Read these of the parked streams; True if something came. After an error each reader reads for itself."""
        asked = {stream: (self._parked[stream], self._parked[stream].position) for stream in streams}
        if not asked:
            return False
        count = max(1, min(MAX_KEPT, int(min(MAX_READ, MAX_KEPT_BYTES / self._mean_bytes) / len(asked))))
        try:
            found = await _read(client, {stream: position for stream, (_, position) in asked.items()}, count, wait_ms)
            for stream, entries in found.items():
                parked, position = asked[stream]
                if self._parked.get(stream) is parked and parked.position == position:
                    self._keep(stream, parked, entries, is_all=len(entries) < count)
        except Exception as error:
            # The store, or one of them: its reader is told, and the others come back.
            if not isinstance(error, RedisError | OSError):
                log.exception("shared read failed, begins again")
            for stream in streams:
                self.leave(stream)
            return True
        return bool(found)

    def _keep(self, stream: str, parked: _Parked, entries: Entries, *, is_all: bool) -> None:
        """`is_all`: the stream has no more. Of one that has, its reader would take what is kept for all there is."""
        size = _size(entries)
        self._mean_bytes = max(1.0, size / len(entries), self._mean_bytes / 8)
        self._kept_bytes += size
        parked.kept += entries
        parked.position = entries[-1][0].decode()
        parked.news.set()
        if not is_all or len(parked.kept) > MAX_KEPT or self._kept_bytes > MAX_KEPT_BYTES:
            self.leave(stream)


class _SharedReader:
    def __init__(self, reads: SharedReads, stream: str) -> None:
        self._reads, self._stream = reads, stream

    async def next(self, position: str, count: int, wait_ms: int | None) -> Entries:
        return await self._reads.next(self._stream, position, count, wait_ms)

    def close(self) -> None:
        self._reads.end(self._stream)


async def _read_one(client: Redis, stream: str, position: str, count: int, wait_ms: int | None) -> Entries:
    with translated(f"read of {stream}"):
        found = await _read(client, {stream: position}, count, wait_ms)
    return found.get(stream, [])


async def _read(client: Redis, positions: dict[str, str], count: int, wait_ms: int | None) -> dict[str, Entries]:
    # The client for waiting has no time-out of its own; a server that hangs must not hold its reader.
    async with asyncio.timeout((wait_ms or 0) / 1_000 + COMMAND_TIMEOUT_S):
        # Never "$": a read that is tried again would start from a new "now" and skip what came between.
        answer: Any = await client.xread(positions, count=count, block=wait_ms)  # type: ignore[arg-type]
    return by_stream(answer)


def by_stream(answer: Any) -> dict[str, Entries]:
    """In whichever shape the protocol version gives them."""
    if not answer:
        return {}
    pairs = answer.items() if isinstance(answer, dict) else answer
    # RESP3 nests the entries one list deeper.
    return {name.decode(): _flat(found) for name, found in pairs}


def _flat(found: Any) -> Entries:
    return found[0] if found and isinstance(found[0], list) and not isinstance(found[0][0], bytes) else found


def _size(entries: Entries) -> int:
    return sum(size_of(fields) for _, fields in entries)


def size_of(fields: dict[bytes, bytes]) -> int:
    """Bytes of an entry, about."""
    return ENTRY_OVERHEAD + sum(len(name) + len(value) for name, value in fields.items())
