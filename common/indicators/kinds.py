"""What a kind of indicator is: a row of the table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from common.indicators.bars import IndicatorBars, PriceSource
from common.indicators.engine import Floats
from common.indicators.warmup import Leg
from common.market.coding.packed import Ints

# How far back a value looks: a window of bars, a recursion, a path without a bound, an anchor.
Memory = Literal["window", "recursive", "path", "anchored"]
Numbers = tuple[float, ...]

SOURCES: tuple[PriceSource, ...] = ("open", "high", "low", "close", "hl2", "hlc3", "ohlc4", "volume")
MAX_LENGTH = 1_000


@dataclass(frozen=True, slots=True)
class NumberRule:
    """One of the numbers of an id."""

    name: str
    default: float
    min_value: float = 1
    max_value: float = MAX_LENGTH
    is_whole: bool = True


def length(default: int, name: str = "length", *, min_value: int = 1) -> NumberRule:
    return NumberRule(name, default, min_value)


def factor(default: float, name: str, max_value: float = 100) -> NumberRule:
    """Above 0."""
    return NumberRule(name, default, 1e-9, max_value, is_whole=False)


@dataclass(frozen=True, slots=True, eq=False)
class IndicatorInputs:
    """`of`: what it is taken of; `anchors`: since when the sum of each bar runs; `warmup`: as of the id."""

    bars: IndicatorBars
    of: PriceSource
    numbers: Numbers
    warmup: int
    anchors: Ints

    @property
    def source(self) -> Floats:
        return self.bars.source(self.of)

    @property
    def lengths(self) -> tuple[int, ...]:
        return tuple(map(int, self.numbers))

    @property
    def starts(self) -> npt.NDArray[np.bool_]:
        """Whether each bar is the first of its anchor."""
        return np.asarray(np.diff(self.anchors, prepend=-2) != 0)


Compute = Callable[[IndicatorInputs], Sequence[Floats]]
FirstOf = Callable[[Numbers], tuple[int, ...]]
LegsOf = Callable[[Numbers], Sequence[Leg]]


@dataclass(frozen=True, slots=True, eq=False)
class IndicatorKind:
    """`formula`: in one line. `first_of`: the bar of the first value of each output, counted from 0."""

    name: str
    formula: str
    numbers: tuple[NumberRule, ...]
    outputs: tuple[str, ...]
    memory: Memory
    first_of: FirstOf
    compute: Compute
    # Of a recursive one; of a path what it settles by.
    legs_of: LegsOf | None = None
    # What it may be taken of; the first is the default.
    sources: tuple[PriceSource, ...] = ()
    # Of the numbers, the positions of two, the first of which is to be the lesser.
    fast_slow: tuple[int, int] | None = None
    # By how many bars a chart draws an output to the right.
    shift_of: Callable[[Numbers], dict[str, int]] | None = None
    # Whether the last number may be left out, and what it is for with it.
    is_last_optional: bool = False

    def legs(self, numbers: Numbers) -> Sequence[Leg]:
        return self.legs_of(numbers) if self.legs_of else ()


VALUE = ("value",)
CLOSE_FIRST: tuple[PriceSource, ...] = ("close", *(each for each in SOURCES if each != "close"))
