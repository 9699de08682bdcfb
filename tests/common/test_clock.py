"""The clocks keep the same promises; and what is believed of a wall clock that is set."""

import logging

import pytest

from common.clock import HOLD_MS, MAX_READ_MS, Clock, JudgedClock, SystemClock
from tests.kit.clocks import FakeClock

SECOND_MS, HOUR_MS, DAY_MS = 1_000, 3_600_000, 86_400_000
STEPS_MS = [-3 * SECOND_MS, -2 * HOUR_MS, HOUR_MS, 24 * HOUR_MS, 500 * DAY_MS]


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock(), JudgedClock(SystemClock())])
def test_monotonic_time_never_goes_back(clock: Clock) -> None:
    for read in (clock.monotonic_ms, clock.boot_ms):
        readings = [read() for _ in range(100)]
        assert readings == sorted(readings)


def test_wall_time_is_in_ms_since_1970() -> None:
    year_2024_ms, year_2100_ms = 1_704_067_200_000, 4_102_444_800_000
    assert year_2024_ms < SystemClock().now_ms() < year_2100_ms


def test_a_jump_moves_the_wall_clock_only(clock: FakeClock) -> None:
    before_ms = clock.now_ms()
    clock.advance(10)
    clock.jump(-3_600_000)
    assert (clock.now_ms() - before_ms, clock.monotonic_ms()) == (10 - 3_600_000, 10)


def test_a_clock_that_is_suspended_misses_it_in_monotonic_time_alone(clock: FakeClock) -> None:
    before_ms = clock.now_ms()
    clock.suspend(HOUR_MS)
    assert (clock.now_ms() - before_ms, clock.monotonic_ms(), clock.boot_ms()) == (HOUR_MS, 0, HOUR_MS)


