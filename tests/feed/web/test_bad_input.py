"""Nothing a client sends makes the feed fail: a 4xx, JSON, one sentence that names the value."""

import asyncio
from typing import Any

import pytest

from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, Writer

S = INSTRUMENT.symbol
HUGE = "9" * 400

BAD_WINDOWS: list[dict[str, Any]] = [
    {"timeframe": "1y"},
    {"timeframe": ""},
    {"timeframe": "0m"},
    {"timeframe": "-1m"},
    {"timeframe": "1.5h"},
    {"timeframe": "999999999d"},
    {"timeframe": HUGE},
    {"timeframe": "1m\x00"},
    {"limit": 0},
    {"limit": -1},
    {"limit": 50_001},
    {"limit": HUGE},
    {"limit": "ten"},
    {"limit": "1e3"},
    {"limit": ""},
    {"limit": "٣"},
    {"start": -1},
    {"start": HUGE},
    {"start": 1 << 43},
    {"start": "yesterday"},
    {"start": "2025-01-12T14:00:00"},
    {"start": "2025-01-12T14:00:00+01:00"},
    {"start": "9999-12-31T23:59:59Z"},
    {"start": "0001-01-01T00:00:00Z"},
    {"start": ""},
    {"end": -5},
    {"end": "1e9"},
    {"start": 2_000, "end": 1_000},
    {"start": [1, 2]},
    {"limt": 5},
    {"": "x"},
    {f"p{number}": 1 for number in range(40)},
]
BAD_CANDLES: list[dict[str, Any]] = [
    {"fill": "zero"},
    {"fill": ""},
    {"format": "xml"},
    {"format": "JSON"},
    {"row": 5},
]
BAD_FOOTPRINTS: list[dict[str, Any]] = [
    {"row": "0"},
    {"row": "-1"},
    {"row": "0.001"},
    {"row": "NaN"},
    {"row": "1e999"},
    {"row": HUGE},
    {"row": ""},
    {"fill": "flat"},
    {"format": "csv"},
]


BAD_TRADES: list[dict[str, Any]] = [
    {"limit": 0},
    {"limit": 10_001},
    {"limit": "ten"},
    {"format": "parquet"},
    {"start": "yesterday"},
    {"start": 2_000, "end": 1_000},
    {"timeframe": "1m"},
]
BAD_BOOKS: list[dict[str, Any]] = [
    {"depth": 0},
    {"depth": -1},
    {"depth": 1_001},
    {"depth": HUGE},
    {"depth": "all"},
    {"depth": ""},
    {"depth": [1, 2]},
    {"limit": 5},
]
BAD_GAPS: list[dict[str, Any]] = [
    {"state": "closed"},
    {"state": ""},
    {"state": "OPEN"},
    {"limit": 0},
    {"limit": 50_001},
    {"start": 1},
]


async def test_bad_parameters_of_trades_books_quotes_and_gaps_are_answered_with_400(
    feed: Served, writer: Writer
) -> None:
    await writer.commit(writer.trade())
    for kind, all_params in (("trades", BAD_TRADES), ("book", BAD_BOOKS), ("quote", [{"x": 1}]), ("gaps", BAD_GAPS)):
        for params in all_params:
            await refused(feed, f"/v1/{kind}/{S}", 400, "bad_input", params)


async def test_bad_parameters_are_answered_with_400_and_a_sentence(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade())
    of_rows = [params for params in BAD_FOOTPRINTS if "format" not in params]
    for kind, others in (("candles", BAD_CANDLES), ("footprint", BAD_FOOTPRINTS), ("orderflow", of_rows)):
        for params in BAD_WINDOWS + others:
            await refused(feed, f"/v1/{kind}/{S}", 400, "bad_input", params)


