"""How texts of parameters are read."""

import pytest

from common.errors import BadInput
from feed.wire.parameter_types import time_of

NOON_MS = 1_736_683_200_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        (str(NOON_MS), NOON_MS),
        ("2025-01-12T12:00:00Z", NOON_MS),
        ("2025-01-12T12:00+00:00", NOON_MS),
        ("2025-01-12", NOON_MS - 43_200_000),
        ("1970-01-01", 0),
    ],
)
def test_a_time_is_ms_or_a_utc_time_or_a_day_which_is_its_midnight(text: str, ms: int) -> None:
    assert time_of("start", text) == ms


@pytest.mark.parametrize("text", ["2025-01-32", "2025-1-12", "12.01.2025", "yesterday", "", "2025-01-12T12:00:00"])
def test_any_other_is_refused_with_an_example_of_each(text: str) -> None:
    with pytest.raises(BadInput, match="a UTC time such as 2025-01-12T14:00:00Z, or a day such as 2025-01-12"):
        time_of("start", text)
