"""The OpenAPI document: made of what endpoints declare, so it says no more and no less than what is answered."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from common.release import RELEASE
from feed.wire.answers import JSON, TABLES
from feed.wire.heatmaps import GRID
from feed.wire.params import FORM, Parameter, Parameters
from feed.wire.shapes import NAMED, Shape, named

ABOUT = (
    "Market data that corrects itself: candles of any timeframe, footprints, order flow, profiles, heatmaps, trades, "
    "gaps and health of each symbol. Every answer is true of one commit, which its cursor names. docs/protocol.md has "
    "the words, and the stream at /v1/stream."
)
SYMBOL_TEXT = "^[A-Z0-9:_.-]{1,32}$"
# How an answer may be written, by the values of `format`.
MEDIA_TYPES: Mapping[str, str] = {str(name): kind for name, kind in (("json", JSON), *TABLES.items(), ("grid", GRID))}
# What else may come of any question, and what it means.
FAILURES = {
    400: "A parameter can't be understood.",
    401: "A token is missing or unknown.",
    403: "The token does not allow it.",
    404: "There is no such symbol, or it has no such thing.",
    421: "The feed is not reached by that host.",
    429: "Too many heavy queries, or connections.",
    500: "A bug: the feed's log has it.",
    503: "The store or the archive does not answer.",
}


class Declared(Protocol):
    """What the document needs of an endpoint."""

    @property
    def path(self) -> str: ...

    @property
    def about(self) -> str: ...

    @property
    def parameters(self) -> Parameters[Any]: ...

    @property
    def says(self) -> Shape: ...


def document(endpoints: Iterable[Declared], limit_max: int) -> dict[str, Any]:
    """`limit_max`: most bars of one request, as the settings have it."""
    no_token: dict[str, list[str]] = {}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fleet market data", "version": RELEASE, "description": ABOUT},
        "paths": {endpoint.path: {"get": _operation(endpoint, limit_max)} for endpoint in endpoints},
        "components": {
            "schemas": NAMED,
            "responses": {str(status): _failure(about) for status, about in FAILURES.items()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # Only where FLEET_API_TOKENS is set.
        "security": [no_token, {"token": []}],
    }


def _operation(endpoint: Declared, limit_max: int) -> dict[str, Any]:
    of_symbol = [_SYMBOL] if "{symbol}" in endpoint.path else []
    failures = {str(status): {"$ref": f"#/components/responses/{status}"} for status in FAILURES}
    return {
        "operationId": _name_of(endpoint.path),
        "summary": endpoint.about,
        "parameters": [*of_symbol, *(_parameter(each, limit_max) for each in endpoint.parameters.declared)],
        "responses": {"200": {"description": endpoint.about, "content": _content(endpoint)}, **failures},
    }


_SYMBOL = {
    "name": "symbol",
    "in": "path",
    "required": True,
    "description": "A registered symbol, such as SIMULATED:BTCUSD.",
    "schema": {"type": "string", "pattern": SYMBOL_TEXT},
}


def _parameter(parameter: Parameter[Any], limit_max: int) -> dict[str, Any]:
    schema = dict(parameter.type.schema(limit_max))
    default = None if parameter.default is None else parameter.type.told(parameter.default)
    # A list that is not given is empty, and none that may be given.
    if default is not None and default != []:
        schema["default"] = min(default, limit_max) if isinstance(default, int) else default
    required = {"required": True} if parameter.is_required else {}
    found = {"name": parameter.name, "in": "query", **required, "description": parameter.about, "schema": schema}
    # A list is written with commas between.
    return found | ({"style": "form", "explode": False} if schema.get("type") == "array" else {})


def _name_of(path: str) -> str:
    return "_".join(re.findall("[a-z0-9]+", path))


def _content(endpoint: Declared) -> dict[str, Any]:
    """By media type. What is not JSON is bytes to it."""
    forms = next((each for each in endpoint.parameters.declared if each.name == FORM), None)
    words: list[str] = list(forms.type.schema(0)["enum"]) if forms else ["json"]
    shapes: Mapping[str, Shape] = {"json": endpoint.says}
    return {MEDIA_TYPES[word]: {"schema": shapes.get(word, {})} for word in words}


def _failure(about: str) -> dict[str, Any]:
    return {"description": about, "content": {JSON: {"schema": named("Error")}}}
