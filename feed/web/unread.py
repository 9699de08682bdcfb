"""Answers and messages that are not read: found by a look at every connection, once a second."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

# Who reads nothing for so many looks is cut off.
MAX_LOOKS = 10
# Unless so much of a long answer was read meanwhile.
MIN_READ_BYTES = 256 << 10


@dataclass(slots=True)
class Unread:
    """What waited when it was first seen: at `resumes`, so many bytes; and how often since."""

    resumes: int
    waiting_bytes: int
    looks: int = 0


class WatchedConnection(Protocol):
    """`resumes`: how often the client has read what it had been waited for."""

    resumes: int
    waiting: Unread | None

    @property
    def waiting_bytes(self) -> int: ...

    def unread(self) -> None:
        """It is to be cut off."""


def look_at_all(connections: Iterable[WatchedConnection]) -> None:
    for connection in list(connections):
        look(connection)


def look(connection: WatchedConnection) -> None:
    """Cut a connection off if nothing of what waits was read while it was looked at so often.

    Also one that is closed, and whose last bytes are not taken: without this it would never end.
    """
    found_bytes, before = connection.waiting_bytes, connection.waiting
    if not found_bytes:
        connection.waiting = None
    elif before is None or connection.resumes != before.resumes or found_bytes <= before.waiting_bytes - MIN_READ_BYTES:
        connection.waiting = Unread(connection.resumes, found_bytes)
    else:
        before.looks += 1
        if before.looks >= MAX_LOOKS:
            connection.unread()
