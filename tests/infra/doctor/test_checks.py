"""The doctor's judgement, on what servers have been seen to say."""

from dataclasses import replace

import pytest

from common.market.timeframes.timeframe import DAY_MS
from common.store.cut import Wrong
from common.store.jobs import FailedJob, JobsView
from common.store.presence import Process
from common.store.upkeep import Upkeep
from infra.doctor import checks
from infra.doctor.checks import Finding, Lease, Level
from workers.rollup.work import Work

FAILURE = FailedJob("roll_A_0", "OSError: disk full", 1, 1, 2)
AOF = {"aof_enabled": 1, "aof_last_write_status": "ok"}


@pytest.mark.parametrize(
    ("info", "level", "found"),
    [
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, Level.OK, "Valkey 9.1.2"),
        ({"redis_version": "6.2.0"}, Level.OK, "Redis 6.2.0"),
        ({"redis_version": "10.0.1"}, Level.OK, "Redis 10.0.1"),
        ({"redis_version": "6.0.16"}, Level.FAIL, "Redis 6.0.16"),
        ({}, Level.FAIL, "Redis 0"),
    ],
)
def test_a_server_below_6_2_fails(info: dict[str, object], level: Level, found: str) -> None:
    finding = checks.version(info)
    assert (finding.level, finding.found) == (level, found)


@pytest.mark.parametrize(
    ("info", "appendfsync", "level"),
    [
        (AOF, "always", Level.OK),
        (AOF, "everysec", Level.WARN),
        (AOF, None, Level.WARN),
        (AOF, "no", Level.FAIL),
        ({"aof_enabled": 0}, "always", Level.FAIL),
        (AOF | {"aof_last_write_status": "err"}, "always", Level.FAIL),
    ],
)
def test_persistence_is_judged_by_what_a_kill_would_lose(
    info: dict[str, object], appendfsync: str | None, level: Level
) -> None:
    assert checks.persistence(info, appendfsync).level is level


@pytest.mark.parametrize(
    ("policy", "level"),
    [("noeviction", Level.OK), ("allkeys-lru", Level.FAIL), ("volatile-ttl", Level.FAIL), (None, Level.WARN)],
)
def test_a_store_must_not_evict(policy: str | None, level: Level) -> None:
    assert checks.eviction({"maxmemory_policy": policy} if policy else {}).level is level


def test_a_store_that_has_evicted_is_told_though_it_evicts_no_more() -> None:
    finding = checks.eviction({"maxmemory_policy": "noeviction", "evicted_keys": 3})
    assert (finding.level, finding.found) == (Level.FAIL, "noeviction, 3 keys evicted since the server started")


def test_a_replica_is_no_store() -> None:
    assert checks.role({"role": "master"}).level is Level.OK
    finding = checks.role({"role": "slave", "master_host": "db.example"})
    assert (finding.level, finding.found) == (Level.FAIL, "slave of db.example")


@pytest.mark.parametrize(
    ("used", "limit", "total", "level"),
    [
        (10, 0, 0, Level.OK),
        (74, 100, 0, Level.OK),
        (75, 100, 1_000, Level.WARN),
        (94, 0, 100, Level.WARN),
        (95, 100, 1_000, Level.FAIL),
    ],
)
def test_memory_is_measured_against_its_limit_or_the_machine(used: int, limit: int, total: int, level: Level) -> None:
    info = {"used_memory": used, "maxmemory": limit, "total_system_memory": total}
    assert checks.memory(info).level is level


@pytest.mark.parametrize(
    ("skew_ms", "level"), [(0, Level.OK), (-250, Level.OK), (251, Level.WARN), (-6_000, Level.FAIL)]
)
def test_a_clock_that_is_off_is_told(skew_ms: float, level: Level) -> None:
    assert checks.clock(skew_ms).level is level


WORKERS = [Process(f"h:{number}", "worker", 50, 50) for number in range(3)]


