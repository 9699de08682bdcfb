"""Health, in the words everybody sees."""

from dataclasses import replace
from itertools import groupby

import pytest

from common.market.instrument import Instrument
from common.store.archived import ArchivedAll
from common.store.health import (
    FAILED_FOR_MS,
    MARKET_CLOSED,
    STALE_AFTER_MS,
    HealthRules,
    Tally,
    health_of,
    mode_of,
    standing_of,
)
from common.store.reads import SymbolOwner, View
from common.store.registry import Market
from common.store.state import SymbolState

NOW_MS, TTL_MS = 1_700_000_000_000, 6_000
RULES = HealthRules(TTL_MS)
STATE = SymbolState(7, "a" * 32, NOW_MS, NOW_MS - 420, b"[[0]]", {}, "")
HELD = SymbolOwner("a" * 32, "host:1", 1, NOW_MS - 100)
MARKET = Market(Instrument("V:A", 2, 3, "contiguous"), {"kind": "venue"})
VIEW = View(STATE, HELD, {"mode": "LIVE", "source": "inbox"}, ArchivedAll({}, None), NOW_MS)


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
        ("UNASSIGNED", replace(VIEW, owner=SymbolOwner("", "", 0, 0), state=None, health={})),
        ("FAILED", replace(VIEW, health={"mode": "FAILED"})),
        ("FAILED", replace(VIEW, health={"mode": "FAILED"}, owner=replace(HELD, token="", beat_ms=NOW_MS - 30_000))),
        (
            "UNASSIGNED",
            replace(VIEW, health={"mode": "FAILED"}, owner=SymbolOwner("", "", 1, NOW_MS - FAILED_FOR_MS - 1)),
        ),
        ("CLOSED", replace(VIEW, owner=replace(HELD, token=""), health={"mode": "CLOSED"})),
    ],
)
def test_the_mode_says_who_works_and_what_comes(mode: str, view: View) -> None:
    assert mode_of(view, MARKET, TTL_MS) == mode


def test_a_symbol_on_demand_that_nobody_asks_for_is_idle() -> None:
    on_demand = replace(MARKET, source={"kind": "venue", "demand": "on_demand"})
    assert mode_of(replace(VIEW, owner=replace(HELD, token="")), on_demand, TTL_MS) == "IDLE"
    assert mode_of(VIEW, on_demand, TTL_MS) == "LIVE"
    # Its holder has died.
    assert mode_of(replace(VIEW, owner=replace(HELD, beat_ms=0)), on_demand, TTL_MS) == "UNASSIGNED"


def test_a_replay_that_was_stopped_is_no_fault_and_one_that_was_killed_is() -> None:
    replayed = replace(MARKET, source={"kind": "replay"})
    stopped = replace(VIEW, health={"mode": "BACKFILLING"}, owner=replace(HELD, token=""))
    assert mode_of(stopped, replayed, TTL_MS) == "CLOSED"
    assert mode_of(replace(stopped, owner=replace(HELD, beat_ms=0)), replayed, TTL_MS) == "UNASSIGNED"


def test_health_is_one_object_with_all_its_fields() -> None:
    assert health_of(VIEW, MARKET, RULES, gaps=2) == {
        "mode": "LIVE",
        "reason": None,
        "message": "Live",
        "since": None,
        "source": "inbox",
        "lastUpdateMsAgo": 420,
        "marketClosed": False,
        "providerThrottled": False,
        "throttledUntil": None,
        "backfillPercent": None,
        "gapsDetected": 2,
    }


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        ({"mode": "DEGRADED", "reason": "throttled"}, "throttled"),
        ({"mode": "FAILED", "reason": "store"}, "store"),
        ({"mode": "DEGRADED"}, None),
        ({"mode": "DEGRADED", "reason": ""}, None),
        # Left there by a holder before, of a release that knew it.
        ({"mode": "LIVE", "reason": "throttled"}, None),
    ],
)
def test_the_reason_belongs_to_a_mode_that_says_that_something_is_wrong(
    health: dict[str, str], reason: str | None
) -> None:
    assert health_of(replace(VIEW, health=health), MARKET, RULES, gaps=0)["reason"] == reason


