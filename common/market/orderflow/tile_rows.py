"""How high the rows of stored cells are. They are floored, so coarser ones are sums of finer ones wherever these nest.

    tick     one tick
    coarse   `coarse_row` of the lowest price: a power of ten
    coarser  ten times that
    few      the least of 1, 5, 10, 50, 100, ... ticks with which no column has more than MAX_FEW rows

Each of these heights divides every 1, 2 or 5 times a power of ten that is greater: so automatic rows are made of them.
"""

from collections.abc import Iterator
from typing import Literal

from common.market.orderflow.rows import first_height

RowRule = Literal["tick", "coarse", "coarser", "few"]

MAX_FEW = 256


def coarse_row(price_ticks: int) -> int:
    """The five digits that lead a price tell rows apart: 1.00 at 61,800.0, 0.10 at 2,400.00."""
    return first_height(price_ticks)


def heights() -> Iterator[int]:
    """1, 5, 10, 50, 100, ... ticks."""
    power = 1
    while True:
        yield power
        yield 5 * power
        power *= 10
