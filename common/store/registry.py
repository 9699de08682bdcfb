"""The wanted fleet: hash `symbols`, one JSON text per symbol, and a version that every change of it counts up.

The two lie in different slots of a cluster, so no step writes both. The version is counted up after the hash was
written, and readers read it before the hash: what they keep is at least as new as the version they keep it under.
"""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from redis.asyncio import Redis

from common.errors import BadInput, OperatorError
from common.market.instrument import Instrument
from common.market.kinds import InstrumentKind, check_kind
from common.store import format, scripts
from common.store.calendars import with_exceptions
from common.store.client import commit_client, translated
from common.store.instrument import (
    DataInstrument,
    instrument_fields,
    instrument_of,
    stored_instrument,
    stored_instruments,
)
from common.store.keys import SYMBOLS, SYMBOLS_VERSION, SymbolKeys

log = logging.getLogger(__name__)

# Fields of an entry that need not be there.
_DAYS = ("candle_days", "footprint_days")
# What the entry of a market says whose past is being made.
UNFINISHED = "past"
# The kinds of sources that the fleet's workers open (workers.sources.SOURCES).
FED_KINDS = frozenset(("inbox", "simulator", "venue"))


@dataclass(frozen=True, slots=True)
class Market:
    """An instrument and where its trades come from. `source["kind"]` names the kind; the rest is that kind's own.

    `instrument_kind` is said here, not by the instrument: what is stored of its trades does not depend on it.
    """

    instrument: Instrument
    source: dict[str, Any] = field(default_factory=dict)
    # How long minutes are kept, counted back from the newest trade; None: as the settings say.
    candle_days: int | None = None
    footprint_days: int | None = None
    instrument_kind: InstrumentKind = "other"
    # Of a market as its data has it: what is wrong with its entry here, in one sentence.
    mismatch: str = field(default="", compare=False)

    @property
    def symbol(self) -> str:
        return self.instrument.symbol

    @property
    def kind(self) -> str:
        return str(self.source.get("kind", ""))

    @property
    def is_fed(self) -> bool:
        """Served by a worker of the fleet; what replays or imports into it brings its own process."""
        return self.kind in FED_KINDS

    @property
    def on_demand(self) -> bool:
        """Served only while a client asks for it."""
        return self.source.get("demand") == "on_demand"

    @property
    def is_unfinished(self) -> bool:
        """A simulated market whose past is being made (workers.imports.simulated)."""
        return self.source.get(UNFINISHED) is True

    def as_stored(self, data: DataInstrument | None) -> "Market":
        """The market as its data has it, which is how it is to be read."""
        if data is None:
            return self
        mismatch, exceptions = data.mismatch(self.instrument), self.instrument.exceptions
        return replace(self, instrument=replace(data.instrument, exceptions=exceptions), mismatch=mismatch)