@pytest.mark.parametrize(
    ("view", "standing"),
    [
        (VIEW, ("DEGRADED", "store")),
        (replace(VIEW, health={"mode": "DEGRADED", "reason": "throttled"}), ("DEGRADED", "store")),
        (replace(VIEW, owner=replace(HELD, token="")), ("DEGRADED", "store")),
        (replace(VIEW, health={"mode": "CLOSED"}), ("CLOSED", None)),
    ],
)
def test_a_trouble_of_the_store_is_one_of_every_symbol_that_is_not_at_rest(
    view: View, standing: tuple[str, str | None]
) -> None:
    found = health_of(view, MARKET, HealthRules(TTL_MS, lambda: True), gaps=0)
    assert (found["mode"], found["reason"]) == standing
    # What others go by, such as whether a book is live, stays the symbol's own.
    assert mode_of(VIEW, MARKET, TTL_MS) == "LIVE"


# Of New York: Monday 2024-01-08 15:00 UTC, the day before, and half a minute after that Monday's open.
OPEN_MS = 1_704_726_000_000
CLOSED_MS, JUST_OPEN_MS = OPEN_MS - 86_400_000, OPEN_MS - 1_800_000 + 30_000
HOUR_MS = 3_600_000
QUIET = replace(STATE, updated_ms=OPEN_MS - 3 * 86_400_000)


@pytest.mark.parametrize(
    ("now_ms", "source", "standing", "is_sound"),
    [
        (OPEN_MS, "venue", ("STALE", None), False),
        (OPEN_MS, "inbox", ("STALE", "quiet"), True),
        (CLOSED_MS, "venue", ("LIVE", None), True),
        (CLOSED_MS, "inbox", ("LIVE", None), True),
        (JUST_OPEN_MS, "venue", ("LIVE", None), True),
    ],
)
def test_quiet_is_no_fault_of_a_closed_market_or_of_an_inbox(
    now_ms: int, source: str, standing: tuple[str, str | None], is_sound: bool
) -> None:
    market = Market(replace(MARKET.instrument, calendar="XNYS"), {"kind": source})
    view = replace(VIEW, state=QUIET, owner=replace(HELD, beat_ms=now_ms), server_ms=now_ms)
    found = standing_of(view, market, RULES)
    assert (found, found.is_sound) == (standing, is_sound)
    # A trouble of the store is one at night, too.
    assert standing_of(view, market, HealthRules(TTL_MS, lambda: True)) == ("DEGRADED", "store")
    # With trades it is live whatever its calendar says.
    assert standing_of(replace(view, state=replace(STATE, updated_ms=now_ms)), market, RULES) == ("LIVE", None)


