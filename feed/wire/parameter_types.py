"""What kinds of parameters there are. What can't be understood is BadInput: one sentence with the value and what is
expected.

    AnyText   as it is
    Parsed    whatever has a text of its own, such as a timeframe
    Whole     a whole number from 1 on
    Time      ms since 1970, a UTC time, or a day
    OneOf     one of some words
    SomeOf    some of them, with commas between
    ListOf    values of one kind, with commas between, in the order in which they are given
    RowTicks  a height in the instrument's price, or one that is worked out
    PriceTicks  a price of the instrument
    Lots      an amount in the instrument's size
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Generic, TypeVar

import orjson

from common.errors import BadInput
from common.market.instrument import Instrument
from common.market.trade import MAX_LOTS, MAX_TICKS, MAX_TS_MS

# What is echoed of a value: enough to find it, too little to be misused.
MAX_SHOWN = 40

_DECIMAL, _SIGNED_DECIMAL = r"^[0-9]+(\.[0-9]+)?$", r"^-?[0-9]+(\.[0-9]+)?$"
_WHOLE = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Scope:
    """What bounds may depend on."""

    # Most bars of one request, as the settings have it.
    limit_max: int
    # What is asked about, for the types that need it.
    instrument: Instrument | None
    # The parameters read before, by name.
    values: Mapping[str, Any]


class ParameterType(ABC, Generic[T_co]):
    # Whether its values can be told only once it is known what is asked about.
    needs_instrument: ClassVar[bool] = False

    @abstractmethod
    def read(self, name: str, text: str, scope: Scope) -> T_co:
        """Return the value of a text, or raise BadInput."""

    @abstractmethod
    def schema(self, limit_max: int) -> Mapping[str, Any]:
        """What texts it reads, as JSON Schema. `limit_max`: as of a Scope."""

    def told(self, value: Any) -> Any:
        """A default as the schema tells it; None where it has no text."""
        return getattr(value, "text", value)

    def bounded(self, default: Any, scope: Scope) -> Any:
        """Return a default as far as the bounds allow it."""
        return default

    def text_of(self, name: str, value: object) -> str:
        """Return the text of a value that came as JSON, None where it is missing, or raise BadInput."""
        if not isinstance(value, str):
            raise BadInput(f"{name} is {shown(value)}, expected text")
        return value


class AnyText(ParameterType[str]):
    def read(self, name: str, text: str, scope: Scope) -> str:
        return text

    def schema(self, limit_max: int) -> Mapping[str, Any]:
        return {"type": "string"}


@dataclass(frozen=True, slots=True)
class Parsed(ParameterType[T_co]):
    """`parse` raises BadInput. `pattern`: of what it reads, but for other spellings of the same."""

    parse: Callable[[str], T_co]
    pattern: str = ""

    def read(self, name: str, text: str, scope: Scope) -> T_co:
        return self.parse(text)

    def schema(self, limit_max: int) -> Mapping[str, Any]:
        return {"type": "string", "pattern": self.pattern} if self.pattern else {"type": "string"}


@dataclass(frozen=True, slots=True)
class Whole(ParameterType[int]):
    """From `min_value` to `max_value`; None: to as many bars as one request may ask for."""

    max_value: int | None = None
    min_value: int = 1

    def read(self, name: str, text: str, scope: Scope) -> int:
        limit = self._limit(scope)
        if not _WHOLE.fullmatch(text):
            raise BadInput(f"{name} is {text[:MAX_SHOWN]!r}, expected a whole number")
        if not self.min_value <= int(text) <= limit:
            raise BadInput(f"{name} is {text[:MAX_SHOWN]}, expected {self.min_value} to {limit}")
        return int(text)

    def bounded(self, default: Any, scope: Scope) -> Any:
        return None if default is None else min(default, self._limit(scope))

    def text_of(self, name: str, value: object) -> str:
        if type(value) is not int:
            raise BadInput(f"{name} is {shown(value)}, expected a whole number")
        return str(value)

    def _limit(self, scope: Scope) -> int:
        return scope.limit_max if self.max_value is None else self.max_value

    def schema(self, limit_max: int) -> Mapping[str, Any]:
        return {"type": "integer", "minimum": self.min_value, "maximum": self.max_value or limit_max}


@dataclass(frozen=True, slots=True)
class Time(ParameterType[int]):
    """In ms. `not_before`: the name of a time read before, which it must not be earlier than."""

    not_before: str | None = None

    def read(self, name: str, text: str, scope: Scope) -> int:
        ts_ms = time_of(name, text)
        first = self.not_before
        first_ms = scope.values[first] if first else None
        if first_ms is not None and first_ms > ts_ms:
            raise BadInput(f"{first} {first_ms} is after {name} {ts_ms}, expected {first} <= {name}")
        return ts_ms

    def schema(self, limit_max: int) -> Mapping[str, Any]:
        texts = ({"type": "string", "format": "date-time"}, {"type": "string", "format": "date"})
        return {"anyOf": [{"type": "integer", "minimum": 0, "maximum": MAX_TS_MS - 1}, *texts]}


@dataclass(frozen=True, slots=True)
class OneOf(ParameterType[T_co]):
    # Strings, of the literal type that is read.
    choices: tuple[T_co, ...]

    def read(self, name: str, text: str, scope: Scope) -> T_co:
        for choice in self.choices:
            if choice == text:
                return choice
        raise BadInput(f"{name} is {text[:MAX_SHOWN]!r}, expected {' or '.join(map(str, self.choices))}")

    def schema(self, limit_max: int) -> Mapping[str, Any]:
        return {"type": "string", "enum": list(self.choices)}


@dataclass(frozen=True, slots=True)
class SomeOf(ParameterType[frozenset[T_co]]):
    # Strings, of the literal type that is read.
    choices: tuple[T_co, ...]

    def read(self, name: str, text: str, scope: Scope) -> frozenset[T_co]:
        words = text.split(",", len(self.choices))
        by_word = {str(choice): choice for choice in self.choices}
        for word in words:
            if word not in by_word:
                raise BadInput(f"{name} has {word[:MAX_SHOWN]!r}, expected some of {','.join(by_word)}")
        return frozenset(by_word[word] for word in words)

    def schema(self, limit_max: int) -> Mapping[str, Any]:
        return {"type": "array", "items": {"type": "string", "enum": list(self.choices)}, "minItems": 1}

    def told(self, value: Any) -> Any:
        return value and [choice for choice in self.choices if choice in value]


@dataclass(frozen=True, slots=True)
class ListOf(ParameterType[tuple[T_co, ...]]):
    """`parse` raises BadInput. `pattern`: as of Parsed."""

    parse: Callable[[str], T_co]
    max_count: int
    pattern: str

    def read(self, name: str, text: str, scope: Scope) -> tuple[T_co, ...]:
        words = text.split(",")
        if len(words) > self.max_count:
            raise BadInput(f"{name} has {len(words)} values, expected at most {self.max_count}")
        return tuple(map(self.parse, words))

    def text_of(self, name: str, value: object) -> str:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise BadInput(f"{name} is {shown(value)}, expected a list of texts")
        return ",".join(value)

    def schema(self, limit_max: int) -> Mapping[str, Any]:
        item = {"type": "string", "pattern": self.pattern}
        return {"type": "array", "items": item, "minItems": 1, "maxItems": self.max_count}

    def told(self, value: Any) -> Any:
        return [each.text for each in value]


class RowTicks(ParameterType[int | None]):
    """In ticks, at least one; None: `auto`."""

    needs_instrument = True

    def read(self, name: str, text: str, scope: Scope) -> int | None:
        assert scope.instrument, "it is looked up first"
        if text == "auto":
            return None
        try:
            row_ticks = scope.instrument.price_ticks(text)
        except BadInput:
            row_ticks = 0
        if not 1 <= row_ticks < MAX_TICKS:
            tick = scope.instrument.price_text(1)
            raise BadInput(f"{name} is {text[:MAX_SHOWN]!r}, expected auto or a multiple of the tick {tick}")
        return row_ticks

    def schema(self, limit_max: int) -> Mapping[str, Any]:
        return {"type": "string", "pattern": f"^auto$|{_DECIMAL}"}

    def told(self, value: Any) -> Any:
        """A number of ticks is none that it reads."""
        return None


class Lots(ParameterType[int]):
    """In lots, from 0 on."""

    needs_instrument = True

    def read(self, name: str, text: str, scope: Scope) -> int:
        assert scope.instrument, "it is looked up first"
        try:
            lots = scope.instrument.size_lots(text)
        except BadInput:
            lots = -1
        if not 0 <= lots < MAX_LOTS:
            least = scope.instrument.size_text(1)
            raise BadInput(f"{name} is {text[:MAX_SHOWN]!r}, expected 0 or a multiple of the least size {least}")
        return lots

    def schema(self, limit_max: int) -> Mapping[str, Any]:
        return {"type": "string", "pattern": _DECIMAL}


def time_of(name: str, text: str) -> int:
    """Read ms since 1970, a UTC time such as 2025-01-12T14:00:00Z, or a day such as 2025-01-12: its midnight in UTC."""
    ts_ms = int(text) if _WHOLE.fullmatch(text) else _iso_ms(name, text)
    if not 0 <= ts_ms < MAX_TS_MS:
        raise BadInput(f"{name} is {text[:MAX_SHOWN]}, expected a time from 1970 to 2248")
    return ts_ms


def _iso_ms(name: str, text: str) -> int:
    wanted = "expected ms since 1970, a UTC time such as 2025-01-12T14:00:00Z, or a day such as 2025-01-12"
    try:
        moment = datetime.fromisoformat(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    except ValueError:
        raise BadInput(f"{name} is {text[:MAX_SHOWN]!r}, {wanted}") from None
    # A time without a zone would be read as UTC here and meant as local there.
    if moment.utcoffset() != timedelta(0):
        raise BadInput(f"{name} is {text[:MAX_SHOWN]!r} and not in UTC, {wanted}")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def shown(value: object) -> str:
    """A JSON value, as a sentence tells it."""
    if value is None:
        return "missing"
    try:
        return orjson.dumps(value).decode()[:MAX_SHOWN]
    except TypeError:
        # What can be read may be nested more deeply than what can be written.
        return "nested too deeply to show"


class PriceTicks(ParameterType[int]):
    """In ticks. `not_below`: the name of a price read before, which it must not be below."""

    needs_instrument = True

    def __init__(self, not_below: str | None = None) -> None:
        self.not_below = not_below

    def read(self, name: str, text: str, scope: Scope) -> int:
        assert scope.instrument, "it is looked up first"
        try:
            ticks = scope.instrument.price_ticks(text)
        except BadInput:
            ticks = MAX_TICKS
        if abs(ticks) >= MAX_TICKS:
            tick = scope.instrument.price_text(1)
            raise BadInput(f"{name} is {text[:MAX_SHOWN]!r}, expected a price, a multiple of the tick {tick}")
        least = scope.values[self.not_below] if self.not_below else None
        if least is not None and ticks < least:
            raise BadInput(f"{name} {text[:MAX_SHOWN]} is below {self.not_below}, expected {self.not_below} <= {name}")
        return ticks

    def schema(self, limit_max: int) -> Mapping[str, Any]:
        return {"type": "string", "pattern": _SIGNED_DECIMAL}
