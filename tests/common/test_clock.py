"""The two clocks keep the same promises."""

import pytest

from common.clock import Clock, SystemClock
from tests.support import FakeClock


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()])
def test_monotonic_time_never_goes_back(clock: Clock) -> None:
    readings = [clock.monotonic_ms() for _ in range(100)]
    assert readings == sorted(readings)


def test_wall_time_is_in_ms_since_1970() -> None:
    year_2024_ms, year_2100_ms = 1_704_067_200_000, 4_102_444_800_000
    assert year_2024_ms < SystemClock().now_ms() < year_2100_ms


def test_a_jump_moves_the_wall_clock_only(clock: FakeClock) -> None:
    before_ms = clock.now_ms()
    clock.advance(10)
    clock.jump(-3_600_000)
    assert (clock.now_ms() - before_ms, clock.monotonic_ms()) == (10 - 3_600_000, 10)