def test_a_day_and_a_night_of_a_stock_exchange_without_a_trade_are_stale_in_its_session_alone() -> None:
    market = Market(replace(MARKET.instrument, calendar="XNYS"), {"kind": "venue"})
    found: list[tuple[str, bool, str]] = []
    for now_ms in range(OPEN_MS - 15 * HOUR_MS, OPEN_MS + 9 * HOUR_MS, HOUR_MS // 2):
        view = replace(VIEW, state=QUIET, owner=replace(HELD, beat_ms=now_ms), server_ms=now_ms)
        told = health_of(view, market, RULES, gaps=0)
        found.append((told["mode"], told["marketClosed"], told["message"]))
    night, day = ("LIVE", True, MARKET_CLOSED), ("STALE", False, "No trade for a minute or more")
    # The half hour that the market opens in is excused for its first minute.
    runs = [(run, len(list(times))) for run, times in groupby(found)]
    assert runs == [(night, 29), (("LIVE", False, "Live"), 1), (day, 12), (night, 6)]


def test_a_fault_is_one_at_night_too_and_the_end_of_a_source_is_the_end() -> None:
    market = Market(replace(MARKET.instrument, calendar="XNYS"), {"kind": "venue"})
    for mode in ("DEGRADED", "CLOSED", "FAILED"):
        view = replace(VIEW, health={"mode": mode}, owner=replace(HELD, beat_ms=CLOSED_MS), server_ms=CLOSED_MS)
        told = health_of(view, market, RULES, gaps=0)
        assert (told["mode"], told["marketClosed"]) == (mode, True)


def test_who_is_throttled_says_so_word_for_word_and_until_when() -> None:
    told = {"mode": "DEGRADED", "reason": "throttled", "throttled": "true", "throttled_until_ms": str(NOW_MS + 9)}
    found = health_of(replace(VIEW, health=told | {"since_ms": str(NOW_MS - 5)}), MARKET, RULES, gaps=0)
    assert found["message"] == "Rate-limited — showing last known data"
    assert (found["throttledUntil"], found["since"], found["providerThrottled"]) == (NOW_MS + 9, NOW_MS - 5, True)
    over = health_of(replace(VIEW, health=told | {"mode": "LIVE", "throttled": "false"}), MARKET, RULES, gaps=0)
    assert (over["message"], over["throttledUntil"]) == ("Live", None)


def test_a_backfill_says_how_far_it_is() -> None:
    busy = replace(VIEW, health={"mode": "BACKFILLING", "backfill_percent": "42"})
    found = health_of(busy, MARKET, RULES, gaps=0)
    assert (found["backfillPercent"], found["message"]) == (42, "Fetching what is missing (42 %)")
    assert health_of(replace(busy, health={"mode": "BACKFILLING"}), MARKET, RULES, gaps=0)["backfillPercent"] is None


@pytest.mark.parametrize(
    ("view", "since_ms"),
    [
        (replace(VIEW, state=replace(STATE, updated_ms=NOW_MS - 90_000)), NOW_MS - 30_000),
        (replace(VIEW, owner=replace(HELD, token="")), HELD.beat_ms),
        (replace(VIEW, health={"mode": "LIVE", "since_ms": "7"}), 7),
    ],
)
def test_since_when_it_stands_so(view: View, since_ms: int) -> None:
    assert health_of(view, MARKET, RULES, gaps=0)["since"] == since_ms


def test_the_source_is_a_cache_where_nobody_adds_to_what_is_answered() -> None:
    assert health_of(VIEW, MARKET, RULES, gaps=0)["source"] == "inbox"
    assert health_of(VIEW, MARKET, RULES, gaps=0, from_archive=True)["source"] == "cache"
    for owner in (replace(HELD, token=""), replace(HELD, beat_ms=NOW_MS - TTL_MS - 1)):
        assert health_of(replace(VIEW, owner=owner), MARKET, RULES, gaps=0)["source"] == "cache"


def test_days_of_another_zone_follow_each_other_without_a_closed_moment() -> None:
    midnight_ms = 1_704_754_800_000  # of Berlin, 2024-01-09
    market = Market(replace(MARKET.instrument, zone="Europe/Berlin"), {"kind": "venue"})
    view = replace(VIEW, state=QUIET, owner=replace(HELD, beat_ms=midnight_ms), server_ms=midnight_ms + 1)
    assert standing_of(view, market, RULES) == ("STALE", None)


def test_before_the_first_trade_there_is_no_age() -> None:
    never = replace(VIEW, state=replace(STATE, updated_ms=0), health={"throttled": "true"})
    found = health_of(never, MARKET, RULES, gaps=0)
    assert (found["lastUpdateMsAgo"], found["source"], found["providerThrottled"]) == (None, "venue", True)


@pytest.mark.parametrize("tally", [Tally(), Tally(3, 0), Tally(faults=1, fault_ms=NOW_MS), Tally(3, NOW_MS, 1, 60_000)])
def test_a_tally_is_the_same_after_the_store(tally: Tally) -> None:
    assert Tally.load({"mode": "LIVE", **tally.dump()}) == tally


def test_of_a_symbol_with_nothing_wrong_nothing_is_stored_and_all_is_shown() -> None:
    assert Tally().dump() == {}
    assert Tally().json() == {"mismatches": 0, "mismatchT": None, "faults": 0, "faultT": None}
