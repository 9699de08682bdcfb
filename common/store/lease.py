"""Claim by observation: a lease without an expiry time and without anybody's wall clock.

A spare notes the holder's token and beats, and its *own* monotonic time of that reply. Only when both have stood
still for a whole lease does it claim, and the script checks the pair once more. So a paused spare, a jumped clock or
a slow network can delay a takeover; none can take a lease from a holder that lives.

One claim does, on purpose: that of an import into a symbol that is fed (`force` in claim.lua). The holder is fenced at
its next write, and waits for the import as for any other holder.
"""

import os
import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import uuid4


class LeaseObservation(NamedTuple):
    """What a BUSY reply says of the holder."""

    token: str
    beats: str


NOTHING_SEEN = LeaseObservation("", "")


@dataclass(slots=True)
class Observer:
    """Watches the holders of many symbols. `seen` maps a symbol to its last sighting and when it was new (ms)."""

    lease_ttl_ms: int
    seen: dict[str, tuple[LeaseObservation, int]] = field(default_factory=dict)

    def stale(self, symbol: str, now_ms: int) -> LeaseObservation:
        """Return the sighting that has stood still for a lease, to be claimed over; else NOTHING_SEEN."""
        sighting, since_ms = self.seen.get(symbol, (NOTHING_SEEN, now_ms))
        return sighting if now_ms - since_ms >= self.lease_ttl_ms else NOTHING_SEEN

    def note(self, symbol: str, sighting: LeaseObservation, now_ms: int) -> None:
        """Note a BUSY reply. A changed pair starts the symbol's wait again."""
        if self.seen.get(symbol, (NOTHING_SEEN, 0))[0] != sighting:
            self.seen[symbol] = (sighting, now_ms)

    def has_stalled(self, symbol: str, sighting: LeaseObservation, now_ms: int) -> bool:
        """Note the sighting; True if it is the same since a lease."""
        self.note(symbol, sighting, now_ms)
        return now_ms - self.seen[symbol][1] >= self.lease_ttl_ms

    def is_due(self, symbol: str, now_ms: int) -> bool:
        """Whether it was never seen, or has not been seen to move for a lease."""
        seen = self.seen.get(symbol)
        return seen is None or now_ms - seen[1] >= self.lease_ttl_ms

    def due_in_ms(self, now_ms: int) -> int:
        """Until the first of those seen is due."""
        return min((since_ms for _, since_ms in self.seen.values()), default=now_ms) + self.lease_ttl_ms - now_ms

    def forget_all_but(self, symbols: Collection[str]) -> None:
        """Those that are not wanted any more are not due for ever."""
        if len(self.seen) > len(symbols):
            wanted = set(symbols)
            self.seen = {symbol: seen for symbol, seen in self.seen.items() if symbol in wanted}

    def forget(self, symbol: str) -> None:
        self.seen.pop(symbol, None)


def new_token() -> str:
    """A token of 32 characters, never used before: a rewound store may hand out the same epoch twice."""
    return uuid4().hex


def holder_name() -> str:
    """Who holds a lease, for people: host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"
