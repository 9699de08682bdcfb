"""Whole columns as text."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.frames.text import decimals_json
from common.market.units import render

# Some as they mostly are, and whatever fits.
VALUES = st.lists(st.integers(0, 10**9)) | st.lists(st.integers(-(1 << 62), 1 << 62))


@given(values=VALUES, decimals=st.integers(0, 18))
def test_each_decimal_of_an_array_is_the_shortest_text_of_it(values: list[int], decimals: int) -> None:
    expected = ",".join(render(value, decimals) for value in values)
    assert decimals_json(np.array(values, np.int64), decimals).decode() == f"[{expected}]"
