"""Ratios of figures, as `fleet bench --against` prints them."""

import pytest

from infra.bench.base import Figure
from infra.bench.comparison import compare, numbers


@pytest.mark.parametrize(
    ("measured", "found"),
    [
        ("677,608 trades/s", [677_608]),
        ("p50 5.7 x (3.61 ms), p99 9.6 x (6.13 ms)", [5.7, 3.61, 9.6, 6.13]),
        ("239.6 ms; 17.5 s (5 x 200)", [239.6, 17.5, 5, 200]),
        ("1.60% at most", [1.6]),
        ("none", []),
    ],
)
def test_numbers_are_read_as_figures_write_them(measured: str, found: list[float]) -> None:
    assert numbers(measured) == found


def figure(measured: str, target: str = "<= 1 s", what: str = "it") -> Figure:
    return Figure(what, target, measured)


@pytest.mark.parametrize(
    ("target", "now", "then", "ratios"),
    [
        ("<= 1 s", "0.5 s", "1.0 s", (2.0,)),
        (">= 1 trades/s", "3,000 trades/s", "1,500 trades/s", (2.0,)),
        ("", "3,000 trades/s", "1,500 trades/s", (2.0,)),
        ("", "4 ms, 1 ms", "2 ms, 2 ms", (0.5, 2.0)),
        ("<= 1 s", "none", "1 s", ()),
    ],
)
def test_above_one_it_is_better_now(target: str, now: str, then: str, ratios: tuple[float, ...]) -> None:
    (found,) = compare([[figure(now, target)]], [[figure(then, target)]])
    assert (found.now.measured, found.then and found.then.measured, found.ratios) == (now, then, ratios)


def test_medians_of_the_rounds_count_and_the_middle_one_is_shown() -> None:
    now = [[figure(f"{seconds} s, {10 * seconds} s")] for seconds in (9, 2, 3)]
    then = [[figure(f"{seconds} s, 60 s")] for seconds in (6, 1, 100)]
    (found,) = compare(now, then)
    assert (found.now.measured, found.ratios) == ("3 s, 30 s", (2.0, 2.0))


def test_what_is_measured_is_known_again_though_its_text_has_other_numbers() -> None:
    (found,) = compare([[figure("1 s", what="raw p50 0.49 ms")]], [[figure("2 s", what="raw p50 0.63 ms")]])
    assert found.ratios == (2.0,)


def test_figures_that_differ_by_a_number_are_two() -> None:
    now = [[figure(f"{n} s", what="1 x 9 days"), figure(f"{3 * n} s", what="3 x 9 days")] for n in (1, 2, 3)]
    assert [each.now.measured for each in compare(now, now)] == ["2 s", "6 s"]


def test_what_the_earlier_release_did_not_measure_has_no_ratio() -> None:
    (found,) = compare([[figure("1 s")]], [[]])
    assert (found.then, found.ratios) == (None, ())