@pytest.mark.parametrize(
    ("found", "wanted", "level", "told"),
    [
        (WORKERS, 150, Level.OK, "3 workers with room for 150 symbols, 150 are wanted"),
        ([], 0, Level.OK, "0 workers with room for 0 symbols, 0 are wanted"),
        ([*WORKERS, Process("h:9", "web"), Process("i:9", "web")], 9, Level.OK, "9 are wanted; 2 web"),
        (WORKERS, 151, Level.WARN, "3 workers with room for 150 symbols, 151 are wanted"),
        ([], 9, Level.WARN, "0 workers with room for 0 symbols, 9 are wanted"),
    ],
)
def test_workers_must_have_room_for_what_is_wanted(found: list[Process], wanted: int, level: Level, told: str) -> None:
    finding = checks.processes(found, wanted, per_worker=50)
    assert finding.level is level and told in finding.found


def test_missing_workers_are_counted_by_what_one_takes() -> None:
    assert "Start 2 more" in checks.processes(WORKERS, 250, per_worker=50).advice


def test_processes_of_several_releases_are_told() -> None:
    old = Process("h:8", "web", release="0.0.9", format=3)
    new = Process("h:9", "web", release="0.1.0", format=4)
    finding = checks.processes([old, new, new._replace(name="h:7")], 0, per_worker=1)
    assert finding.found.endswith("; of releases 0.0.9 (format 3): 1, 0.1.0 (format 4): 2")


def lease(symbol: str, *, held: bool, beating: bool) -> Lease:
    return Lease(symbol, "host:1", "1", "7", held, beating)


def test_leases_are_fine_when_every_holder_beats() -> None:
    finding = checks.leases([lease("A", held=True, beating=True)])
    assert (finding.level, finding.advice) == (Level.OK, "")


def test_leases_name_the_symbols_nobody_works_on() -> None:
    found = [
        lease("A", held=True, beating=True),
        lease("B", held=True, beating=False),
        lease("C", held=False, beating=False),
    ]
    assert [one.state for one in found] == ["alive", "standing still", "UNASSIGNED"]
    finding = checks.leases(found)
    assert finding.level is Level.WARN
    assert finding.found == "1 of 3 symbols have a live worker"
    assert "for B, C." in finding.advice


def test_what_needs_no_worker_is_not_asked_for_one() -> None:
    done = Lease("R", "host:1", "1", "7", held=False, beating=False, wanted=False)
    finding = checks.leases([done])
    assert (done.state, finding.level) == ("none needed", Level.OK)
    assert checks.leases([done, lease("A", held=True, beating=True)]).found == (
        "1 of 1 symbols have a live worker; 1 need none"
    )


def test_leftovers_come_with_the_command_that_removes_them() -> None:
    finding = checks.leftovers(["A:B"])
    assert (finding.level, finding.advice.endswith("fleet symbols remove A:B --purge.")) == (Level.WARN, True)


@pytest.mark.parametrize(
    ("workers", "clock", "advised"),
    [(1, "here:1", ""), (0, "here:1", "workers.rollup"), (2, "", "workers.clock"), (0, "", "workers.clock and python")],
)
def test_a_queue_needs_a_clock_and_somebody_who_works(workers: int, clock: str, advised: str) -> None:
    finding = checks.queue(JobsView(3, ("job",), workers, ()), clock)
    assert finding.level is (Level.WARN if advised else Level.OK)
    assert advised in finding.advice


def test_failed_jobs_are_told_with_the_reason_of_the_last() -> None:
    assert checks.failed_jobs([]).level is Level.OK
    finding = checks.failed_jobs([FAILURE])
    assert (finding.level, finding.found) == (Level.WARN, "1, the last is roll_A_0: OSError: disk full")


def test_trades_in_no_session_are_told_with_the_command_that_corrects_the_calendar() -> None:
    assert checks.sessions({}, {}).level is Level.OK
    finding = checks.sessions({"A": (7, DAY_MS), "B": (1_200, 3 * DAY_MS)}, {"A": "XNYS", "B": "XNSE"})
    told = "trades in no session: B 1,200, the last on 1970-01-04; A 7, the last on 1970-01-02"
    assert (finding.level, finding.found) == (Level.WARN, told)
    assert "fleet calendars add XNSE 1970-01-04 --open HH:MM --close HH:MM." in finding.advice


def test_of_what_is_due_the_oldest_is_named() -> None:
    works = [Work("roll", "A", 2 * DAY_MS), Work("roll", "B", DAY_MS), Work("roll", "B", 2 * DAY_MS)]
    assert checks.due(works).found == "3 jobs of 2 symbols, the oldest of B, 1970-01-02"
    # The first trades of a symbol have no day before they are there.
    assert checks.due([Work("archive", "C", 0, ("trades",))]).found == "1 jobs of 1 symbols"


