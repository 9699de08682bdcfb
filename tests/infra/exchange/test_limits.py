"""What an IP may ask for, counted to the last one."""

import httpx2
import pytest

from infra.exchange import Rules
from infra.exchange.limits import BANNED, OK, TOO_MANY, Limiter, LimitWindow
from tests.kit.clocks import FakeClock
from tests.kit.exchange import SYMBOL, Served, served, still

# 1,700,000,000,000 is 40 s before a full minute.
NOW_MS = 1_700_000_000_000
TO_MINUTE_S = 40


def statuses(limiter: Limiter, count: int, weight: int, now_ms: int, ip: str = "a") -> list[int]:
    return [limiter.request(ip, weight, now_ms).status for _ in range(count)]


def test_weight_is_spent_to_the_limit_and_is_back_with_the_next_minute() -> None:
    limiter = Limiter(Rules(weight_limit=100))
    assert statuses(limiter, 4, 25, NOW_MS) == [OK] * 4
    refused = limiter.request("a", 1, NOW_MS)
    assert (refused.status, refused.used_weight, refused.retry_after_s) == (TOO_MANY, 100, TO_MINUTE_S)
    assert statuses(limiter, 1, 100, NOW_MS, ip="b") == [OK]
    assert limiter.request("a", 1, NOW_MS + TO_MINUTE_S * 1_000 - 1).retry_after_s == 1
    assert limiter.request("a", 60, NOW_MS + TO_MINUTE_S * 1_000).used_weight == 60


def test_a_lighter_request_still_fits() -> None:
    limiter = Limiter(Rules(weight_limit=100))
    assert statuses(limiter, 1, 99, NOW_MS) + statuses(limiter, 1, 2, NOW_MS) + statuses(limiter, 1, 1, NOW_MS) == [
        OK,
        TOO_MANY,
        OK,
    ]


def test_requests_are_limited_by_number_too() -> None:
    limiter = Limiter(Rules(raw_limit=3))
    assert statuses(limiter, 4, 1, NOW_MS) == [OK, OK, OK, TOO_MANY]
    # Its window is five minutes: 160 s are left of this one.
    assert limiter.request("a", 1, NOW_MS + 60_000).retry_after_s == 40


def test_who_goes_on_is_banned_and_longer_each_time() -> None:
    rules = Rules(weight_limit=1, refusals_before_ban=3, ban_ms=120_000, ban_cap_ms=300_000)
    limiter, now_ms = Limiter(rules), NOW_MS
    for ban_ms in (120_000, 240_000, 300_000, 300_000):
        limiter.request("a", 1, now_ms)
        assert statuses(limiter, 2, 1, now_ms) == [TOO_MANY, TOO_MANY]
        ban = limiter.request("a", 1, now_ms)
        assert (ban.status, ban.retry_after_s, ban.banned_until_ms) == (BANNED, ban_ms // 1_000, now_ms + ban_ms)
        assert limiter.request("a", 1, now_ms + ban_ms - 1).status == BANNED
        now_ms += ban_ms


def test_refusals_of_different_minutes_are_no_ban() -> None:
    limiter = Limiter(Rules(weight_limit=1, refusals_before_ban=2))
    for minute in range(5):
        now_ms = NOW_MS + minute * 60_000
        assert statuses(limiter, 2, 1, now_ms) == [OK, TOO_MANY]


def test_a_window_gives_no_more_than_it_has() -> None:
    window = LimitWindow(limit=5, span_ms=1_000)
    assert [window.take(2, 10) for _ in range(3)] == [True, True, False]
    assert window.take(1, 999) and not window.take(1, 999) and window.take(5, 1_000)


async def test_over_real_sockets_the_limit_is_exact_and_every_request_is_in_the_log() -> None:
    clock = FakeClock(NOW_MS)
    async with served(still(rules=Rules(weight_limit=60, refusals_before_ban=3), clock=clock)) as running:
        found = [await _depth(running) for _ in range(14)]
        assert found == [200] * 12 + [429] * 2
        last = await running.http.get("/api/v3/ping")
        assert last.status_code == 418 and last.json()["code"] == -1003
        assert f"banned until {NOW_MS + 120_000}." in last.json()["msg"]
        stats = running.exchange.stats
        assert stats.weight == {"depth": 60, "ping": 0} and stats.requests == {"depth": 14, "ping": 1}
        assert stats.violations == {"weight": 2, "ban": 1} and stats.most_used_weight == 60
        assert [asked.status for asked in stats.request_log] == [200] * 12 + [429] * 2 + [418]
        assert stats.violation_log[0].what == f"depth?symbol={SYMBOL}"
        clock.advance(120_000)
        assert await _depth(running) == 200


async def _depth(running: Served) -> int:
    answer = await running.http.get("/api/v3/depth", params={"symbol": SYMBOL})
    if answer.status_code == 429:
        assert answer.headers["retry-after"] == str(TO_MINUTE_S)
        assert answer.headers["x-mbx-used-weight-1m"] == "60"
        assert "current limit is 60 request weight per 1 MINUTE" in answer.json()["msg"]
    return answer.status_code


async def test_each_ip_has_its_own_budget() -> None:
    async with served(still(rules=Rules(weight_limit=5), clock=FakeClock())) as running:
        transport = httpx2.AsyncHTTPTransport(local_address="127.0.0.2")
        async with httpx2.AsyncClient(base_url=running.address.rest, transport=transport) as other:
            path = f"/api/v3/depth?symbol={SYMBOL}"
            found = [(await client.get(path)).status_code for client in (running.http, running.http, other)]
    assert found == [200, 429, 200]


@pytest.mark.parametrize("weight", [0, 7_000])
def test_no_verdict_without_the_weight_used(weight: int) -> None:
    limiter = Limiter(Rules())
    limiter.request("a", 10, NOW_MS)
    assert limiter.request("a", weight, NOW_MS).used_weight == 10
