"""Parameters: declared by those who answer, and read and refused here, for requests and for messages of a stream.

Unknown parameters are refused, and repeated ones but for lists: a misspelt `limt=` that is ignored is a wrong answer
that goes unnoticed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

from common.errors import BadInput
from common.market.instrument import Instrument
from feed.wire.parameter_types import MAX_SHOWN, ParameterType, Scope

# The name of the parameter that says how an answer is written.
FORM = "format"
# Of a query: each value of a list may be one.
MAX_FIELDS = 96

T = TypeVar("T")
Q = TypeVar("Q")
# The text that was given of a parameter, None where there is none.
TextOf = Callable[["Parameter[Any]"], str | None]


@dataclass(frozen=True, slots=True)
class Parameter(Generic[T]):
    name: str
    type: ParameterType[T]
    # The value where it is left out, as far as the bounds allow it.
    default: T
    # What it is, in a sentence.
    about: str
    is_required: bool = False
    # Whether it may be given several times: as its values with commas between.
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """What was given, or its default."""

    values: Mapping[str, Any]

    def __getitem__(self, parameter: Parameter[T]) -> T:
        value: T = self.values[parameter.name]
        return value


@dataclass(frozen=True, slots=True)
class Parameters(Generic[Q]):
    """What a question is asked with, in the order in which it is read, and the query that is made of it."""

    declared: tuple[Parameter[Any], ...]
    query: Callable[[Given], Q]

    @property
    def names(self) -> list[str]:
        """As a sentence tells them: how the answer is written comes last, wherever it is read."""
        return sorted((parameter.name for parameter in self.declared), key=FORM.__eq__)

    @property
    def needs_instrument(self) -> bool:
        return any(parameter.type.needs_instrument for parameter in self.declared)


NOTHING: Parameters[None] = Parameters((), lambda given: None)


def read_request(
    query_string: bytes, parameters: Parameters[Q], limit_max: int, instrument: Instrument | None = None
) -> Q:
    """Return the query of a request, or raise BadInput."""
    texts = _texts(query_string, parameters)
    return _read(parameters, lambda parameter: texts.get(parameter.name), limit_max, instrument)


def read_message(
    message: Mapping[str, Any], parameters: Parameters[Q], limit_max: int, instrument: Instrument | None = None
) -> Q:
    """Return what a client says in a message: the same, whose values are JSON."""

    def text_of(parameter: Parameter[Any]) -> str | None:
        if parameter.name not in message and not parameter.is_required:
            return None
        return parameter.type.text_of(parameter.name, message.get(parameter.name))

    query = _read(parameters, text_of, limit_max, instrument)
    for name in message:
        if name not in parameters.names:
            raise BadInput(f"{name[:MAX_SHOWN]!r} is not known here, see docs/protocol.md")
    return query


def _read(parameters: Parameters[Q], text_of: TextOf, limit_max: int, instrument: Instrument | None) -> Q:
    """The one place where parameters are read."""
    values: dict[str, Any] = {}
    scope = Scope(limit_max, instrument, values)
    for parameter in parameters.declared:
        text, kind = text_of(parameter), parameter.type
        read = kind.bounded(parameter.default, scope) if text is None else kind.read(parameter.name, text, scope)
        values[parameter.name] = read
    return parameters.query(Given(values))


def _texts(query_string: bytes, parameters: Parameters[Any]) -> dict[str, str]:
    known, lists = parameters.names, {each.name for each in parameters.declared if each.repeats}
    given: dict[str, str] = {}
    try:
        pairs = parse_qsl(
            query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError:
        raise BadInput(
            f"the query is not up to {MAX_FIELDS} parameters of UTF-8 text, name=value joined by &"
        ) from None
    for name, value in pairs:
        if name not in known:
            wanted = ", ".join(known) or "no parameters"
            raise BadInput(f"parameter {name[:MAX_SHOWN]!r} is not known here, expected {wanted}")
        if name not in given:
            given[name] = value
        elif name in lists:
            given[name] += f",{value}"
        else:
            raise BadInput(f"parameter {name!r} is given twice, expected once")
    return given
