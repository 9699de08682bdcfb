import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from tests.kit.clocks import FakeClock
from tests.workers.venues.server import Exchange, exchange
from workers.venues.shared import rest
from workers.venues.shared.base import Throttled, VenueError, VenueUnavailable
from workers.venues.shared.budget import OpenBudget
from workers.venues.shared.rest import MAX_RETRY_MS, Rest, retry_after_ms

NOW_MS = FakeClock().now_ms()


@pytest.fixture
async def venue() -> AsyncIterator[Exchange]:
    async with exchange() as it:
        yield it


@pytest.fixture
def budget() -> OpenBudget:
    return OpenBudget()


async def _get(venue: Exchange, budget: OpenBudget, path: str = "/api/trades", **params: str | int) -> Any:
    host = Rest(venue.rest_url, budget, FakeClock(), {"X-Key": "secret"})
    try:
        return await host.get(path, params, weight=7, endpoint="trades", market="BTCUSDT")
    finally:
        await host.close()


async def test_the_weight_is_spent_and_what_the_venue_says_of_it_is_reported(
    venue: Exchange, budget: OpenBudget
) -> None:
    venue.routes["/api/trades"] = lambda params: (200, {"X-MBX-USED-WEIGHT-1M": "32"}, params)
    assert await _get(venue, budget, symbol="BTCUSDT", limit=5) == {"symbol": "BTCUSDT", "limit": "5"}
    assert (budget.spent, budget.weight) == ({"trades": 1}, 7)
    assert budget.headers["x-mbx-used-weight-1m"] == "32"


async def test_nothing_is_sent_that_the_budget_does_not_allow(venue: Exchange) -> None:
    class Spent(OpenBudget):
        async def spend(self, endpoint: str, weight: int) -> None:
            raise Throttled("cooling down", 5_000, endpoint=endpoint)

    with pytest.raises(Throttled):
        await _get(venue, Spent())
    assert venue.asked == []


@pytest.mark.parametrize(("status", "banned"), [(429, False), (418, True)])
async def test_a_refusal_for_the_rate_says_how_long(
    venue: Exchange, budget: OpenBudget, status: int, banned: bool
) -> None:
    venue.routes["/api/trades"] = lambda _: (status, {"Retry-After": "17"}, {"code": -1003, "msg": "Too much"})
    with pytest.raises(Throttled, match=f"trades answered {status}") as caught:
        await _get(venue, budget)
    error = caught.value
    assert (error.retry_after_ms, error.banned, error.endpoint, error.market) == (17_000, banned, "trades", "BTCUSDT")
    assert budget.refusals == [caught.value]


@pytest.mark.parametrize(
    ("status", "error"), [(400, VenueError), (404, VenueError), (451, VenueError), (500, VenueUnavailable)]
)
async def test_an_error_is_told_by_who_must_act(
    venue: Exchange, budget: OpenBudget, status: int, error: type[Exception]
) -> None:
    venue.routes["/api/trades"] = lambda _: (status, {}, {"code": -1121, "msg": "Invalid symbol."})
    with pytest.raises(error, match=f"trades answered {status}.*Invalid symbol") as caught:
        await _get(venue, budget)
    assert type(caught.value) is error


async def test_an_answer_that_is_no_json_is_the_venues_failure(venue: Exchange, budget: OpenBudget) -> None:
    venue.answer("/api/trades", b"<html>maintenance</html>")
    with pytest.raises(VenueUnavailable, match="no JSON: <html>"):
        await _get(venue, budget)


async def test_an_answer_without_end_is_given_up(
    venue: Exchange, budget: OpenBudget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "MAX_BODY_BYTES", 1_000)
    venue.answer("/api/trades", b"[" * 2_000)
    with pytest.raises(VenueUnavailable, match="more than 1000 bytes"):
        await _get(venue, budget)


async def test_no_answer_is_the_venues_failure(budget: OpenBudget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "TIMEOUT_S", 0.1)
    nobody = Exchange()
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        nobody.port = mute.getsockname()[1]
        with pytest.raises(VenueUnavailable, match="ConnectError"):
            await _get(nobody, budget)
        mute.listen()
        with pytest.raises(VenueUnavailable, match="ReadTimeout"):
            await _get(nobody, budget)


async def test_a_key_is_in_no_message(venue: Exchange, budget: OpenBudget) -> None:
    with pytest.raises(VenueError) as caught:
        await _get(venue, budget)
    assert "secret" not in repr(caught.value)
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("0", 0),
        ("17", 17_000),
        (" 17 ", 17_000),
        (format_datetime(datetime.fromtimestamp(NOW_MS / 1_000 + 90, UTC), usegmt=True), 90_000),
        (format_datetime(datetime.fromtimestamp(NOW_MS / 1_000 - 90, UTC), usegmt=True), 0),
        ("Tue, 14 Nov 2023 22:14:50 -0000", 90_000),
        ("9" * 30, MAX_RETRY_MS),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_MS),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("", 0),
        ("²", 0),
    ],
)
def test_retry_after_is_read_in_both_its_forms(text: str, expected_ms: int) -> None:
    assert retry_after_ms({"Retry-After": text}, NOW_MS) == expected_ms


def test_without_retry_after_nothing_is_said() -> None:
    assert retry_after_ms({}, NOW_MS) == 0


async def test_a_request_whose_caller_is_cancelled_ends_by_itself(clock: FakeClock) -> None:
    """Cut off while it connects, it may leave a socket behind."""
    for turns in range(3, 30):
        async with exchange() as venue:
            venue.answer("/x", {})
            rest = Rest(venue.rest_url, OpenBudget(), clock)
            asking = asyncio.create_task(rest.get("/x", {}, weight=1, endpoint="x"))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await rest.close()
            assert venue.asked == [("/x", {})]
