"""Which processes of the fleet there are: each says so every few seconds, and is forgotten soon after its last word.

Nothing is decided by it while the fleet runs (a lease is taken by observation alone): it is for people, for what
scales the fleet, and for the upgrade, which waits for the last process of an older release.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from redis.asyncio import Redis

from common.errors import StoreUnavailable
from common.release import RELEASE
from common.store import scripts
from common.store.client import translated
from common.store.format import FORMAT
from common.store.keys import PROCESSES
from common.store.lease import holder_name

log = logging.getLogger(__name__)

CANCEL_EVERY_S = 0.5
SAY_EVERY_S = 5.0
# Two words may be lost.
PRESENT_FOR_MS = 15_000
# Far above any fleet: so many that come and go faster than they are forgotten fill no memory.
MAX_PROCESSES = 10_000

WEB, WORKER, ROLLUP, CLOCK, IMPORT, REPLAY = "web", "worker", "rollup", "clock", "import", "replay"


class Process(NamedTuple):
    """A process as it says that it is there."""

    # `<host>:<pid>`.
    name: str
    kind: str
    # Symbols it serves, and how many it would; both 0 where it claims none.
    held: int = 0
    max_symbols: int = 0
    release: str = RELEASE
    format: int = FORMAT

    def member(self) -> str:
        return f"{self.name} {self.kind} {self.held} {self.max_symbols} {self.release}/{self.format}"

    @classmethod
    def parse(cls, member: str) -> "Process | None":
        """None where another release says it otherwise."""
        with suppress(ValueError):
            name, kind, held, max_symbols, build = member.split(" ")
            release, _, form = build.rpartition("/")
            return cls(name, kind, int(held), int(max_symbols), release, int(form))
        return None


def workers_wanted(symbols: int, per_worker: int, spares: int) -> int:
    """How many worker processes it takes to serve the symbols, and to replace dead ones at once."""
    return -(-symbols // per_worker) + (spares if symbols else 0)


class Presence:
    """The word of this process."""

    def __init__(self, client: Redis, kind: str, max_symbols: int = 0, for_ms: int = PRESENT_FOR_MS) -> None:
        self._present = scripts.present.of(client)
        self._process = Process(holder_name(), kind, max_symbols=max_symbols)
        self._for_ms = for_ms
        self._said = ""

    async def say(self, held: int = 0) -> None:
        """It is there."""
        await self._send(self._process._replace(held=held).member(), self._for_ms)

    async def leave(self) -> None:
        await self._send(self._said or self._process.member(), 0)

    async def _send(self, member: str, for_ms: int) -> None:
        with translated("word of this process's presence"):
            await self._present(
                processes=PROCESSES, member=member, before=self._said, for_ms=for_ms, most=MAX_PROCESSES
            )
        self._said = member


@asynccontextmanager
async def present(
    client: Redis, kind: str, max_symbols: int = 0, held: Callable[[], int] = lambda: 0
) -> AsyncIterator[None]:
    """Say so for the length of the block. A store that is away is no trouble of the block's: it is told again later."""
    presence = Presence(client, kind, max_symbols)
    saying = asyncio.create_task(_keep_saying(presence, held))
    try:
        yield
    finally:
        # A client that has just got its reply may swallow one: it is told again.
        while not saying.done():
            saying.cancel()
            await asyncio.wait([saying], timeout=CANCEL_EVERY_S)
        with suppress(StoreUnavailable):
            await presence.leave()


async def processes(client: Redis) -> list[Process]:
    """Those that are there, by name. One that can't be read, of a later release, is left out."""
    pipe = client.pipeline(transaction=True)
    pipe.time()
    pipe.zrange(PROCESSES, 0, -1, withscores=True)
    with translated("read of the processes"):
        (seconds, micros), found = await pipe.execute()
    now_ms = seconds * 1_000 + micros // 1_000
    texts: list[str] = [member.decode(errors="replace") for member, until_ms in found if until_ms > now_ms]
    # One whose reply was lost may be there twice: its last word counts, which is forgotten last.
    known = {process.name: process for text in texts if (process := Process.parse(text))}
    return sorted(known.values())


async def _keep_saying(presence: Presence, held: Callable[[], int]) -> None:
    while True:
        try:
            await presence.say(held())
        except StoreUnavailable:
            pass  # it is told again
        except Exception:
            log.exception("presence not told")
        await asyncio.sleep(SAY_EVERY_S)
