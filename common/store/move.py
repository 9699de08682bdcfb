"""Moves a whole store to another, and compares both before it says so. The source is only read.

    mark the target > copy each key > compare each key > see that nothing worked on the source > drop the mark

A move that is killed is run again: it compares what is there, and copies what is not the same. Nothing starts on a
target that has its mark (common.store.move_mark), so nobody takes half a store for a whole one.

What ends by itself, and what other processes find again, is left behind: words of presence and demand, the clock's
right and places for streams, and the queue's own keys (`rq:*`), for the clock enqueues again whatever is due.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from common.errors import BadInput, OperatorError
from common.store import move_mark
from common.store.bulk import Command
from common.store.client import commit_client, plain_client
from common.store.format import store_format
from common.store.key_pieces import MAX_ELEMENTS, PIECE_BYTES, ask, ask_all, beginning, ending, outline, pieces
from common.store.presence import processes
from common.store.server import ServerInfo, refuse_unfit, server_info
from common.store.upgrading import living_holders

# Keys that are copied or compared at once: a store far away answers each after a while.
AT_ONCE = 16
# Of a scan, at once.
SCANNED_KEYS = 200
# Named in a refusal; all count.
MAX_NAMED = 3
# From which version on a stream can be given all of its ends.
ALL_ENDS_VERSION = 7

_LEFT = re.compile(
    rb"rq:.*|\{\}:(workers|clock|moving)|\{[^{}]*\}:(streams(:leaving|:holders)?|demand|focus)", re.DOTALL
)

# What is done, how many keys are done, and of how many.
Tell = Callable[[str, int, int], None]
_OfKey = Callable[[bytes], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Moved:
    """`same`: keys of an earlier, interrupted move that were as they should be. `warnings`: of the target's server."""

    keys: int
    same: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _End:
    """A store: `client` for its checks, `plain` for keys. `name`: as it may be shown."""

    name: str
    client: Redis
    plain: Redis


def is_left(key: bytes) -> bool:
    """Whether a key is none that moves."""
    return _LEFT.fullmatch(key) is not None


async def move(
    source_url: str,
    target_url: str,
    source_name: str,
    *,
    unsafe: bool,
    lease_ttl_ms: int,
    tell: Tell = lambda doing, done, of: None,
) -> Moved:
    """Move all keys of the source's database to the target's, which is empty or has an interrupted move from there.

    `source_name`: as it may be shown, the same at each try. Raises OperatorError or BadInput, with what is to be done.
    """
    async with _opened(source_url, "source") as source, _opened(target_url, "target") as target:
        await _refuse_unfit_source(source, lease_ttl_ms)
        info = await _fit_target(target, unsafe=unsafe)
        token, goes_on = await move_mark.take(target.client, source_name)
        run = _Move(source, target, token, _has_all_ends(info), tell)
        await run.copy(goes_on=goes_on)
        await run.compare()
        await asyncio.gather(*(_refuse_at_work(end, lease_ttl_ms) for end in (source, target)))
        await move_mark.drop(target.client, token)
        return Moved(run.keys, run.same, tuple(trouble.sentence for trouble in info.troubles))


