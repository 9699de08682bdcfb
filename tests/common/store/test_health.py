"""Health, in the words everybody sees."""

from dataclasses import replace

import pytest

from common.market.instrument import Instrument
from common.store.archived import ArchivedAll
from common.store.health import FAILED_FOR_MS, STALE_AFTER_MS, HealthRules, Tally, health_of, mode_of, standing_of
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
        "source": "inbox",
        "lastUpdateMsAgo": 420,
        "providerThrottled": False,
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
QUIET = replace(STATE, updated_ms=OPEN_MS - 3 * 86_400_000)


@pytest.mark.parametrize(
    ("now_ms", "source", "standing", "is_sound"),
    [
        (OPEN_MS, "venue", ("STALE", None), False),
        (OPEN_MS, "inbox", ("STALE", "quiet"), True),
        (CLOSED_MS, "venue", ("CLOSED", "session"), True),
        (CLOSED_MS, "inbox", ("CLOSED", "session"), True),
        (JUST_OPEN_MS, "venue", ("CLOSED", "session"), True),
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
