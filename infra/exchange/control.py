"""Control messages of a WebSocket connection: SUBSCRIBE and its kin, and the words the venue answers with."""

import re
from collections.abc import Callable
from typing import Any, Protocol

import orjson

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_ID_TEXT = re.compile(r"[A-Za-z0-9_-]{1,36}", re.ASCII)
_BAD_ID = "request ID must be an unsigned integer"


class ControlTarget(Protocol):
    """What control messages change."""

    combined: bool

    def names(self) -> list[str]: ...

    def subscribe(self, names: list[str]) -> bool:
        """False: that would be more streams than a connection may have."""

    def unsubscribe(self, names: list[str]) -> None: ...


class Invalid(Exception):
    """The request can't be followed; `code` and text are the venue's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def answer(subscriber: ControlTarget, text: bytes) -> bytes:
    """Follow a control message and return the reply."""
    request_id: object = None
    try:
        request = _read(text)
        request_id = _request_id(request)
        method = request.get("method")
        follow = _FOLLOW.get(method) if isinstance(method, str) else None
        if follow is None:
            raise _unknown(request)
        result = follow(subscriber, request)
        return orjson.dumps({"result": result, "id": request_id})
    except Invalid as error:
        # The id is told where there is one.
        known = {} if request_id is None else {"id": request_id}
        return orjson.dumps({"code": error.code, "msg": str(error), **known})


def _read(text: bytes) -> dict[str, Any]:
    try:
        request = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Invalid(3, f"Invalid JSON: expected value at line {error.lineno} column {error.colno}") from None
    if not isinstance(request, dict):
        raise Invalid(2, "Invalid request: expected an object")
    return request


def _request_id(request: dict[str, Any]) -> int | str | None:
    found = request.get("id", ...)
    if found is None or (isinstance(found, str) and _ID_TEXT.fullmatch(found)):
        return found
    if isinstance(found, int) and not isinstance(found, bool) and -(1 << 63) <= found < 1 << 63:
        return found
    raise Invalid(2, f"Invalid request: {_BAD_ID}")


def _unknown(request: dict[str, Any]) -> Invalid:
    if "method" not in request:
        return Invalid(2, "Invalid request: missing field `method`")
    expected = ", ".join(f"`{method}`" for method in _METHODS)
    return Invalid(2, f"Invalid request: unknown variant `{request['method']}`, expected one of {expected}")


def _subscribe(subscriber: ControlTarget, request: dict[str, Any]) -> None:
    if not subscriber.subscribe(_names(request)):
        raise Invalid(2, "Invalid request: too many streams")


def _unsubscribe(subscriber: ControlTarget, request: dict[str, Any]) -> None:
    subscriber.unsubscribe(_names(request))


def _list(subscriber: ControlTarget, request: dict[str, Any]) -> list[str]:
    return subscriber.names()


def _set_property(subscriber: ControlTarget, request: dict[str, Any]) -> None:
    name, *values = _property(request, 2)
    if not values or not isinstance(values[0], bool):
        raise Invalid(1, "Invalid value type: expected Boolean")
    _check_known(name)
    subscriber.combined = values[0]


def _get_property(subscriber: ControlTarget, request: dict[str, Any]) -> bool:
    _check_known(_property(request, 1)[0])
    return subscriber.combined


def _names(request: dict[str, Any]) -> list[str]:
    names = request.get("params")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Invalid(2, "Invalid request: params must be an array of strings")
    return names


def _property(request: dict[str, Any], limit: int) -> list[Any]:
    params = request.get("params")
    if not isinstance(params, list) or not params or not isinstance(params[0], str):
        raise Invalid(2, "Invalid request: property name must be a string")
    if len(params) > limit:
        raise Invalid(2, "Invalid request: too many parameters")
    return params


def _check_known(name: str) -> None:
    if name != "combined":
        raise Invalid(0, "Unknown property")


_FOLLOW: dict[str, Callable[[ControlTarget, dict[str, Any]], object]] = {
    "SUBSCRIBE": _subscribe,
    "UNSUBSCRIBE": _unsubscribe,
    "LIST_SUBSCRIPTIONS": _list,
    "SET_PROPERTY": _set_property,
    "GET_PROPERTY": _get_property,
}
