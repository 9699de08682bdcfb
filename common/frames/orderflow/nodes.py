"""Rows of much and of little volume in one profile: peaks and troughs of it."""

from dataclasses import dataclass

import numpy as np

from common.frames.orderflow.rows import RowColumns
from common.frames.runs import Values
from common.market.coding.packed import Ints
from common.market.orderflow.ratios import WHOLE_BP

SENSITIVITY = 5


@dataclass(frozen=True, slots=True, eq=False)
class Plateaus:
    """Rows of equal volume, one above the other, as one: empty rows, too."""

    lowest: Ints
    rows: Ints
    total: Values

    @classmethod
    def of(cls, profile: RowColumns) -> "Plateaus":
        """Of one bar."""
        prices, height = profile.price, profile.row_ticks
        gaps = np.flatnonzero(np.diff(prices) > height)
        empty = prices[gaps] + height
        order = np.argsort(np.append(prices, empty), kind="stable")
        lowest = np.append(prices, empty)[order]
        total = np.append(profile.total, np.zeros_like(profile.total, shape=len(gaps)))[order]
        begins = np.flatnonzero(np.append(True, (total[1:] != total[:-1]).astype(np.bool_)))
        ends = np.append(lowest[begins[1:]], prices[-1] + height)
        return cls(lowest[begins], (ends - lowest[begins]) // height, total[begins])


def nodes(profile: RowColumns, sensitivity: int = SENSITIVITY, min_share_bp: int = 0) -> tuple[list[int], list[int]]:
    """Return the rows of much volume and those of little, by their prices.

    A peak has more than each of the `sensitivity` rows above it and below; beyond the profile there is nothing. A
    trough has less than each, and all of these inside. Of rows of equal volume the middle one stands for all, of two
    the lower. A peak has at least `min_share_bp` of the greatest row's volume.
    """
    if not len(profile):
        return [], []
    flat = Plateaus.of(profile)
    over, under = np.append(0, np.cumsum(flat.rows)), int(flat.rows.sum())
    is_peak = (flat.total > 0).astype(np.bool_)
    is_peak &= (WHOLE_BP * flat.total >= min_share_bp * flat.total.max()).astype(np.bool_)
    is_trough = (over[:-1] >= sensitivity) & (under - over[1:] >= sensitivity)
    for away in range(1, min(sensitivity, len(flat.total) - 1) + 1):
        # Both ways; only while fewer rows lie between than are looked at.
        near = over[away:-1] - over[1:-away] < sensitivity
        lower, upper = flat.total[:-away], flat.total[away:]
        less, more = (near & (lower < upper).astype(np.bool_)), (near & (lower > upper).astype(np.bool_))
        same = near & ~less & ~more
        is_peak[:-away] &= ~(less | same)
        is_peak[away:] &= ~(more | same)
        is_trough[:-away] &= ~(more | same)
        is_trough[away:] &= ~(less | same)
    middle = flat.lowest + (flat.rows - 1) // 2 * profile.row_ticks
    return middle[is_peak].tolist(), middle[is_trough].tolist()
