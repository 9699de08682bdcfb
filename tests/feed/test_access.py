"""Who may ask: by which host, from which page, behind which proxy, with which token."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from common.access import Role, Token, digest_of
from common.errors import OperatorError
from common.settings import Settings
from feed.access import Access
from feed.app import create_app
from feed.stream import session
from tests.kit.served import Served, hear, say, served
from tests.kit.writer import INSTRUMENT, Writer

S = INSTRUMENT.symbol
SECRET, HIGHER = "fleet_of_alice", "fleet_of_bob"
ALICE, BOB = Token("alice", Role.READ, digest_of(SECRET)), Token("bob", Role.ADMIN, digest_of(HIGHER))
TOKENS = f"{ALICE},{BOB}"
BEARER = {"authorization": f"Bearer {SECRET}"}
# Everything there is but what is open.
PATHS = [
    "/metrics",
    "/v1/symbols",
    "/v1/health",
    "/nothing",
    *(f"/v1/{kind}/{S}" for kind in ("candles", "footprint", "trades", "book", "quote", "gaps", "market", "health")),
    f"/v1/candles/{S}/current",
]


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def refusal(feed: Served, **headers: str) -> tuple[int, str]:
    """What a handshake with these headers is refused with."""
    with pytest.raises(InvalidStatus) as caught:
        async with feed.connect(additional_headers=headers):
            pass
    response = caught.value.response
    return response.status_code, orjson.loads(response.body or b"")["error"]["code"]


# hosts


@pytest.mark.parametrize("host", ["evil.example:8700", "evil.example", "", "127.0.0.1.evil.example", "localhost.evil"])
async def test_a_page_whose_own_name_leads_to_us_gets_nothing(feed: Served, host: str) -> None:
    """DNS rebinding: to its browser it is of our origin."""
    for path in PATHS:
        answer = await feed.http.get(path, headers={"host": host})
        assert code(answer) == (421, "unknown_host"), path
        assert answer.headers["content-type"] == "application/json"
    for path in ("/healthz", "/readyz"):
        assert (await feed.http.get(path, headers={"host": host})).status_code == 200


async def test_a_stream_is_not_opened_by_such_a_page(feed: Served) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(
            "ws://evil.example/v1/stream", host="127.0.0.1", port=feed.port, origin=Origin("http://evil.example")
        ):
            pass
    assert caught.value.response.status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "LOCALHOST:8700", "[::1]:8700", "localhost."])
async def test_this_machines_names_are_ours(feed: Served, host: str) -> None:
    assert (await feed.http.get("/v1/symbols", headers={"host": host})).status_code == 200


async def test_other_names_are_ours_if_they_are_said_to_be(redis_url: str) -> None:
    async with served(redis_url, allowed_hosts="fleet.example.org,*.charts.example") as feed:
        for host in ("fleet.example.org", "a.charts.example:443", "127.0.0.1"):
            assert (await feed.http.get("/v1/symbols", headers={"host": host})).status_code == 200
        assert code(await feed.http.get("/v1/symbols", headers={"host": "example.org"})) == (421, "unknown_host")


# origins


async def test_pages_of_listed_origins_may_read_and_no_others(redis_url: str) -> None:
    page = "https://charts.example.org"
    async with served(redis_url, allowed_origins=[page], api_tokens=TOKENS) as feed:
        asking = {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}
        preflight = await feed.http.options("/v1/symbols", headers={"origin": page, **asking})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == page
        assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
        answer = await feed.http.get("/v1/symbols", headers={"origin": page, **BEARER})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, page)
        assert "origin" in answer.headers["vary"].lower()
        assert "access-control-allow-credentials" not in answer.headers
        # It may also read why it is refused.
        answer = await feed.http.get("/v1/symbols", headers={"origin": page})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, page)
        foreign = {"origin": "https://evil.example.org"}
        assert (
            "access-control-allow-origin" not in (await feed.http.get("/v1/symbols", headers=foreign | BEARER)).headers
        )
        assert (await feed.http.options("/v1/symbols", headers=foreign | asking)).status_code == 400


@pytest.mark.parametrize("origin", ["https://evil.example.org", "null", "http://[::1", "http://127.0.0.1:1", "file://"])
async def test_a_page_of_another_origin_opens_no_stream(feed: Served, origin: str) -> None:
    assert await refusal(feed, origin=origin) == (403, "forbidden")


async def test_a_page_of_ours_opens_a_stream(feed: Served) -> None:
    async with feed.connect(origin=f"http://127.0.0.1:{feed.port}") as socket:
        await say(socket, action="ping")
        assert (await hear(socket))["type"] == "pong"


# proxies


def scope_of(access: Access, client: str, **headers: str) -> dict[str, Any]:
    return {
        "type": "http",
        "path": "/",
        "client": (client, 1),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }


@pytest.mark.parametrize(
    ("client", "forwarded", "is_seen"),
    [
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9, 10.9.9.9", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "rubbish", "rubbish"),
        # Nobody's proxy: whatever it says.
        ("203.0.113.7", "10.0.0.1", "203.0.113.7"),
        ("127.0.0.1", "203.0.113.9", "127.0.0.1"),
        ("", "203.0.113.9", ""),
    ],
)
def test_an_address_is_believed_of_trusted_proxies_alone(client: str, forwarded: str, is_seen: str) -> None:
    access = Access.of(Settings(trusted_proxies="10.0.0.0/8"))
    found = access.client_of(client, forwarded) if access.is_trusted(client) else client
    assert found == is_seen


async def test_a_host_is_believed_of_trusted_proxies_alone(redis_url: str) -> None:
    there = {"host": "10.0.0.7", "x-forwarded-host": "fleet.example.org", "x-forwarded-for": "203.0.113.9"}
    settings: dict[str, Any] = {"allowed_hosts": "fleet.example.org"}
    async with served(redis_url, trusted_proxies="127.0.0.1", **settings) as feed:
        assert (await feed.http.get("/v1/symbols", headers=there)).status_code == 200
        evil = there | {"host": "fleet.example.org", "x-forwarded-host": "evil.example"}
        assert code(await feed.http.get("/v1/symbols", headers=evil)) == (421, "unknown_host")
        # A page of ours is one of the name that the proxy is asked by.
        async with feed.connect(origin="https://fleet.example.org", additional_headers=there):
            pass
    async with served(redis_url, **settings) as feed:
        assert code(await feed.http.get("/v1/symbols", headers=there)) == (421, "unknown_host")
        assert await refusal(feed, origin="https://fleet.example.org", **{"x-forwarded-host": "fleet.example.org"}) == (
            403,
            "forbidden",
        )


# tokens over HTTP


@pytest.fixture
async def guarded(redis_url: str, writer: Writer) -> AsyncIterator[Served]:
    await writer.commit(writer.trade())
    async with served(redis_url, api_tokens=TOKENS) as feed:
        yield feed


async def test_without_a_token_nothing_is_read(guarded: Served) -> None:
    for path in PATHS:
        answer = await guarded.http.get(path)
        assert code(answer) == (401, "unauthorized"), path
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-content-type-options"] == "nosniff"
    for path in ("/healthz", "/readyz"):
        assert (await guarded.http.get(path)).status_code == 200


@pytest.mark.parametrize("token", [SECRET, HIGHER])
async def test_with_a_token_of_any_role_everything_is_read(guarded: Served, token: str) -> None:
    for scheme in ("Bearer", "bearer"):
        headers = {"authorization": f"{scheme} {token}"}
        for path in ("/metrics", "/v1/symbols", f"/v1/candles/{S}"):
            assert (await guarded.http.get(path, headers=headers)).status_code == 200, path
    assert code(await guarded.http.get("/nothing", headers={"authorization": f"Bearer {token}"})) == (404, "not_found")


@pytest.mark.parametrize(
    "credentials",
    [
        "Bearer",
        f"Bearer {SECRET}x",
        f"Bearer {SECRET[1:]}",
        f"Basic {SECRET}",
        SECRET,
        f"Bearer {ALICE.digest}",
    ],
)
async def test_what_is_no_token_of_ours_is_none(guarded: Served, credentials: str) -> None:
    assert code(await guarded.http.get("/v1/symbols", headers={"authorization": credentials})) == (401, "unauthorized")
    assert await refusal(guarded, authorization=credentials) == (401, "unauthorized")


async def test_a_token_is_taken_from_no_address_and_told_nowhere(
    guarded: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        by_url = await guarded.http.get(f"/v1/candles/{S}?token={SECRET}")
        assert code(by_url) == (401, "unauthorized")
        in_url = await guarded.http.get(f"/v1/candles/{S}?token={SECRET}", headers=BEARER)
        assert code(in_url) == (400, "bad_input")
        metrics = await guarded.http.get("/metrics", headers=BEARER)
        async with guarded.connect() as socket:
            await say(socket, action="auth", token=HIGHER, more=SECRET)
            said = await socket.recv()
    # The clients' own libraries write down what they send; uvicorn is told to be silent (feed.__main__).
    log = [record.getMessage() for record in caplog.records if record.name.startswith(("feed", "common"))]
    said_by_us = f"{by_url.text} {in_url.text} {metrics.text} {said!r} {log}"
    assert SECRET not in said_by_us and HIGHER not in said_by_us


# tokens over the WebSocket


async def test_a_program_shows_its_token_with_the_handshake(guarded: Served) -> None:
    async with guarded.connect(additional_headers=BEARER) as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1m")
        assert (await hear(socket))["type"] == "snapshot"


async def test_a_page_shows_its_token_with_its_first_message(guarded: Served) -> None:
    async with guarded.connect() as socket:
        await say(socket, action="auth", token=SECRET, id=7)
        assert await hear(socket) == {"type": "authenticated", "id": 7}
        await say(socket, action="subscribe", symbol=S, timeframe="1m")
        assert (await hear(socket))["type"] == "snapshot"
        # Again is harmless.
        await say(socket, action="auth", token=SECRET)
        assert await hear(socket, "authenticated")


async def test_a_client_need_not_know_whether_a_feed_wants_tokens(feed: Served) -> None:
    async with feed.connect() as socket:
        await say(socket, action="auth", token="any")
        assert await hear(socket) == {"type": "authenticated"}


@pytest.mark.parametrize(
    "first",
    [
        {"action": "subscribe", "symbol": S, "timeframe": "1m"},
        {"action": "ping"},
        {"action": "auth"},
        {"action": "auth", "token": 7},
        {"action": "auth", "token": SECRET + "x"},
        {"action": "auth", "token": ""},
        {"action": "ping", "token": SECRET},
        [],
        "no JSON",
        b"bytes",
        "[" * 100_000,
    ],
)
async def test_who_begins_with_anything_else_is_closed(guarded: Served, first: Any) -> None:
    async with guarded.connect() as socket:
        await socket.send(first if isinstance(first, str | bytes) else orjson.dumps(first).decode())
        assert (await hear(socket))["code"] == "unauthorized"
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1008


async def test_who_shows_nothing_in_time_is_closed(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "AUTH_TIMEOUT_S", 0.05)
    async with guarded.connect() as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1008


# what is refused before it starts


def test_nobody_beyond_this_machine_is_let_in_without_a_word_about_tokens() -> None:
    with pytest.raises(OperatorError) as caught:
        create_app(Settings(host="192.0.2.7", redis_url="redis://h"))
    assert str(caught.value) == (
        "FLEET_HOST is 192.0.2.7, beyond this machine, and FLEET_API_TOKENS is not set:"
        " 'fleet token new NAME' prints one and the line to set; FLEET_API_TOKENS=none opens it to everybody"
    )


def test_any_address_needs_the_names_that_it_is_reached_by() -> None:
    for host in ("0.0.0.0", "::"):
        with pytest.raises(
            OperatorError, match=f"FLEET_HOST is {host}, any address, and FLEET_ALLOWED_HOSTS is not set"
        ):
            Access.of(Settings(host=host, api_tokens="none"))
        access = Access.of(Settings(host=host, api_tokens="none", allowed_hosts="fleet.example.org"))
        assert access.is_open and host not in access.hosts


def test_the_bound_address_is_a_name_of_ours() -> None:
    access = Access.of(Settings(host="192.0.2.7", api_tokens=str(Token("a", Role.READ, "0" * 64))))
    assert "192.0.2.7" in access.hosts and not access.is_open