def test_a_symbol_is_behind_when_a_day_is_over_since_more_than_one() -> None:
    now_ms = 10 * DAY_MS + 1
    fine = Upkeep(now_ms, 0, 9 * DAY_MS, {}, (9 * DAY_MS,), (2 * DAY_MS,))
    slow = Upkeep(now_ms, 0, 9 * DAY_MS, {}, (8 * DAY_MS, 9 * DAY_MS), ())
    assert checks.behind({"A": fine}, archiving=False).level is Level.OK
    finding = checks.behind({"A": fine, "B": slow}, archiving=True)
    assert finding.level is Level.WARN
    assert finding.found.startswith("2 of 2 symbols have days to do that are over since a day: ")
    assert finding.found.endswith(": A 1, the oldest 1970-01-03; B 1, the oldest 1970-01-09")
    many = checks.behind({str(number): slow for number in range(7)}, archiving=False)
    assert many.found.endswith("4 1, the oldest 1970-01-09; and 2 more")


def test_a_finished_import_whose_days_the_queue_is_at_is_no_fault() -> None:
    imported = Upkeep(10 * DAY_MS, 0, 0, {}, (2 * DAY_MS, 3 * DAY_MS), ())
    finding = checks.behind({"A": imported}, archiving=False, in_hand=["A"])
    assert (finding.level, finding.found) == (Level.OK, "the queue is at 2 days of 1 imported symbols")
    both = checks.behind({"A": imported, "B": imported}, archiving=False, in_hand=["A"])
    assert both.level is Level.WARN and both.found.startswith("1 of 2 symbols have days to do")


def test_trades_that_wait_for_too_long_and_those_that_are_lost_are_told() -> None:
    fine = Upkeep(0, 0, 0, {}, (), (), trades_waiting=100)
    many, lost = replace(fine, trades_waiting=1_001), replace(fine, trades_lost=((0, 1), (DAY_MS, DAY_MS + 1)))
    assert checks.trades({"A": many, "B": lost}, None).level is Level.OK
    assert checks.trades({"A": fine, "B": fine}, 100) == Finding(Level.OK, "trades", "200 wait for the archive")
    finding = checks.trades({"A": fine, "B": many, "C": lost}, 100)
    assert finding.found == "of 1 symbols more trades wait for the archive than are kept, of B 1,001"
    finding = checks.trades({"A": fine, "C": lost}, 100)
    assert finding.found == "of 1 symbols some are not in the archive, the last of C, 1970-01-02"


def test_whatever_is_not_ok_says_what_to_do() -> None:
    findings = [
        checks.version({}),
        checks.persistence({}, None),
        checks.persistence(AOF, "everysec"),
        checks.persistence(AOF, "no"),
        checks.persistence(AOF, None),
        checks.eviction({}),
        checks.eviction({"maxmemory_policy": "allkeys-lru"}),
        checks.memory({"used_memory": 99, "maxmemory": 100}),
        checks.clock(1_000),
        checks.leases([]),
        checks.queue(JobsView(0, (), 0, ()), ""),
        checks.failed_jobs([FAILURE]),
        checks.behind({"A": Upkeep(3 * DAY_MS, 0, -1, {}, (0,), ())}, archiving=False),
        checks.trades({"A": Upkeep(0, 0, 0, {}, (), (), trades_waiting=2)}, 1),
        checks.trades({"A": Upkeep(0, 0, 0, {}, (), (), trades_lost=((0, 1),))}, 1),
    ]
    assert all(finding.advice for finding in findings)


def test_symbols_to_which_a_wrong_time_was_done_are_told_with_the_way_out() -> None:
    assert checks.times({}).level is Level.OK
    finding = checks.times({"A:B": Wrong(0, None), "C:D": Wrong(None, 4_000_000_000_000)})
    assert finding.level is Level.WARN
    assert "A:B is said to be complete since 1970-01-01" in finding.found
    assert "C:D was dropped up to 2096-10-02 by a clock that was ahead" in finding.found
    assert "fleet symbols change A:B --from DAY" in finding.advice
