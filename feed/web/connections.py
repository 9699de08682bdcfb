"""How many are connected, in all and from one address, and what they hold; who is over a bound is refused or cut off.

Peers on this machine are bounded in all only: behind a proxy of our own everybody is one. An address that a trusted
proxy tells of is counted for as long as its request or stream lasts (feed.web.guard).
"""

import logging
import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

from feed.metrics import Metrics
from feed.wire.errors import ErrorAnswer

log = logging.getLogger(__name__)

# Of one address beyond this machine.
MAX_PER_ADDRESS = 200
# Files that are no client's: the store's connections, the archive's objects, pipes to other processes.
OTHER_FILES = 128
MIN_CONNECTIONS = 16
# Refused ones that are still told so. Beyond that they are cut off without a word.
MAX_REFUSED = 64
# What all of them together may have sent of heads and messages that are not whole yet.
MAX_UNFINISHED_BYTES = 32 << 20
# Beyond that those that hold more than this each are cut off: what is left, even of thousands, is no more than that.
SHARE_BYTES = 8 << 10
# Of one kind of trouble the log tells once in that time, with how often it was.
TOLD_EVERY_S = 10.0

CROWDED = ErrorAnswer(503, "too_many_connections", "the feed has as many connections as it may, try again in a second")
OF_ADDRESS = ErrorAnswer(
    429, "too_many_connections", f"there are {MAX_PER_ADDRESS} connections of this address, expected at most that many"
)


@dataclass(slots=True)
class Connections:
    """`max_all`: FLEET_CONNECTIONS_MAX, or as many as the file limit has room for.

    `unsent_bytes` tells what clients have yet to read of what they were answered.
    """

    metrics: Metrics
    max_all: int
    unsent_bytes: Callable[[], int] = lambda: 0
    count: int = 0
    unfinished_bytes: int = 0
    _of_address: Counter[str] = field(default_factory=Counter)
    _told_s: dict[str, float] = field(default_factory=dict)
    _untold: Counter[str] = field(default_factory=Counter)

    def enter(self, address: str | None) -> ErrorAnswer | None:
        """Count a connection, also one that is refused; return why it is."""
        self.count += 1
        self.metrics.connections.set(self.count)
        if self.count > self.max_all:
            return self._refused("all", CROWDED, address)
        return self.enter_address(address)

    def leave(self, address: str | None, refusal: ErrorAnswer | None) -> None:
        self.count -= 1
        self.metrics.connections.set(self.count)
        if refusal is None:
            self.leave_address(address)

    def enter_address(self, address: str | None) -> ErrorAnswer | None:
        """Count a use of an address; return why there may be no more of it."""
        if is_local(address):
            return None
        assert address
        if self._of_address[address] >= MAX_PER_ADDRESS:
            return self._refused("address", OF_ADDRESS, address)
        self._of_address[address] += 1
        return None

    def leave_address(self, address: str | None) -> None:
        if not is_local(address):
            assert address
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]

    @property
    def overrun(self) -> bool:
        """Whether there are so many that who is refused is not even told."""
        return self.count > self.max_all + MAX_REFUSED

    def hold(self, before_bytes: int, now_bytes: int) -> bool:
        """Count what a connection has sent that is not whole yet; False if that is too much for all together."""
        self.unfinished_bytes += now_bytes - before_bytes
        return now_bytes <= max(before_bytes, SHARE_BYTES) or self.unfinished_bytes <= MAX_UNFINISHED_BYTES

    def cut(self, why: str, address: str | None) -> None:
        """A connection is ended by us: counted, and told."""
        self.metrics.cut.labels(why).inc()
        self._tell("connection cut off", why, address)

    def _refused(self, why: str, failure: ErrorAnswer, address: str | None) -> ErrorAnswer:
        self.metrics.refused.labels(why).inc()
        self._tell("connection refused", why, address)
        return failure

    def _tell(self, event: str, why: str, address: str | None) -> None:
        """Not each of a flood: the log is another's disk."""
        self._untold[why] += 1
        now_s = time.monotonic()
        if now_s - self._told_s.get(why, -TOLD_EVERY_S) >= TOLD_EVERY_S:
            self._told_s[why] = now_s
            extra = {"why": why, "address": address or "local", "times": self._untold.pop(why), "open": self.count}
            log.warning(event, extra=extra)


def is_local(address: str | None) -> bool:
    """Whether a peer is on this machine: at a loopback address, or without one, at a Unix socket."""
    try:
        found = ip_address(address) if address else None
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return found is None or found.is_loopback


def raise_file_limit() -> None:
    """As many files as this process may have: the usual soft limit is for programs that use select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def room_for(connections_max: int) -> int:
    """Return how many connections there may be: as many as wanted, if the file limit has room for them."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft - OTHER_FILES >= connections_max:
        return connections_max
    room = max(MIN_CONNECTIONS, soft - OTHER_FILES)
    log.warning("fewer connections than wanted", extra={"file_limit": soft, "room": room, "wanted": connections_max})
    return room
