"""What a symbol's stream of events has: facts, kept for readers that come back (docs/protocol.md)."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis.asyncio import Redis

from common.errors import BadInput
from common.store.client import translated
from common.store.keys import SymbolKeys

# The types of events.
EVENTS = ("candle", "amend", "gap", "health", "taken", "mismatch", "conflict", "fault")
# Entries read at once: closed bars are most of them, and who asks for others looks through these.
PAGE = 1_000

_ID = re.compile(r"(\d{1,18})-(\d{1,9})", re.ASCII)
_TYPE = re.compile(rb'\{"type":"(\w+)"')


class EventId(NamedTuple):
    """`<seq>-<i>`: of the commit that it is of, and which one of it."""

    seq: int
    number: int

    @classmethod
    def parse(cls, text: str) -> "EventId":
        found = _ID.fullmatch(text)
        if not found:
            raise BadInput(f"after is {text[:40]!r}, expected the id of an event such as 41-1")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.seq}-{self.number}"


NO_EVENT = EventId(0, 0)


@dataclass(frozen=True, slots=True)
class EventsRead:
    """`events`: JSON, ascending. `last`: nothing of what was asked for lies between the last of them and that one.

    `more`: there are more on the side that was not reached.
    """

    events: list[bytes]
    last: EventId
    more: bool


class EventReader:
    def __init__(self, client: Redis, symbol: str) -> None:
        self._client, self._key, self._symbol = client, SymbolKeys(symbol).events, symbol

    async def newest(self, limit: int, types: Collection[str]) -> EventsRead:
        found, last, end = list[bytes](), NO_EVENT, "+"
        while True:
            page = await self._page(self._client.xrevrange, end, "-")
            last = max([last, *(each for each, _ in page[:1])])
            for each, text in page:
                if _is_of(text, types):
                    if len(found) == limit:
                        return EventsRead(found[::-1], last, True)
                    found.append(_with_id(each, text))
                end = f"({each}"
            if len(page) < PAGE:
                return EventsRead(found[::-1], last, False)

    async def after(self, known: EventId, limit: int, types: Collection[str]) -> EventsRead:
        found, last = list[bytes](), known
        while True:
            page = await self._page(self._client.xrange, f"({last}", "+")
            for each, text in page:
                if _is_of(text, types):
                    if len(found) == limit:
                        return EventsRead(found, last, True)
                    found.append(_with_id(each, text))
                last = each
            if len(page) < PAGE:
                return EventsRead(found, last, False)

    async def _page(self, read: Any, begin: str, end: str) -> list[tuple[EventId, bytes]]:
        with translated(f"read of events of {self._symbol}"):
            found = await read(self._key, begin, end, count=PAGE)
        return [(EventId.parse(entry.decode()), fields[b"event"]) for entry, fields in found]


def _is_of(text: bytes, types: Collection[str]) -> bool:
    found = _TYPE.match(text)
    return found is not None and found[1].decode() in types


def _with_id(event_id: EventId, text: bytes) -> bytes:
    """As it is stored; one of an earlier release does not say its id, nor when it was."""
    if b',"eventId":"%s","at":' % str(event_id).encode() in text:
        return text
    return b'%s,"eventId":"%s","at":null}' % (text[:-1], str(event_id).encode())
