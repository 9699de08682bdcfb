"""The inbox: a Redis stream anybody may XADD trades to, in any language. Its fields are in docs/protocol.md.

Two conventions, told apart by their fields, entry by entry:

    ours         ts_ms, price, size, side (buy|sell|unknown), id
    cryptofeed   timestamp (seconds), price, amount, side, id       stream trades-EXCHANGE-SYMBOL

The position is the id of the last entry taken: it is committed with its trades, so each entry is applied once, also
across a crash. An id that is a whole number is the trade's id. Any other id (text, or none) can't be an order key:
then the place in the stream is, and a text that was seen among the last ones marks a duplicate. These texts are
committed with the trades, too. A release that does not know of them leaves a position they are not true of: then they
are read out of the entries that are left behind it.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from redis.asyncio import Redis

from common.clock import Clock
from common.errors import OperatorError
from common.market.builder.coverage import DUPLICATE
from common.market.candle import LIVE
from common.market.instrument import Instrument
from common.market.trade import Trade, Trades
from common.store.client import translated
from common.store.inbox import remembered
from common.store.keys import SymbolKeys
from common.store.registry import Market
from common.store.stream_reader import Entries, StreamReader, size_of
from workers.sources.base import Applied, Batch
from workers.sources.inbox_fields import Unreadable, text_id, trade_of

# Text ids known, and entries left in the stream behind the worker: twice as many at most.
KEPT_BEHIND = 10_000
# Trimming costs about 1 ms; consumed entries wait this long for it.
TRIM_EVERY_MS = 5_000
# One read takes so many bytes, or one entry. Redis counts entries only, so how many are asked for follows from their
# size, and grows from few: they may be of any size, and what is asked for comes whole.
MAX_READ_BYTES = 8 << 20
FIRST_COUNT, COUNT_GROWTH, MAX_COUNT = 8, 8, 1_024
MAX_SAMPLES = 32


@dataclass(slots=True)
class Appetite:
    """How many entries to ask for next, so that all of one read stay within MAX_READ_BYTES."""

    mean_bytes: float = MAX_READ_BYTES / FIRST_COUNT
    _count: int = 0
    _bytes: int = 0
    _asked: int = 0

    def begin(self) -> None:
        """A new read."""
        self._count = self._bytes = 0

    def next(self, limit: int) -> int:
        """`limit`: no more are wanted. At least 1 in a new read; 0 when it is full."""
        room = int((MAX_READ_BYTES - self._bytes) / self.mean_bytes)
        grown = self._asked * COUNT_GROWTH if self._count else int(MAX_READ_BYTES / self.mean_bytes)
        self._asked = min(limit, max(room, 0 if self._count else 1), max(grown, 1), MAX_COUNT)
        return self._asked

    def took(self, entries: Entries) -> None:
        # Of some, evenly: to look at each would take a tenth of the time that reading them does.
        some = entries[:: max(1, len(entries) // MAX_SAMPLES)]
        self._count += len(entries)
        self._bytes += sum(size_of(fields) for _, fields in some) * len(entries) // max(1, len(some))
        if self._count:
            # That of this read: the next entries are most like the last ones.
            self.mean_bytes = self._bytes / self._count


@dataclass(slots=True)
class Behind:
    """Where the stream may be cut: two marks, the newer one moved up every KEPT_BEHIND entries, the older to its place.

    So at least that many entries are left between the older one and the position.
    """

    older: str = ""
    newer: str = ""
    count: int = 0

    def passed(self, count: int, position: str) -> None:
        self.count += count
        if self.count >= KEPT_BEHIND:
            self.older, self.newer, self.count = self.newer, position, 0


@dataclass(slots=True)
class Inbox:
    """`trim`: whether the stream is ours to cut behind us."""

    instrument: Instrument
    stream: str
    commands: Redis
    reader: StreamReader
    clock: Clock
    trim: bool
    name: str = "inbox"
    sources: int = LIVE
    _position: str = "0-0"
    _appetite: Appetite = field(default_factory=Appetite)
    # The last text ids, oldest first, each with the number its trade got, None where that came before we did; and those
    # of them that are not committed yet.
    _texts: dict[str, int | None] = field(default_factory=dict)
    _unsaved: list[str] = field(default_factory=list)
    _behind: Behind = field(default_factory=Behind)
    _trimmed_at_ms: int = 0
    _trimmed_to: str = ""

    @classmethod
    def of(cls, market: Market, commands: Redis, reader: Callable[[str], StreamReader], clock: Clock) -> "Inbox":
        """`reader` makes the one of a stream."""
        stream = str(market.source.get("stream") or SymbolKeys(market.symbol).inbox)
        trim = bool(market.source.get("trim", True))
        return cls(market.instrument, stream, commands, reader(stream), clock, trim)

    async def open(self, position: str, applied: Applied) -> None:
        await self._check_type()
        self._position = position or "0-0"
        found = await remembered(self.commands, self.instrument.symbol)
        at, *marks = orjson.loads(found.note) if found.note else [""]
        if position and at == position:
            self._texts, self._behind = dict.fromkeys(found.text_ids), Behind(*marks)
        elif position:
            await self._look_behind()

    async def read(self, limit: int, wait_ms: int) -> Batch:
        self._appetite.begin()
        entries, is_full = Entries(), True
        while is_full and (count := self._appetite.next(limit - len(entries))):
            found = await self._next(count, wait_ms if not entries else None)
            self._appetite.took(found)
            entries += found
            is_full = len(found) == count
        trades, refused = self._parse(entries)
        text_ids = list[str]()
        if entries:
            # Only then there is a commit.
            text_ids, self._unsaved = self._unsaved, text_ids
        return Batch(
            trades,
            self._position,
            complete_ms=0 if is_full else self.clock.now_ms(),
            backlog=is_full,
            refused=refused,
            text_ids=text_ids,
            note=self._note() if entries else None,
        )

    async def committed(self, position: str) -> None:
        now_ms, older = self.clock.monotonic_ms(), self._behind.older
        if not self.trim or older == self._trimmed_to or now_ms - self._trimmed_at_ms < TRIM_EVERY_MS:
            return
        self._trimmed_at_ms = now_ms
        with translated(f"trim of {self.stream}"):
            await self.commands.xtrim(self.stream, minid=older, approximate=True)
        self._trimmed_to = older

    async def close(self) -> None:
        """The clients belong to the process."""
        self.reader.close()

    async def _check_type(self) -> None:
        """cryptofeed's other writers use the same key names for sorted sets and strings."""
        with translated(f"type of {self.stream}"):
            found: Any = await self.commands.type(self.stream)
        if found not in (b"stream", b"none"):
            raise OperatorError(f"key {self.stream!r} is a {found.decode()}, expected a stream of trades")

    async def _next(self, count: int, wait_ms: int | None) -> Entries:
        """The next entries, at most `count`; waits for the first one, or not at all."""
        entries = await self.reader.next(self._position, count, wait_ms)
        if entries:
            self._position = entries[-1][0].decode()
            self._behind.passed(len(entries), self._position)
        return entries

    async def _look_behind(self) -> None:
        """Read the text ids of the last entries before the position, page by page."""
        pages, left, newest = list[Entries](), KEPT_BEHIND, self._position
        while left:
            self._appetite.begin()
            count = self._appetite.next(left)
            with translated(f"read of {self.stream}"):
                page: Any = await self.commands.xrevrange(self.stream, newest, "-", count=count)
            self._appetite.took(page)
            # Ids only: of the entries themselves there may be a gigabyte.
            pages.append([(entry_id, {b"id": fields.get(b"id", b"")}) for entry_id, fields in page])
            left -= len(page)
            if len(page) < count:
                break
            newest = "(" + page[-1][0].decode()
        entries = [entry for page in reversed(pages) for entry in reversed(page)]
        self._behind = Behind("", self._position, 0)
        for _, fields in entries:
            if text := text_id(fields):
                self._remember(text)

    def _parse(self, entries: Entries) -> tuple[Trades, Counter[str]]:
        rows, refused = list[Trade](), Counter[str]()
        for raw_id, fields in entries:
            try:
                trade = trade_of(raw_id.decode(), fields, self.instrument)
            except Unreadable as error:
                refused[error.reason] += 1
                continue
            text = text_id(fields)
            if not text:
                rows.append(trade)
                continue
            number = self._texts.get(text, trade.id)
            if number is None:
                refused[DUPLICATE] += 1
            else:
                # Under the number of the first one the builder sees whether it is the same trade.
                rows.append(trade._replace(id=number))
            self._remember(text, number)
        return Trades.of(rows), refused

    def _remember(self, text: str, number: int | None = None) -> None:
        self._texts.pop(text, None)
        self._texts[text] = number
        self._unsaved.append(text)
        if len(self._texts) > KEPT_BEHIND:
            del self._texts[next(iter(self._texts))]

    def _note(self) -> str:
        behind = self._behind
        return orjson.dumps([self._position, behind.older, behind.newer, behind.count]).decode()
