"""Which tests have the marker `s3`, and in which order they run: the longest first, a share of them in each process.

pytest-xdist (`--dist worksteal`) cuts the list into as many parts as there are processes, and a process that has come
to the end of its part takes from the end of the longest other one. So the longest lead each part: none begins last.
"""

import os
from collections.abc import Generator

import pytest

# By how long they take, the longest first: all that take more than some seconds on a machine with nothing else to do.
LONGEST = """
tests/chaos/test_kill.py::test_kills_and_pauses_leave_no_trace
tests/chaos/test_hostile.py::test_under_fire_nothing_is_lost_nothing_is_twice_and_all_recorders_have_what_history_shows
tests/chaos/test_rollup.py::test_two_months_under_fire_are_as_if_nothing_had_happened
tests/infra/cli/test_calendars.py::test_sessions_that_are_added_are_in_every_bar_and_go_again
tests/simulation/test_simulation.py::test_every_disturbed_run_ends_like_an_undisturbed_one
tests/workers/imports/test_beside.py::test_history_is_imported_beside_live_trades_killed_and_run_again
tests/workers/sources/venue/test_faults.py::test_after_two_hundred_faults_all_is_as_at_the_exchange
tests/workers/change/test_tick_change.py::test_a_finer_tick_costs_no_trade_and_is_the_reason_until_the_symbol_is_changed
tests/infra/cli/test_change.py::test_a_change_that_is_killed_at_random_moments_ends_when_it_is_run_again
tests/workers/imports/test_importer.py::test_killed_at_any_moment_and_run_again_it_loses_nothing_and_counts_nothing_twice
tests/workers/venues/test_fuzz.py::test_mutated_frames_of_kraken
tests/infra/local/test_launcher.py::test_a_local_exchange_is_run_and_the_next_run_goes_on_with_it
tests/chaos/test_rollup.py::test_a_guard_that_is_missing_is_found_out
tests/chaos/test_hostile.py::test_without_the_fence_it_leaves_traces
tests/chaos/test_kill.py::test_without_the_checks_in_the_commit_a_kill_leaves_traces
tests/workers/rollup/test_sessions.py::test_whatever_is_said_of_a_calendar_roll_ups_and_answers_are_by_what_is_known_now
tests/infra/cli/test_change.py::test_coverage_since_1970_is_told_by_doctor_and_cut_by_the_command_it_names
tests/infra/cli/test_change.py::test_live_trades_hardly_wait_while_their_symbol_is_changed
tests/infra/test_newer_store.py::test_doctor_tells_both_formats_and_the_upgrade_raises_that_of_the_store
tests/workers/rollup/test_late.py::test_whatever_comes_late_and_whichever_job_dies_every_answer_is_the_truth
tests/workers/rollup/test_archiving.py::test_while_the_archive_fails_nothing_is_dropped_and_it_goes_on_by_itself
tests/workers/sources/venue/test_checks.py::test_a_healthy_run_has_no_mismatch
tests/workers/imports/test_importer.py::test_however_trades_are_cut_into_files_and_batches_the_bytes_are_the_same
tests/workers/rollup/test_trades.py::test_killed_at_any_moment_it_archives_every_trade_once
tests/infra/local/test_launcher.py::test_up_runs_everything_and_ctrl_c_stops_it_in_order_with_nothing_lost
tests/workers/imports/test_trades.py::test_killed_at_any_moment_and_run_again_every_trade_is_archived_once
tests/infra/cli/test_history.py::test_days_are_rebuilt_by_the_queue_and_archived_anew
tests/workers/rollup/test_process.py::test_finished_days_are_rolled_up_archived_and_again_when_they_are_corrected
""".split()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    mark_s3(items)
    # pytest leaves out what -m and -k do not want.
    yield
    items[:] = longest_first(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def mark_s3(items: list[pytest.Item]) -> None:
    """Mark what asks for the S3 server, as a fixture or as one of the archives that a test runs with."""
    for item in items:
        if isinstance(item, pytest.Function):
            drawn = item.callspec.params.values() if hasattr(item, "callspec") else ()
            if "s3" in item.fixturenames or any(value == "s3" for value in drawn if isinstance(value, str)):
                item.add_marker(pytest.mark.s3)


def longest_first(items: list[pytest.Item], parts: int) -> list[pytest.Item]:
    """Return the items in such an order that each of so many equal parts begins with its share of the longest."""
    at = {name: place for place, name in enumerate(LONGEST)}
    longest = sorted((item for item in items if _name(item) in at), key=lambda item: at[_name(item)])
    others = [item for item in items if _name(item) not in at]
    found: list[pytest.Item] = []
    for part in range(parts):
        mine = longest[part::parts]
        # Where the scheduler cuts: what remains is shared equally among those that are left.
        size = (len(items) - len(found)) // (parts - part)
        count = max(0, size - len(mine))
        found += mine + others[:count]
        del others[:count]
    return found + others


def _name(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]