class Machine:
    """A clock under judgement, and the store's, which answers at once or after `rtt_ms`."""

    def __init__(self, *, apart_ms: int = 0) -> None:
        self.raw = FakeClock()
        self.truth = FakeClock()
        self.store = FakeClock()
        self.raw.jump(apart_ms)
        self.judged = JudgedClock(self.raw)
        self.talk()

    def talk(self, rtt_ms: int = 0) -> None:
        asked_ms = self.judged.boot_ms()
        store_ms = self.store.now_ms()
        self.pass_by(rtt_ms)
        self.judged.heard(store_ms, asked_ms)

    def pass_by(self, span_ms: int) -> None:
        for clock in (self.raw, self.truth, self.store):
            clock.advance(span_ms)

    def live(self, span_ms: int, look_ms: int = SECOND_MS) -> None:
        """Time passes, with a look and an answer of the store every so often."""
        for _ in range(span_ms // look_ms):
            self.pass_by(look_ms)
            self.talk()

    @property
    def off_ms(self) -> int:
        return self.judged.now_ms() - self.truth.now_ms()


def test_a_clock_that_runs_is_believed_also_after_long_pauses_and_a_suspended_machine() -> None:
    machine = Machine()
    for span_ms in (0, 1, SECOND_MS, 40 * DAY_MS):
        machine.pass_by(span_ms)
        assert not machine.judged.is_refused() and machine.off_ms == 0
    for clock in (machine.raw, machine.truth, machine.store):
        clock.suspend(8 * HOUR_MS)
    assert not machine.judged.is_refused() and machine.off_ms == 0


@pytest.mark.parametrize("step_ms", STEPS_MS)
def test_a_step_is_refused_at_once_and_time_goes_on_without_it(step_ms: int) -> None:
    machine = Machine()
    machine.raw.jump(step_ms)
    assert machine.judged.is_refused() and machine.off_ms == 0
    machine.live(4 * SECOND_MS)
    assert machine.judged.is_refused() and machine.off_ms == 0
    machine.raw.jump(-step_ms)
    assert not machine.judged.is_refused() and machine.off_ms == 0


@pytest.mark.parametrize("step_ms", STEPS_MS)
def test_a_step_of_both_clocks_is_accepted_once_both_have_held_it(
    step_ms: int, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine()
    machine.raw.jump(step_ms)
    machine.store.jump(step_ms)
    machine.live(HOLD_MS - SECOND_MS)
    assert machine.judged.is_refused() and machine.off_ms == 0
    assert machine.judged.undecided_ms() == machine.raw.now_ms()
    machine.live(2 * SECOND_MS)
    assert not machine.judged.is_refused() and machine.off_ms == step_ms
    assert machine.judged.undecided_ms() is None
    assert "wall clock accepted as it was set" in caplog.messages


@pytest.mark.parametrize("step_ms", STEPS_MS[1:])
def test_a_step_that_the_store_does_not_share_is_never_accepted(step_ms: int) -> None:
    machine = Machine()
    machine.raw.jump(step_ms)
    machine.live(3 * HOLD_MS, 10 * SECOND_MS)
    assert machine.judged.is_refused() and machine.off_ms == 0 and machine.judged.undecided_ms() is None


@pytest.mark.parametrize("step_ms", STEPS_MS[1:])
def test_a_step_of_the_stores_clock_alone_is_refused_as_long_as_it_lasts(
    step_ms: int, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine()
    machine.store.jump(step_ms)
    machine.live(3 * HOLD_MS, 10 * SECOND_MS)
    assert machine.judged.is_refused() and machine.off_ms == 0
    machine.store.jump(-step_ms)
    machine.live(SECOND_MS)
    assert not machine.judged.is_refused() and machine.off_ms == 0
    # Told when it begins and when it ends, and not at each look.
    assert len(caplog.messages) == 2


def test_another_step_while_one_is_held_begins_the_wait_again() -> None:
    machine = Machine()
    for clock in (machine.raw, machine.store):
        clock.jump(HOUR_MS)
    machine.live(HOLD_MS - SECOND_MS)
    for clock in (machine.raw, machine.store):
        clock.jump(HOUR_MS)
    machine.live(HOLD_MS - SECOND_MS)
    assert machine.judged.is_refused() and machine.off_ms == 0
    machine.live(2 * SECOND_MS)
    assert not machine.judged.is_refused() and machine.off_ms == 2 * HOUR_MS


def test_steps_too_small_to_be_seen_end_where_the_store_is_too_far_away() -> None:
    machine = Machine()
    for _ in range(6):
        machine.raw.jump(SECOND_MS)
        machine.live(SECOND_MS)
    assert machine.judged.is_refused()
    assert machine.off_ms <= 6 * SECOND_MS


@pytest.mark.parametrize("apart_ms", STEPS_MS[1:])
def test_of_two_clocks_that_differ_from_the_start_the_stores_counts(apart_ms: int) -> None:
    machine = Machine(apart_ms=apart_ms)
    assert machine.judged.is_refused() and machine.off_ms == 0
    machine.live(3 * HOLD_MS, 10 * SECOND_MS)
    assert machine.judged.is_refused() and machine.off_ms == 0
    machine.raw.jump(-apart_ms)
    assert not machine.judged.is_refused()


def test_a_slow_answer_of_the_store_is_no_difference() -> None:
    machine = Machine()
    machine.talk(rtt_ms=30 * SECOND_MS)
    assert not machine.judged.is_refused() and machine.off_ms == 0


def test_a_pause_between_the_two_reads_of_a_look_is_no_step() -> None:
    class Paused(FakeClock):
        pauses = 1

        def now_ms(self) -> int:
            found = super().now_ms()
            self.advance(Paused.pauses * 20 * MAX_READ_MS * 10)
            Paused.pauses = 0
            return found

    judged = JudgedClock(FakeClock())
    judged.raw = Paused()
    assert not judged.is_refused()


def test_what_is_done_about_a_clock_is_told_once_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    machine = Machine()
    machine.raw.jump(HOUR_MS)
    machine.live(10 * SECOND_MS)
    machine.raw.jump(-HOUR_MS)
    machine.live(10 * SECOND_MS)
    # With the store's clock beside it, each is told of both differences.
    assert caplog.messages == [
        "wall clock is not the store's, not believed",
        "wall clock was set, not believed",
        "wall clock is the store's again",
        "wall clock is back",
    ]
