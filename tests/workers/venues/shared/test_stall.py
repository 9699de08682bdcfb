from workers.venues.shared.stall import LONGEST_TIMES, MEAN_TIMES, WINDOW_MS, StallDetector, StallLimits

PATIENCE = StallLimits(min_ms=10_000, max_ms=300_000, unknown_ms=60_000)


def steady(gap_ms: int, span_ms: int = 120_000) -> StallDetector:
    """A stream that had an event every `gap_ms` for `span_ms`, the last one at `span_ms`."""
    pace = StallDetector.starting(0)
    for now_ms in range(gap_ms, span_ms + 1, gap_ms):
        pace.seen(now_ms)
    return pace


def test_a_busy_market_may_be_silent_for_the_least_that_is_allowed() -> None:
    pace = steady(100)
    assert not pace.stalled(120_000 + PATIENCE.min_ms, PATIENCE)
    assert pace.stalled(120_001 + PATIENCE.min_ms, PATIENCE)


def test_a_slow_market_may_be_silent_for_many_times_its_pace() -> None:
    assert steady(2_000).limit_ms(PATIENCE) == MEAN_TIMES * 2_000


def test_no_market_may_be_silent_for_longer_than_the_most() -> None:
    assert steady(100_000, 3_000_000).limit_ms(PATIENCE) == PATIENCE.max_ms


def test_the_longest_pause_counts_where_trades_come_in_bursts() -> None:
    pace = StallDetector.starting(0)
    for burst in range(10):
        for at in range(200):
            pace.seen(burst * 20_000 + at)
    assert pace.limit_ms(PATIENCE) == LONGEST_TIMES * (20_000 - 199)


def test_a_pause_is_forgotten_after_two_windows() -> None:
    pace = steady(100)
    pace.seen(120_000 + 50_000)
    assert pace.limit_ms(PATIENCE) == LONGEST_TIMES * 50_000
    for now_ms in range(170_100, 170_000 + 2 * WINDOW_MS + 200, 100):
        pace.seen(now_ms)
    assert pace.limit_ms(PATIENCE) == PATIENCE.min_ms


def test_until_the_pace_is_known_the_bound_is_fixed() -> None:
    few = steady(20_000, 80_000)
    fast = steady(10, PATIENCE.unknown_ms - 10)
    assert few.limit_ms(PATIENCE) == fast.limit_ms(PATIENCE) == PATIENCE.unknown_ms
    assert steady(10, PATIENCE.unknown_ms).limit_ms(PATIENCE) == PATIENCE.min_ms


def test_each_new_socket_that_stays_silent_too_doubles_the_wait() -> None:
    pace, now_ms = steady(100), 120_000
    for doubled in range(4):
        assert pace.limit_ms(PATIENCE) == PATIENCE.min_ms << doubled
        now_ms += pace.limit_ms(PATIENCE) + 1
        assert pace.stalled(now_ms, PATIENCE)
        pace.suspect()
        pace.wait_from(now_ms)
        assert not pace.stalled(now_ms, PATIENCE)
    # The market did go quiet: what it was silent for is its pace now.
    pace.seen(now_ms)
    assert pace.limit_ms(PATIENCE) == PATIENCE.max_ms


def test_an_outage_teaches_nothing_about_the_market() -> None:
    pace = steady(100)
    pace.wait_from(1_000_000)
    pace.seen(1_000_100)
    assert pace.limit_ms(PATIENCE) == PATIENCE.min_ms
