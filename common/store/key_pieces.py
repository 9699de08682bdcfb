"""A key of any type in pieces: what writes each piece, and how another store is asked whether it has the same.

A key goes by the commands of its type, not by DUMP and RESTORE: an older server refuses the dump of a newer one. It is
read from end to end with a piece at a time in memory, whatever it takes as a whole.

Clients are those of `plain_client`: replies are as the server gives them (RESP3).
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from common.errors import OperatorError
from common.store.bulk import Command
from common.store.client import Argument, translated

# What a piece should take, and how many elements it may have.
PIECE_BYTES = 1 << 20
FIRST_ELEMENTS, MAX_ELEMENTS = 64, 1_000
# Makes a stream without entries, for as long as it takes.
_EMPTY_GROUP = "fleet:move"


@dataclass(frozen=True, slots=True)
class KeyPiece:
    """`write`: commands that add it to a key that has all pieces before it. `ask`: who has it answers `expected`."""

    write: Sequence[Command]
    ask: Command
    expected: Any
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StreamEnds:
    """What a stream knows beside its entries. The last two: None of a server before 7.0.

    `groups`: the consumer groups, each with the last id that it was given.
    """

    last_id: bytes
    groups: tuple[tuple[bytes, bytes], ...]
    entries_added: int | None
    max_deleted_id: bytes | None


@dataclass(frozen=True, slots=True)
class KeyOutline:
    """A key without its elements. `kind`: its type, `none` if there is no such key. `ttl_ms`: None if it stays."""

    kind: str
    length: int
    ttl_ms: int | None
    ends: StreamEnds | None = None

    def is_like(self, other: "KeyOutline") -> bool:
        """Whether the other may be the same key: how long it still has is another at each look."""
        of_both = [(each.kind, each.length, each.ttl_ms is None) for each in (self, other)]
        return of_both[0] == of_both[1] and _same_ends(self.ends, other.ends)


async def ask(client: Redis, *command: Argument) -> Any:
    with translated(f"{command[0]!s} of a key that is moved"):
        return await client.execute_command(*command)  # type: ignore[no-untyped-call]


async def ask_all(client: Redis, commands: Sequence[Command]) -> list[Any]:
    """In one round trip."""
    pipe = client.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)
    with translated("look at keys that are moved"):
        return await pipe.execute()


async def outline(client: Redis, key: bytes) -> KeyOutline:
    kind = (await ask(client, "TYPE", key)).decode()
    if kind == "none":
        return KeyOutline(kind, 0, None)
    if kind not in _KINDS:
        raise OperatorError(f"the key {key.decode(errors='backslashreplace')} is a {kind}, which can't be moved")
    ttl_ms = await ask(client, "PTTL", key)
    length = await ask(client, _KINDS[kind].length, key)
    ends = await _ends(client, key) if kind == "stream" else None
    return KeyOutline(kind, length, ttl_ms if ttl_ms >= 0 else None, ends)


def beginning(key: bytes, whole: KeyOutline) -> list[Command]:
    """What comes before all pieces: whatever of the key was there goes."""
    commands: list[Command] = [("DEL", key)]
    if whole.kind == "stream":
        commands += [
            ("XGROUP", "CREATE", key, _EMPTY_GROUP, "0", "MKSTREAM"),
            ("XGROUP", "DESTROY", key, _EMPTY_GROUP),
        ]
    return commands


def pieces(client: Redis, key: bytes, whole: KeyOutline) -> AsyncIterator[KeyPiece]:
    return _KINDS[whole.kind].pieces(client, key)


def ending(key: bytes, whole: KeyOutline, *, all_ends: bool) -> list[Command]:
    """What comes after all pieces. `all_ends`: the store that is written to is of 7.0 or later."""
    commands: list[Command] = []
    if ends := whole.ends:
        commands.append(("XSETID", key, ends.last_id, *(_added(ends) if all_ends else ())))
        commands += [("XGROUP", "CREATE", key, name, last_id) for name, last_id in ends.groups]
    if whole.ttl_ms is not None:
        commands.append(("PEXPIRE", key, whole.ttl_ms))
    return commands


class _Elements:
    """How many elements to read at once, by what those of the last piece took."""

    def __init__(self) -> None:
        self.count = FIRST_ELEMENTS

    def note(self, read: int, size_bytes: int) -> None:
        fit = PIECE_BYTES * read // max(1, size_bytes)
        # Those that follow may be larger.
        self.count = max(1, min(fit, 2 * self.count, MAX_ELEMENTS))


async def _string(client: Redis, key: bytes) -> AsyncIterator[KeyPiece]:
    at = 0
    while True:
        command = ("GETRANGE", key, at, at + PIECE_BYTES - 1)
        part = await ask(client, *command)
        if part or not at:
            yield KeyPiece([("APPEND" if at else "SET", key, part)], command, part, len(part))
        at += PIECE_BYTES
        if len(part) < PIECE_BYTES:
            return


async def _hash(client: Redis, key: bytes) -> AsyncIterator[KeyPiece]:
    async for found, size in _scanned(client, "HSCAN", key, width=2):
        fields, values = found[::2], found[1::2]
        yield KeyPiece([("HSET", key, *found)], ("HMGET", key, *fields), values, size)


async def _set(client: Redis, key: bytes) -> AsyncIterator[KeyPiece]:
    async for found, size in _scanned(client, "SSCAN", key, width=1):
        yield KeyPiece([("SADD", key, *found)], ("SMISMEMBER", key, *found), [1] * len(found), size)


async def _sorted_set(client: Redis, key: bytes) -> AsyncIterator[KeyPiece]:
    async for command, found, size in _ranges(client, "ZRANGE", key, "WITHSCORES"):
        # As Python writes a score, it is read as the same.
        scored = [part for member, score in found for part in (repr(float(score)), member)]
        yield KeyPiece([("ZADD", key, *scored)], command, found, size)


async def _list(client: Redis, key: bytes) -> AsyncIterator[KeyPiece]:
    async for command, found, size in _ranges(client, "LRANGE", key):
        yield KeyPiece([("RPUSH", key, *found)], command, found, size)


async def _stream(client: Redis, key: bytes) -> AsyncIterator[KeyPiece]:
    after, elements = b"-", _Elements()
    while True:
        command: Command = ("XRANGE", key, after, "+", "COUNT", elements.count)
        found = await ask(client, *command)
        if not found:
            return
        size = _size(found)
        yield KeyPiece([("XADD", key, entry, *fields) for entry, fields in found], command, found, size)
        after = b"(" + found[-1][0]
        elements.note(len(found), size)


async def _scanned(client: Redis, scan: str, key: bytes, *, width: int) -> AsyncIterator[tuple[list[bytes], int]]:
    """What each step of a scan finds. An element may be found twice: it is written, and asked for, twice."""
    cursor, elements = b"0", _Elements()
    while True:
        cursor, found = await ask(client, scan, key, cursor, "COUNT", elements.count)
        if found:
            size = _size(found)
            yield found, size
            elements.note(len(found) // width, size)
        if cursor == b"0":
            return


async def _ranges(
    client: Redis, command: str, key: bytes, *options: Argument
) -> AsyncIterator[tuple[Command, list[Any], int]]:
    """By rank: each command, and what it found."""
    at, elements = 0, _Elements()
    while True:
        asked: Command = (command, key, at, at + elements.count - 1, *options)
        found = await ask(client, *asked)
        if not found:
            return
        size = _size(found)
        yield asked, found, size
        at += len(found)
        elements.note(len(found), size)


def _size(found: Any) -> int:
    """Bytes, about."""
    return sum(map(_size, found)) if isinstance(found, list) else len(found) if isinstance(found, bytes) else 8


async def _ends(client: Redis, key: bytes) -> StreamEnds:
    told: Mapping[bytes, Any] = await ask(client, "XINFO", "STREAM", key)
    groups: list[Mapping[bytes, Any]] = await ask(client, "XINFO", "GROUPS", key) if told[b"groups"] else []
    for group in groups:
        if group[b"pending"]:
            raise OperatorError(
                f"the stream {key.decode()} has the consumer group {group[b'name'].decode()}, which was given entries "
                "that it has not acknowledged, and these can't be moved: XACK them, or XGROUP DESTROY it"
            )
    return StreamEnds(
        told[b"last-generated-id"],
        tuple(sorted((group[b"name"], group[b"last-delivered-id"]) for group in groups)),
        told.get(b"entries-added"),
        told.get(b"max-deleted-entry-id"),
    )


def _added(ends: StreamEnds) -> Command:
    if ends.entries_added is None or ends.max_deleted_id is None:
        return ()
    return "ENTRIESADDED", ends.entries_added, "MAXDELETEDID", ends.max_deleted_id


def _same_ends(ends: StreamEnds | None, others: StreamEnds | None) -> bool:
    """What one of the two servers does not know is not compared."""
    if ends is None or others is None:
        return ends is others
    if (ends.last_id, ends.groups) != (others.last_id, others.groups):
        return False
    pairs = (ends.entries_added, others.entries_added), (ends.max_deleted_id, others.max_deleted_id)
    return all(one == other for one, other in pairs if one is not None and other is not None)


@dataclass(frozen=True, slots=True)
class _Kind:
    """`length`: the command that tells how many elements there are."""

    length: str
    pieces: Callable[[Redis, bytes], AsyncIterator[KeyPiece]]


_KINDS = {
    "string": _Kind("STRLEN", _string),
    "hash": _Kind("HLEN", _hash),
    "set": _Kind("SCARD", _set),
    "zset": _Kind("ZCARD", _sorted_set),
    "list": _Kind("LLEN", _list),
    "stream": _Kind("XLEN", _stream),
}
