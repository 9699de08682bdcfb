"""An endpoint is a file in feed.queries, or a face's, and a line among the routes; it takes what it declares."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

import feed.faces
import feed.queries
from common.errors import BadInput
from feed.queries import candles, trades
from feed.queries.endpoint import Endpoint
from feed.queries.parameters import LIMIT
from feed.queries.trades import MAX_TRADES, TRADES_LIMIT
from feed.stream.channels import candles as candle_bars
from feed.stream.requests import AUTH
from feed.web.routes import OF_FLEET, OF_SYMBOL, routes
from feed.wire.params import Parameters, read_message, read_request
from infra.paths import ROOT
from tests.kit.writer import INSTRUMENT

LISTED: list[Endpoint[Any, Any]] = [*OF_SYMBOL, *OF_FLEET]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text("utf-8")


def endpoints() -> Iterator[Endpoint[Any, Any]]:
    for module in pkgutil.iter_modules(feed.queries.__path__, "feed.queries."):
        found = getattr(importlib.import_module(module.name), "ENDPOINT", None)
        if found:
            yield found
    for module in pkgutil.iter_modules(feed.faces.__path__, "feed.faces."):
        yield from importlib.import_module(module.name).ENDPOINTS


def test_every_endpoint_is_listed_once_and_documented() -> None:
    paths = [endpoint.path for endpoint in LISTED]
    assert sorted(paths) == sorted(endpoint.path for endpoint in endpoints())
    assert len(set(paths)) == len(paths)
    assert set(paths) < {route.path for route in routes}
    for endpoint in LISTED:
        assert f"`{endpoint.path}`" in PROTOCOL or f"### `GET {endpoint.path}`" in PROTOCOL
        assert endpoint.about.endswith(".")


@pytest.mark.parametrize("endpoint", LISTED, ids=lambda endpoint: endpoint.path)
def test_every_parameter_is_declared_with_a_sentence_and_documented(endpoint: Endpoint[Any, Any]) -> None:
    for parameter in endpoint.parameters.declared:
        assert f"`{parameter.name}`" in PROTOCOL or f"`{parameter.name}=" in PROTOCOL
        assert parameter.about.endswith(".")


@pytest.mark.parametrize("endpoint", LISTED, ids=lambda endpoint: endpoint.path)
def test_what_is_not_declared_is_refused_and_what_is_left_out_has_its_default(endpoint: Endpoint[Any, Any]) -> None:
    names = ", ".join(endpoint.parameters.names) or "no parameters"
    with pytest.raises(BadInput, match=f"^parameter 'x' is not known here, expected {names}$"):
        read_request(b"x=1", endpoint.parameters, 50_000, INSTRUMENT)
    for parameter in endpoint.parameters.declared:
        if parameter.is_required:
            with pytest.raises(BadInput, match=f"^{parameter.name} is missing, expected "):
                read_request(b"", endpoint.parameters, 50_000, INSTRUMENT)
            return
    # The same question, so its answer is shared.
    nothing = read_request(b"", endpoint.parameters, 50_000, INSTRUMENT)
    assert hash(nothing) == hash(read_request(b"", endpoint.parameters, 50_000, INSTRUMENT))


@pytest.mark.parametrize("limit_max", [3, 500, 50_000])
def test_a_default_is_never_beyond_what_may_be_asked_for(limit_max: int) -> None:
    for limit, most in ((LIMIT, limit_max), (TRADES_LIMIT, MAX_TRADES)):
        read = Parameters((limit,), lambda given: given[LIMIT])
        assert read_request(b"", read, limit_max) == min(500, most)
        with pytest.raises(BadInput, match=f"^limit is {most + 1}, expected 1 to {most}$"):
            read_request(b"limit=%d" % (most + 1), read, limit_max)


def test_of_two_wrong_values_the_one_read_first_is_told() -> None:
    told: list[tuple[bytes, Endpoint[Any, Any], str]] = [
        (b"take=x&format=x", trades.ENDPOINT, "format"),
        (b"format=x&fill=x", candles.ENDPOINT, "fill"),
        (b"limit=x&start=2&end=1", candles.ENDPOINT, "start"),
    ]
    for text, endpoint, name in told:
        with pytest.raises(BadInput, match=f"^{name} "):
            read_request(text, endpoint.parameters, 500)


def test_a_message_is_refused_by_the_same_declarations() -> None:
    for message, sentence in (
        ({}, "symbol is missing, expected text"),
        ({"symbol": 5}, "symbol is 5, expected text"),
        ({"symbol": "A"}, "timeframe is missing, expected text"),
        ({"symbol": "A", "timeframe": "1m", "limit": "5"}, 'limit is "5", expected a whole number'),
        ({"symbol": "A", "timeframe": "1m", "limit": None}, "limit is missing, expected a whole number"),
        ({"symbol": "A", "timeframe": "1m", "limit": True}, "limit is true, expected a whole number"),
        ({"symbol": "A", "timeframe": "1m", "limit": 51_000}, "limit is 51000, expected 1 to 50000"),
        ({"symbol": "A", "timeframe": "1m", "cursor": None}, "cursor is missing, expected text"),
        ({"symbol": "A", "timeframe": "1m", "row": 5}, "'row' is not known here, see docs/protocol.md"),
    ):
        with pytest.raises(BadInput) as refused:
            candle_bars.CHANNEL.subscribe(message, 50_000)
        assert str(refused.value) == sentence
    with pytest.raises(BadInput, match="^symbol is missing, expected text$"):
        candle_bars.CHANNEL.unsubscribe({}, 50_000)
    with pytest.raises(BadInput, match="^token is missing, expected text$"):
        read_message({}, AUTH, 50_000)
