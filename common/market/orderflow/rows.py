"""The grid of rows: each is `row_ticks` high, and named by a multiple of that. Integers, in ticks.

nearest   a price belongs to the nearest multiple, and exactly between two of them to the lower
floor     to the multiple at it or below; such rows nest: those of 10 ticks are made of those of 5
"""

from typing import Literal

Align = Literal["nearest", "floor"]

# Of a footprint: as many rows as are read at a glance.
FOOTPRINT_ROWS = 20
# Closed bars whose ranges decide it.
RANGES = 50


def lowest_offset(row_ticks: int, align: Align) -> int:
    """Return `lo`: where a row's lowest tick lies, from its name."""
    return -((row_ticks - 1) // 2) if align == "nearest" else 0


def row_at(price_ticks: int, row_ticks: int, align: Align) -> int:
    """Return the row of a price. Of negative prices, too: division is floored."""
    return (price_ticks - lowest_offset(row_ticks, align)) // row_ticks * row_ticks


def height_for(range_ticks: int, max_rows: int, step_ticks: int = 1) -> int:
    """Return the least of 1, 2, 5, 10, 20, ... steps that needs no more than `max_rows` for the range.

    `step_ticks`: what prices of the venue are multiples of; rows finer than that are empty ones.
    """
    needed = -(-max(range_ticks, 1) // max_rows)
    return _least_of_steps(needed, step_ticks)


def first_height(price_ticks: int, step_ticks: int = 1) -> int:
    """Return the height for a price of which nothing else is known: the five digits that lead it tell rows apart."""
    return _least_of_steps(10 ** max(len(str(max(price_ticks, 1))) - 5, 0), step_ticks)


def sticky_height(held_ticks: int, range_ticks: int, max_rows: int, step_ticks: int = 1) -> int:
    """Return the height held, as long as it makes a quarter of `max_rows` to all of them; else another one."""
    rows = -(-max(range_ticks, 1) // held_ticks)
    if rows <= max_rows <= 4 * rows and held_ticks % step_ticks == 0:
        return held_ticks
    return height_for(range_ticks, max_rows, step_ticks)


def _least_of_steps(needed_ticks: int, step_ticks: int) -> int:
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power * step_ticks >= needed_ticks:
                return digit * power * step_ticks
        power *= 10
