"""The instrument that a symbol's data is of. It is stored with the data, and the data is read by it and by no other.

The registry says what a symbol is to be; the data says what it is. They differ while a change is under way, and when
another entry has been put into the registry: then the data is still read as it is, but not written.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from redis.asyncio import Redis

from common.errors import BadInput, OperatorError, RetryableError
from common.market.instrument import Instrument
from common.market.scale import Scale, Scales
from common.store.client import translated
from common.store.keys import SymbolKeys

# Parsed once: it is read with every view.
_REMEMBERED = 4_096
# How the fields that may differ are called, and set.
_OPTIONS = {
    "price_decimals": "--price-decimals",
    "size_decimals": "--size-decimals",
    "ids": "--ids",
    "calendar": "--calendar",
    "zone": "--zone",
    "hours": "--hours",
}


class InstrumentMismatch(OperatorError):
    """A symbol's data is of another instrument than its entry in the registry."""


class InstrumentChanged(RetryableError):
    """A symbol's data is of another instrument than when the reader looked: read the symbol again."""


@dataclass(frozen=True, slots=True)
class DataInstrument:
    """`unnamed`: the scale of blocks and chunks that do not name theirs, which is the first the symbol had.

    `before`: what the data was of before its last change, until the registry has followed; else None.
    """

    instrument: Instrument
    unnamed: Scale
    before: Instrument | None = None

    @classmethod
    def begun(cls, instrument: Instrument) -> "DataInstrument":
        """Of a symbol without data, or with data of a release that did not say."""
        return cls(instrument, instrument.scale)

    @property
    def scales(self) -> Scales:
        return Scales(self.instrument.scale, self.unnamed)

    def dump(self) -> bytes:
        fields: dict[str, Any] = {**instrument_fields(self.instrument), "unnamed": str(self.unnamed)}
        if self.before:
            fields["before"] = instrument_fields(self.before)
        return orjson.dumps(fields)

    def mismatch(self, registered: Instrument) -> str:
        """What is wrong with the registry's entry, and how it is mended, in one sentence; '' if nothing is.

        An entry that has yet to follow a change is not wrong.
        """
        return "" if registered in (self.instrument, self.before) else self.refusal(registered)

    def refusal(self, registered: Instrument) -> str:
        """Why what is registered otherwise is not written to, in one sentence."""
        symbol, (found, data, registry) = self.instrument.symbol, self._against(registered)
        return (
            f"symbol {symbol} is registered with {found}: `fleet symbols change {symbol} {data}` changes the data, "
            f"`fleet symbols change {symbol} {registry}` the registry"
        )

    def left_behind(self, wanted: Instrument) -> str:
        """Why a market can't be registered where this data is, in one sentence."""
        symbol, (found, data, _) = self.instrument.symbol, self._against(wanted)
        return (
            f"symbol {symbol} has data, and would be registered with {found}: `fleet symbols remove {symbol} --purge` "
            f"deletes the data; or add it as the data has it, and `fleet symbols change {symbol} {data}`"
        )

    def _against(self, other: Instrument) -> tuple[str, str, str]:
        """Where the other differs; and the options that make the data as the other, and the other as the data."""
        differing = list(_differing(other, self.instrument))
        found = ", ".join(f"{name} {theirs!r} (its data: {ours!r})" for name, theirs, ours in differing)
        theirs, ours = (" ".join(f"{_OPTIONS[name]} {pair[at]}" for name, *pair in differing) for at in (0, 1))
        return found, theirs, ours


def exists_otherwise(found: Instrument, asked: Instrument) -> str:
    """Why what is to go into a symbol is refused, and the ways out, in one sentence. `found`: what the symbol is."""
    symbol, differing = found.symbol, list(_differing(found, asked))
    has = ", ".join(f"{name} {ours}, not {theirs}" for name, ours, theirs in differing)
    ours, theirs = (" ".join(f"{_OPTIONS[name]} {pair[at]}" for name, *pair in differing) for at in (0, 1))
    return (
        f"symbol {symbol} exists with {has}: give {ours}, or `fleet symbols change {symbol} {theirs}` changes it, "
        f"or `fleet symbols remove {symbol} --purge` deletes it with its data"
    )


async def stored_instrument(client: Redis, symbol: str) -> DataInstrument | None:
    """What the data of a symbol is of; None where there is none, or it does not say."""
    return (await stored_instruments(client, [symbol]))[symbol]


async def stored_instruments(client: Redis, symbols: Iterable[str]) -> dict[str, DataInstrument | None]:
    """The same of many symbols, in one round trip."""
    symbols = list(symbols)
    pipe = client.pipeline(transaction=False)
    for symbol in symbols:
        pipe.hget(SymbolKeys(symbol).state, "instrument")
    with translated("read of what the data of symbols is of"):
        found = await pipe.execute()
    return {
        symbol: data_instrument(symbol, text) if text else None for symbol, text in zip(symbols, found, strict=True)
    }


def check_instrument(data: DataInstrument | None, registered: Instrument) -> None:
    """Raise InstrumentMismatch if the data is of another instrument than what is registered: it would be of two."""
    if data and data.instrument != registered:
        raise InstrumentMismatch(data.refusal(registered))


def instrument_fields(instrument: Instrument) -> dict[str, Any]:
    """As it is stored. The symbol is the name of the key."""
    return {name: getattr(instrument, name) for name in _OPTIONS}


def instrument_of(symbol: str, fields: Mapping[str, Any]) -> Instrument:
    """Read what `instrument_fields` gives. BadInput, KeyError or TypeError where it is none."""
    # An entry of an earlier release does not say when it trades.
    trades_at = {name: fields[name] for name in ("calendar", "zone", "hours") if name in fields}
    return Instrument(symbol, fields["price_decimals"], fields["size_decimals"], fields["ids"], **trades_at)


@lru_cache(_REMEMBERED)
def data_instrument(symbol: str, text: bytes) -> DataInstrument:
    """Read what DataInstrument.dump gives."""
    try:
        fields = orjson.loads(text)
        before = instrument_of(symbol, fields["before"]) if "before" in fields else None
        return DataInstrument(instrument_of(symbol, fields), Scale.parse(fields["unnamed"]), before)
    except (BadInput, AttributeError, KeyError, TypeError, ValueError) as error:
        raise OperatorError(f"the data of {symbol} is of no instrument: {text[:80]!r}") from error


def _differing(one: Instrument, other: Instrument) -> Iterator[tuple[str, Any, Any]]:
    for name in _OPTIONS:
        values = getattr(one, name), getattr(other, name)
        if values[0] != values[1]:
            yield name, *values
