"""`/openapi.json` and `/docs`: what they say is what is answered."""

import random
from collections.abc import AsyncIterator
from typing import Any

import jsonschema
import pytest

from feed.queries.endpoint import Endpoint
from feed.web.routes import OF_FLEET, OF_SYMBOL
from feed.wire.openapi import document
from tests.kit.books import example_chunk, put_book, put_chunks
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, START_MS, Writer, random_step

ENDPOINTS: list[Endpoint[Any, Any]] = [*OF_SYMBOL, *OF_FLEET]
S = INSTRUMENT.symbol
# What else each is asked, beside its path alone.
ASKED: dict[str, list[dict[str, Any]]] = {
    "/v1/candles/{symbol}": [{"timeframe": "1d"}, {"timeframe": "5m", "fill": "flat"}, {"start": START_MS, "limit": 1}],
    "/v1/footprint/{symbol}": [{"stats": 1, "row": "auto", "timeframe": "15m"}, {"fields": "zones,imb,zeroPrints"}],
    "/v1/orderflow/{symbol}": [{"timeframe": "1h", "anchor": "day"}, {"fields": "v,missing"}],
    "/v1/heatmap/{symbol}": [{"kind": "traded"}, {"kind": "traded", "bucket": "1s", "best": 1}],
    "/v1/profile/{symbol}": [
        {"kind": "tpo", "limit": 3},
        {"kind": "day", "limit": 3, "nodes": 1, "naked": 1, "developing": "1h"},
    ],
    "/v1/indicators/{symbol}": [
        {"id": "SMA_3,VWAP"},
        {"id": "RSI_14,MACD,VWAP_session_2,ICHIMOKU,SUPERTREND", "limit": 50},
        {"id": "EMA_20", "timeframe": "1m", "align": "1h", "final": "true"},
    ],
    "/api/multi-timeframe/ohlcv/{symbol}": [{"timeframes": "1min,1d,30s", "lookback": 3}],
    "/v1/trades/{symbol}": [{"join_ms": 1_000}, {"start": START_MS, "take": "oldest"}],
    "/v1/quotes": [{"symbols": f"{S},TEST:NONE"}],
    "/v1/viewport/{symbol}": [{"profile": 1, "heatmap": "depth"}, {"profile": 1, "timeframe": "1d"}],
}


def validator(shape: Any) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**shape, "components": document(ENDPOINTS, 50_000)["components"]})


def test_it_is_a_document_of_every_endpoint_with_all_of_its_parameters() -> None:
    found = document(ENDPOINTS, 50_000)
    assert found["openapi"] == "3.1.0" and list(found["paths"]) == [endpoint.path for endpoint in ENDPOINTS]
    operations = [item["get"] for item in found["paths"].values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for endpoint, operation in zip(ENDPOINTS, operations, strict=True):
        names = [each["name"] for each in operation["parameters"] if each["in"] == "query"]
        assert names == [parameter.name for parameter in endpoint.parameters.declared]
        for parameter in operation["parameters"]:
            jsonschema.Draft202012Validator.check_schema(parameter["schema"])
            if "default" in parameter["schema"]:
                jsonschema.validate(parameter["schema"]["default"], parameter["schema"])
        jsonschema.Draft202012Validator.check_schema(endpoint.says)


def test_a_limit_is_told_as_the_settings_have_it() -> None:
    candles = document(ENDPOINTS, 70)["paths"]["/v1/candles/{symbol}"]["get"]["parameters"]
    limit = next(each["schema"] for each in candles if each["name"] == "limit")
    assert limit == {"type": "integer", "minimum": 1, "maximum": 70, "default": 70}


@pytest.fixture
async def written(writer: Writer) -> AsyncIterator[Writer]:
    """Days with holes, late trades, trades of unknown side, minutes that are sealed, and a book."""
    rng = random.Random(5)
    for _ in range(60):
        await random_step(writer, rng)
    await put_book(writer)
    await put_chunks(writer, example_chunk())
    yield writer


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
async def test_answers_look_as_they_are_said_to(feed: Served, endpoint: Endpoint[Any, Any]) -> None:
    alone: list[dict[str, Any]] = [] if any(each.is_required for each in endpoint.parameters.declared) else [{}]
    for params in (*alone, *ASKED.get(endpoint.path, [])):
        answer = await feed.get(endpoint.path.replace("{symbol}", S), **params)
        assert answer.status_code == 200, answer.text
        validator(endpoint.says).validate(answer.json())


@pytest.mark.usefixtures("written")
async def test_errors_look_as_they_are_said_to(feed: Served) -> None:
    error = document(ENDPOINTS, 50_000)["components"]["schemas"]["Error"]
    asked: list[tuple[str, dict[str, str]]] = [
        (f"/v1/candles/{S}", {"limit": "x"}),
        ("/v1/candles/NO:SUCH", {}),
        ("/nothing", {}),
    ]
    for path, params in asked:
        jsonschema.validate((await feed.get(path, **params)).json(), error)


async def test_a_member_that_is_not_declared_would_be_seen() -> None:
    """The control: an answer with one more, or without one, is not what is said."""
    symbols = next(endpoint for endpoint in ENDPOINTS if endpoint.path == "/v1/symbols")
    found = validator(symbols.says)
    assert found.is_valid({"symbols": []})
    assert not found.is_valid({"symbols": [], "more": 1}) and not found.is_valid({})


async def test_the_page_needs_nothing_else_and_has_every_parameter(feed: Served) -> None:
    page, data = await feed.get("/docs"), await feed.json("/openapi.json")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "style-src 'sha256-" in page.headers["content-security-policy"]
    assert "<script" not in page.text and "http://" not in page.text and "https://" not in page.text
    for path, item in data["paths"].items():
        assert f">GET {path}</a>" in page.text
        for parameter in item["get"]["parameters"]:
            assert f"<code>{parameter['name']}</code>" in page.text
