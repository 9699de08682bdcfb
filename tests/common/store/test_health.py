"""Health, in the words everybody sees."""

from dataclasses import replace

import pytest

from common.store.health import STALE_AFTER_MS, health_of, mode_of
from common.store.reads import Owner, State, View

NOW_MS, TTL_MS = 1_700_000_000_000, 6_000
STATE = State(7, "a" * 32, NOW_MS, NOW_MS - 420, b"", b"", b"[[0]]", {}, "")
HELD = Owner("a" * 32, "host:1", 1, NOW_MS - 100)
VIEW = View(STATE, HELD, {"mode": "LIVE", "source": "inbox"}, NOW_MS, [], [], [], None)


@pytest.mark.parametrize(
    ("mode", "view"),
    [
        ("LIVE", VIEW),
        ("BACKFILLING", replace(VIEW, health={"mode": "BACKFILLING"})),
        ("DEGRADED", replace(VIEW, health={"mode": "DEGRADED"})),
        ("STALE", replace(VIEW, state=None)),
        ("STALE", replace(VIEW, state=replace(STATE, updated_ms=NOW_MS - STALE_AFTER_MS - 1))),
        ("LIVE", replace(VIEW, state=replace(STATE, updated_ms=NOW_MS - STALE_AFTER_MS))),
        ("LIVE", replace(VIEW, owner=replace(HELD, beat_ms=NOW_MS - TTL_MS))),
        ("UNASSIGNED", replace(VIEW, owner=replace(HELD, beat_ms=NOW_MS - TTL_MS - 1))),
        ("UNASSIGNED", replace(VIEW, owner=replace(HELD, token=""))),
        ("UNASSIGNED", replace(VIEW, owner=Owner("", "", 0, 0), state=None, health={})),
        ("CLOSED", replace(VIEW, owner=replace(HELD, token=""), health={"mode": "CLOSED"})),
    ],
)
def test_the_mode_says_who_works_and_what_comes(mode: str, view: View) -> None:
    assert mode_of(view, TTL_MS) == mode


def test_health_is_one_object_with_all_its_fields() -> None:
    assert health_of(VIEW, "ws", TTL_MS, gaps=2) == {
        "mode": "LIVE",
        "source": "inbox",
        "lastUpdateMsAgo": 420,
        "providerThrottled": False,
        "gapsDetected": 2,
    }


def test_before_the_first_trade_there_is_no_age() -> None:
    never = replace(VIEW, state=replace(STATE, updated_ms=0), health={"throttled": "true"})
    found = health_of(never, "ws", TTL_MS, gaps=0)
    assert (found["lastUpdateMsAgo"], found["source"], found["providerThrottled"]) == (None, "ws", True)
