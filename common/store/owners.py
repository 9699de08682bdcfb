"""Who holds which symbol: the owners of many symbols in one round trip."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis

from common.store.bulk import Bulk
from common.store.keys import SymbolKeys
from common.store.lease import LeaseObservation

log = logging.getLogger(__name__)


class Owners:
    """Looks at the same symbols again and again; another list of them costs the making of the commands."""

    def __init__(self, client: Redis) -> None:
        self._bulk = Bulk(client, "look at the owners of symbols")
        self._symbols: list[str] = []
        # Owners already complained of: they are met again at every look.
        self._told: set[str] = set()

    async def look(self, symbols: Sequence[str]) -> Mapping[str, LeaseObservation | None]:
        """Return each symbol's holder, None where it is free. A symbol whose owner can't be read is left out."""
        if self._symbols != symbols:
            self._symbols = list(symbols)
            self._bulk.prepare(("HMGET", SymbolKeys(symbol).owner, "token", "beats") for symbol in symbols)
        replies = await self._bulk.ask()
        pairs = zip(self._symbols, replies, strict=True)
        return {symbol: _sighting(reply) for symbol, reply in pairs if self._is_owner(symbol, reply)}

    def _is_owner(self, symbol: str, reply: Any) -> bool:
        if isinstance(reply, list):
            return True
        if symbol not in self._told:
            log.error("owner can't be read", extra={"symbol": symbol, "error": str(reply)})
            self._told.add(symbol)
        return False


def _sighting(reply: list[bytes | None]) -> LeaseObservation | None:
    token, beats = reply
    # A release leaves an empty token behind.
    return LeaseObservation(token.decode(), (beats or b"").decode()) if token else None
