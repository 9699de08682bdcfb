"""Who holds which symbol: the owners of many symbols in a few replies."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from common.errors import StoreUnavailable
from common.store import scripts
from common.store.bulk import Bulk, Command
from common.store.client import translated
from common.store.keys import SymbolKeys
from common.store.lease import LeaseObservation

log = logging.getLogger(__name__)

# Of one script: the store does nothing else meanwhile, 0.2 ms.
_AT_ONCE = 250

# A token and beats, as they are stored.
_Pair = tuple[bytes | None, bytes | None]
_UNKNOWN: _Pair = (b"", b"")


class Owners:
    """Looks at the same symbols again and again; another list of them costs the making of the keys.

    A spare looks at a thousand symbols nine times a lease: what has not changed since is not made once more.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._bulk = Bulk(client, "look at the owners of symbols")
        self._script = scripts.owners.compiled()
        self._symbols: list[str] = []
        self._pairs: list[_Pair] = []
        self._holders: list[LeaseObservation | None] = []
        # Those that can't be read.
        self._bad: set[str] = set()
        # Owners already complained of: they are met again at every look.
        self._told: set[str] = set()

    async def look(self, symbols: Sequence[str]) -> Mapping[str, LeaseObservation | None]:
        """Return each symbol's holder, None where it is free. A symbol whose owner can't be read is left out."""
        if self._symbols != symbols:
            self._symbols = list(symbols)
            self._bulk.prepare(self._commands(symbols))
            self._pairs, self._holders = [_UNKNOWN] * len(symbols), [None] * len(symbols)
            self._bad.clear()
        values = list(chain.from_iterable(await self._ask()))
        for at, pair in enumerate(zip(values[::2], values[1::2], strict=True)):
            if pair != self._pairs[at]:
                self._change(at, pair)
        found = dict(zip(self._symbols, self._holders, strict=True))
        for symbol in self._bad:
            del found[symbol]
        return found

    def _commands(self, symbols: Sequence[str]) -> Iterator[Command]:
        """Written out once: to do it at each look would cost more than to read the replies."""
        keys = [SymbolKeys(symbol).owner for symbol in symbols]
        for at in range(0, len(keys), _AT_ONCE):
            some = keys[at : at + _AT_ONCE]
            yield ("EVALSHA", self._script.digest, len(some), *some)

    async def _ask(self) -> list[list[bytes | None]]:
        replies = await self._bulk.ask()
        if any(isinstance(reply, NoScriptError) for reply in replies):
            with translated("look at the owners of symbols"):
                await self._client.script_load(self._script.text)
            replies = await self._bulk.ask()
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise StoreUnavailable(f"look at the owners of symbols failed: {reply}")
        return replies

    def _change(self, at: int, pair: _Pair) -> None:
        symbol, (token, beats) = self._symbols[at], pair
        self._pairs[at] = pair
        if token is None and beats is not None:
            self._tell_bad(symbol, beats.decode())
        else:
            self._bad.discard(symbol)
        # A release leaves an empty token behind.
        self._holders[at] = LeaseObservation(token.decode(), (beats or b"").decode()) if token else None

    def _tell_bad(self, symbol: str, error: str) -> None:
        self._bad.add(symbol)
        if symbol not in self._told:
            log.error("owner can't be read", extra={"symbol": symbol, "error": error})
            self._told.add(symbol)