class _Move:
    def __init__(self, source: _End, target: _End, token: str, all_ends: bool, tell: Tell) -> None:
        self._source, self._target = source.plain, target.plain
        self._writer = _Writer(target.plain, token)
        self._all_ends, self._tell = all_ends, tell
        self._different: list[bytes] = []
        self.keys = self.same = 0

    async def copy(self, *, goes_on: bool) -> None:
        """`goes_on`: what is there is of an earlier move, and stays if it is the same."""
        if goes_on:
            await self._drop_strangers()

        async def one(key: bytes) -> None:
            if goes_on and not await self._differs(key):
                self.same += 1
            else:
                await self._copy(key)

        self.keys = await self._each("copied", one)
        await self._writer.flush()

    async def compare(self) -> None:
        """Raise OperatorError if both stores are not the same."""

        async def one(key: bytes) -> None:
            if await self._differs(key):
                self._different.append(key)

        await self._each("compared", one)
        self._different += [key async for key in self._strangers()]
        if self._different:
            named = ", ".join(key.decode(errors="backslashreplace") for key in self._different[:MAX_NAMED])
            raise OperatorError(
                f"{len(self._different):,} keys are not the same in both stores, such as {named}: has something "
                "written to one of them meanwhile? Run the same fleet move again, it goes on"
            )

    async def _copy(self, key: bytes) -> None:
        whole = await outline(self._source, key)
        if whole.kind == "none":
            # Its time is over.
            return
        await self._writer.add(beginning(key, whole))
        async for piece in pieces(self._source, key, whole):
            await self._writer.add(piece.write, piece.size_bytes)
        await self._writer.add(ending(key, whole, all_ends=self._all_ends))

    async def _differs(self, key: bytes) -> bool:
        ours, theirs = await asyncio.gather(outline(self._source, key), outline(self._target, key))
        if ours.kind == "none":
            return False
        if not ours.is_like(theirs):
            return True
        async for piece in pieces(self._source, key, ours):
            if await ask(self._target, *piece.ask) != piece.expected:
                return True
        return False

    async def _each(self, doing: str, do: _OfKey) -> int:
        """Do it with each key of the source, some at once; return how many there are."""
        of, done = await ask(self._source, "DBSIZE"), 0
        seen = set[bytes]()
        async for found in _scanned(self._source):
            # A scan may find a key twice.
            fresh = [key for key in found if key not in seen]
            seen.update(fresh)
            for at in range(0, len(fresh), AT_ONCE):
                await _all_of(do(key) for key in fresh[at : at + AT_ONCE])
                done += len(fresh[at : at + AT_ONCE])
                self._tell(doing, done, max(of, done))
        return done

    async def _strangers(self) -> AsyncIterator[bytes]:
        """Keys of the target that the source has not. One whose time is over in the source is on its way out here."""
        async for found in _scanned(self._target):
            there = await ask_all(self._source, [("EXISTS", key) for key in found])
            for key, is_there in zip(found, there, strict=True):
                if not is_there and await ask(self._target, "PTTL", key) == -1:
                    yield key

    async def _drop_strangers(self) -> None:
        async for key in self._strangers():
            await self._writer.add([("DEL", key)])
        await self._writer.flush()


class _Writer:
    """Gathers commands of many keys, and writes them in their order, about a piece at a time."""

    def __init__(self, target: Redis, token: str) -> None:
        self._target, self._token = target, token
        self._commands: list[Command] = []
        self._size_bytes = 0
        self._writing = asyncio.Lock()

    async def add(self, commands: Sequence[Command], size_bytes: int = 0) -> None:
        self._commands += commands
        self._size_bytes += size_bytes
        if self._size_bytes >= PIECE_BYTES or len(self._commands) >= MAX_ELEMENTS:
            await self.flush()

    async def flush(self) -> None:
        async with self._writing:
            commands, self._commands, self._size_bytes = self._commands, [], 0
            if commands:
                await move_mark.write(self._target, self._token, commands)


@asynccontextmanager
async def _opened(url: str, name: str) -> AsyncIterator[_End]:
    async with commit_client(url) as client, plain_client(url) as plain:
        yield _End(name, client, plain)


async def _scanned(plain: Redis) -> AsyncIterator[list[bytes]]:
    """All keys that move."""
    cursor = b"0"
    while True:
        cursor, found = await ask(plain, "SCAN", cursor, "COUNT", SCANNED_KEYS)
        yield [key for key in found if not is_left(key)]
        if cursor == b"0":
            return


async def _all_of(doing: Iterable[Coroutine[Any, Any, None]]) -> None:
    """The first that fails ends the others, and is raised."""
    tasks = [asyncio.create_task(each) for each in doing]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _refuse_unfit_source(source: _End, lease_ttl_ms: int) -> None:
    await store_format(source.client)
    await move_mark.refuse_half_moved(source.client)
    await _refuse_at_work(source, lease_ttl_ms)
    async for found in _scanned(source.plain):
        if found:
            return
    raise BadInput("the source has no keys: there is nothing to move")


async def _fit_target(target: _End, *, unsafe: bool) -> ServerInfo:
    await store_format(target.client)
    info = await server_info(target.client)
    if not unsafe:
        refuse_unfit(info)
    if not info.writable:
        raise OperatorError("; ".join(trouble.sentence for trouble in info.troubles))
    return info


def _has_all_ends(info: ServerInfo) -> bool:
    _, _, version = info.version.partition(" ")
    return int(version.partition(".")[0]) >= ALL_ENDS_VERSION


async def _refuse_at_work(end: _End, lease_ttl_ms: int) -> None:
    """Raise OperatorError if processes of a fleet work with the store."""
    known = await processes(end.client)
    at_work = [f"{process.kind} {process.name}" for process in known]
    at_work += await living_holders(end.client, {process.name for process in known}, lease_ttl_ms)
    if at_work:
        named = ", ".join(at_work[:MAX_NAMED]) + (", ..." if at_work[MAX_NAMED:] else "")
        raise OperatorError(
            f"{len(at_work)} processes work with the {end.name}, such as {named}: stop the fleet first (one that was "
            "killed is forgotten after 15 s)"
        )