async def refused(
    feed: Served, path: str, status: int, code: str, params: dict[str, Any] | None = None
) -> dict[str, str]:
    response = await feed.http.get(path, params=params)
    assert response.status_code == status, (path, params, response.text)
    assert response.headers["content-type"] == "application/json"
    error: dict[str, str] = response.json()["error"]
    assert error["code"] == code
    assert set(error) == {"code", "message"}
    assert 0 < len(error["message"]) < 300 and "\n" not in error["message"]
    assert "Traceback" not in error["message"] and "Error" not in error["message"]
    return error


SYMBOLS = [
    ("TEST:NONE", 404),
    ("lower", 400),
    ("A" * 33, 400),
    ("A%00B", 400),
    ("%7BA%7D", 400),
    ("..", 400),
    ("%2E%2E", 400),
    ("A%0A", 400),
    ("%F0%9F%98%80", 400),
    ("%FF%FE", 400),
    ("A%20B", 400),
    ("A*", 400),
    ("A%2FB", 404),
    ("", 404),
]


async def test_unknown_symbols_are_404_and_what_is_no_symbol_at_all_is_400(feed: Served) -> None:
    kinds = ("candles", "footprint", "health", "trades", "book", "quote", "gaps")
    for path in ("/v1/candles/{}/current", *(f"/v1/{kind}/{{}}" for kind in kinds)):
        for symbol, status in SYMBOLS:
            # As raw bytes: a client library would tidy the path up.
            request = f"GET {path.format(symbol)} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
            response = await raw(feed, request.encode())
            assert response.startswith(f"HTTP/1.1 {status} ".encode()), (path, symbol)
            assert b'{"error":{"code":' in response, (path, symbol)


async def test_the_sentence_names_the_value_and_what_is_expected(feed: Served, writer: Writer) -> None:
    error = await refused(feed, f"/v1/candles/{S}", 400, "bad_input", {"limit": 60_000})
    assert error["message"] == "limit is 60000, expected 1 to 50000"
    error = await refused(feed, f"/v1/book/{S}", 400, "bad_input", {"depth": 1_001})
    assert error["message"] == "depth is 1001, expected 1 to 1000"
    error = await refused(feed, f"/v1/gaps/{S}", 400, "bad_input", {"state": "shut"})
    assert error["message"] == "state is 'shut', expected open or repairing or repaired or unfillable"
    error = await refused(feed, f"/v1/footprint/{S}", 400, "bad_input", {"row": "0.005"})
    assert error["message"] == "row is '0.005', expected auto or a multiple of the tick 0.01"


async def test_paths_without_parameters_refuse_them(feed: Served) -> None:
    for path in ("/v1/symbols", "/v1/health"):
        await refused(feed, path, 400, "bad_input", {"x": 1})


async def test_other_paths_and_methods_are_answered_in_the_same_shape(feed: Served) -> None:
    await refused(feed, "/", 404, "not_found")
    await refused(feed, "/v1/nothing", 404, "not_found")
    response = await feed.http.post("/v1/symbols")
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")
    response = await feed.http.post("/v1/symbols", content=b"x" * 100_000)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


NO_REQUESTS = {
    "huge path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1_000) for n in range(64)),
    "huge header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "no HTTP": b"NONSENSE\r\n\r\n",
}


async def test_requests_that_are_none_are_refused_and_others_go_on(feed: Served) -> None:
    for name, request in NO_REQUESTS.items():
        assert (await raw(feed, request)).startswith(b"HTTP/1.1 400 "), name
        assert (await feed.get("/healthz")).status_code == 200, name


async def raw(feed: Served, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", feed.port)
    try:
        writer.write(request)
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionResetError:
        return b"HTTP/1.1 400 (reset while still sending)"
    finally:
        writer.close()


async def test_a_connection_that_does_not_finish_its_request_is_closed(
    feed: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.web.bounded_http.HEAD_TIMEOUT_S", 0.1)
    assert await raw(feed, b"GET /healthz HTTP/1.1\r\nHost:") == b""
    assert await raw(feed, b"") == b""
    assert (await feed.get("/healthz")).status_code == 200