class Registry:
    def __init__(self, client: Redis) -> None:
        self._client = client
        self._replace = scripts.replace_symbol.of(client)
        # Entries already complained of: they are met again at every look.
        self._told: set[str] = set()

    async def symbols(self) -> dict[str, Market]:
        """All that are markets. An entry that is none is logged and left out: it must not stop the others."""
        return await self._with_exceptions(await self._entries())

    async def stored_symbols(self) -> dict[str, Market]:
        """All that are markets, as their data has them."""
        markets = await self._entries()
        data = await stored_instruments(self._client, (market.symbol for market in markets))
        return await self._with_exceptions([market.as_stored(data[market.symbol]) for market in markets])

    async def _entries(self) -> list[Market]:
        with translated("read of the symbols"):
            found: Any = await self._client.hgetall(SYMBOLS)
        return [market for name, text in sorted(found.items()) if (market := self._decoded(name, text))]

    async def _with_exceptions(self, markets: Sequence[Market]) -> dict[str, Market]:
        """By symbol, each with what its calendar has otherwise."""
        instruments = await with_exceptions(self._client, (market.instrument for market in markets))
        pairs = zip(markets, instruments, strict=True)
        return {market.symbol: replace(market, instrument=instrument) for market, instrument in pairs}

    async def some(self, symbols: Sequence[str]) -> dict[str, Market]:
        """Those of the symbols that are markets, in one round trip."""
        with translated("read of some symbols"):
            texts: Any = await self._client.hmget(SYMBOLS, symbols) if symbols else []
        entries = ((symbol.encode(), text) for symbol, text in zip(symbols, texts, strict=True) if text is not None)
        return await self._with_exceptions([each for entry in entries if (each := self._decoded(*entry))])

    async def names(self) -> list[str]:
        """Of all that is registered, in order."""
        with translated("read of the symbols' names"):
            found: Any = await self._client.hkeys(SYMBOLS)
        return sorted(name.decode(errors="replace") for name in found)

    async def version(self) -> bytes:
        """Another one after every change. To be read before what is kept under it."""
        with translated("read of the symbols' version"):
            found: Any = await self._client.get(SYMBOLS_VERSION)
        return found or b""

    async def market(self, symbol: str) -> Market | None:
        market = await self._entry(symbol)
        return (await self._with_exceptions([market]))[symbol] if market else None

    async def stored(self, symbol: str) -> Market | None:
        """The market as its data has it; None where there is none."""
        market = await self._entry(symbol)
        if market is None:
            return None
        data = await stored_instrument(self._client, symbol)
        return (await self._with_exceptions([market.as_stored(data)]))[symbol]

    async def _entry(self, symbol: str) -> Market | None:
        with translated(f"read of symbol {symbol}"):
            text: Any = await self._client.hget(SYMBOLS, symbol)
        return None if text is None else _decode(symbol, text)

    async def add_symbol(self, market: Market) -> bool:
        """Register the market; False if the symbol is there already, which is then left as it was.

        BadInput if there is data of it, left by a market that was removed, of another instrument.
        """
        data = await stored_instrument(self._client, market.symbol)
        if data and data.instrument != market.instrument and await self.market(market.symbol) is None:
            raise BadInput(data.left_behind(market.instrument))
        await format.begin(self._client)
        with translated(f"registration of {market.symbol}"):
            added = bool(await self._client.hsetnx(SYMBOLS, market.symbol, _encode(market)))
            if added:
                await self._count_up()
        return added

    async def change_symbol(self, symbol: str, change: Callable[[Market], Market]) -> Market | None:
        """Put what `change` makes of a symbol's entry in its place. Return it; None if there is none any more."""
        while True:
            with translated(f"change of {symbol}"):
                text: Any = await self._client.hget(SYMBOLS, symbol)
            if text is None:
                return None
            market = change(_decode(symbol, text))
            with translated(f"change of {symbol}"):
                status, *_ = await self._replace(
                    symbols=SYMBOLS, symbol=symbol, entry=text, replacement=_encode(market)
                )
                if status == b"OK":
                    await self._count_up()
                    return market

    async def keep_as_long(self, found: Market, wanted: Market) -> Market:
        """Keep of a symbol what is wanted, where its entry says nothing of it; return it as it is now."""
        days = {name: days for name in _DAYS if (days := getattr(wanted, name)) and getattr(found, name) is None}
        if days:
            await self.change_symbol(found.symbol, lambda now: replace(now, **days))
        return replace(found, **days)

    async def remove_symbol(self, symbol: str, *, purge: bool = False) -> bool:
        """Take the symbol off the wanted fleet; `purge` deletes its data too."""
        with translated(f"removal of {symbol}"):
            removed = bool(await self._client.hdel(SYMBOLS, symbol))
            if removed:
                await self._count_up()
            if purge:
                await self._client.delete(*SymbolKeys(symbol).all_keys())
        return removed

    async def _count_up(self) -> None:
        """To be called after every write of the hash."""
        await self._client.incr(SYMBOLS_VERSION)

    def _decoded(self, name: bytes, text: bytes) -> Market | None:
        symbol = name.decode(errors="replace")
        try:
            return _decode(symbol, text)
        except OperatorError as error:
            if symbol not in self._told:
                log.error("bad symbol entry", extra={"error": str(error)})
            self._told.add(symbol)
            return None


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[Registry]:
    client = commit_client(url)
    try:
        yield Registry(client)
    finally:
        await client.aclose()


def _encode(market: Market) -> bytes:
    days = {name: getattr(market, name) for name in _DAYS if getattr(market, name) is not None}
    kind = {} if market.instrument_kind == "other" else {"kind": market.instrument_kind}
    return orjson.dumps({**instrument_fields(market.instrument), **kind, **days, "source": market.source})


def _decode(symbol: str, text: bytes) -> Market:
    try:
        fields = orjson.loads(text)
        candle_days, footprint_days = (int(fields[name]) if name in fields else None for name in _DAYS)
        kind = check_kind(fields["kind"]) if "kind" in fields else "other"
        return Market(instrument_of(symbol, fields), dict(fields["source"]), candle_days, footprint_days, kind)
    except (BadInput, KeyError, TypeError, ValueError) as error:
        raise OperatorError(f"entry {symbol!r} of hash {SYMBOLS!r} is not a market: {error!r}") from error
