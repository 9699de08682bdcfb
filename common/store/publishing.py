"""What subscribers of Redis listen to, and the right of one feed to publish what is derived of a symbol.

The right is a key that expires unless its feed renews it, and every word is refused that does not come from its holder
(publish.lua), so two feeds never publish the same. How far a channel has been told is written with the words
themselves: who takes over goes on right there.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis

from common.errors import RetryableError
from common.store import scripts
from common.store.bulk import Bulk
from common.store.client import translated
from common.store.keys import SymbolKeys
from common.store.together import Together

# How long a feed that gives no sign of life keeps the right. With a look of the others every 2 s another one goes on
# within 10 s.
TERM_MS = 8_000
# How long what was told is remembered when no feed is left: subscribers that wait that long are told the rest.
PROGRESS_KEPT_MS = 600_000
# Channels by which anybody asks for something of a symbol. The feeds' own, `commits` and `depth`, are none of them.
PATTERNS = ("{*}:candles:*", "{*}:trades")


class RightLost(RetryableError):
    """Another feed publishes the symbol now."""


class ToldTo(NamedTuple):
    """A commit up to which a channel has been told, and its watermark."""

    seq: int
    token: str
    watermark_ms: int

    @classmethod
    def parse(cls, text: str) -> "ToldTo":
        cursor, _, watermark_ms = text.partition(" ")
        seq, _, token = cursor.partition("-")
        return cls(int(seq), token, int(watermark_ms))

    def __str__(self) -> str:
        return f"{self.seq}-{self.token} {self.watermark_ms}"


class Latest(NamedTuple):
    """The newest value of a series, for its key `name`: JSON, true of a commit, and how long it lives."""

    name: str
    value: bytes
    seq: int
    token: str
    ttl_ms: int


class Publishing:
    """All symbols, as one feed sees them."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._look = Bulk(client, "look at the subscribers of Redis")
        self._look.prepare(("PUBSUB", "CHANNELS", pattern) for pattern in PATTERNS)
        together = Together(client, "right to publish")
        self._hold, self._keep = scripts.hold.through(together), scripts.keep.through(together)

    async def channels(self) -> list[str]:
        """Those with subscribers by name; who subscribes to a pattern is not seen."""
        with translated("look at the subscribers of Redis"):
            replies = await self._look.ask()
            return [name.decode(errors="replace") for names in replies for name in _checked(names)]

    async def take(self, symbol: str, token: str) -> bool:
        """Take the right for a term; False while another feed has it. `token`: one that was never used before."""
        return await self._hold_for(symbol, token, TERM_MS)

    async def keep(self, symbol: str, token: str) -> bool:
        """Keep it for another term; False if it was lost, if only for a moment: another may have published since."""
        with translated(f"right to publish {symbol}"):
            (word,) = await self._keep(right=SymbolKeys(symbol).publisher, token=token, ttl_ms=TERM_MS)
        return bool(word == b"OK")

    async def release(self, symbol: str, token: str) -> None:
        """Give it up, if it is ours."""
        await self._hold_for(symbol, token, 0)

    async def _hold_for(self, symbol: str, token: str, ttl_ms: int) -> bool:
        with translated(f"right to publish {symbol}"):
            (word,) = await self._hold(right=SymbolKeys(symbol).publisher, token=token, ttl_ms=ttl_ms)
        return bool(word == b"OK")

    def of(self, symbol: str, token: str) -> "SymbolPublishing":
        return SymbolPublishing(self._client, symbol, token)


class SymbolPublishing:
    """One symbol, for as long as the right to it is ours. `token`: of that right."""

    def __init__(self, client: Redis, symbol: str, token: str) -> None:
        self._client = client
        self._keys = SymbolKeys(symbol)
        self._token = token
        self._publish = scripts.publish.of(client, self._keys)

    async def progress(self) -> dict[str, ToldTo]:
        """How far each channel has been told, by its name without the symbol."""
        with translated(f"read of what is published of {self._keys.symbol}"):
            found: Any = await self._client.hgetall(self._keys.published)
        return {name.decode(): ToldTo.parse(text.decode()) for name, text in found.items()}

    async def publish(
        self,
        channel: str,
        messages: Sequence[bytes] = (),
        progress: ToldTo | None = None,
        latest: Latest | None = None,
    ) -> None:
        """Publish, note the progress (None: forget it) and keep the newest value. Raises RightLost."""
        _, _, name = channel.partition("}:")
        told = latest or Latest(name, b"", 0, "", 0)
        with translated(f"publication of {channel}"):
            (word,) = await self._publish(
                latest=self._keys.latest(told.name),
                token=self._token,
                channel=channel,
                name=name,
                progress=str(progress or ""),
                kept_ms=PROGRESS_KEPT_MS,
                latest_value=told.value,
                latest_seq=told.seq,
                latest_token=told.token,
                latest_ms=told.ttl_ms,
                messages=messages,
            )
        if word != b"OK":
            raise RightLost(f"another feed publishes {self._keys.symbol} now")


def _checked(names: Any) -> Iterable[bytes]:
    """The reply to one of several commands, or the error that it is raised."""
    if isinstance(names, Exception):
        raise names
    found: Iterable[bytes] = names
    return found
