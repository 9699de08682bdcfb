"""How much of an indicator's value is owed to what came before the first bar that is read.

A recursive mean gives each of its inputs a weight. What is left for those before its seed, k bars after it, is for one
pole `a` (1-a)**k. Of several in a row it is the tail of their convolved impulse responses. W is the first bar for which
that is no more than 1e-12: answers promise 1e-9.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log, log1p

EPSILON = 1e-12
# Bars read before the first one shown.
MAX_WARMUP = 20_000


def ema(n: float) -> float:
    """The pole of EMA_n."""
    return 2 / (n + 1)


def rma(n: float) -> float:
    """The pole of RMA_n."""
    return 1 / n


@dataclass(frozen=True, slots=True)
class Leg:
    """Recursive means in a row, the first value of which is that of bar `first`."""

    poles: tuple[float, ...]
    first: int

    @property
    def warmup(self) -> int:
        return settled_after(self.poles) + self.first + 1


def warmup_of(legs: Sequence[Leg]) -> int:
    return max(leg.warmup for leg in legs)


@lru_cache(1024)
def settled_after(poles: tuple[float, ...], epsilon: float = EPSILON) -> int:
    """The least k for which the weight that is left is at most `epsilon`. More than MAX_WARMUP: at least that."""
    if not poles:
        return 0
    if len(poles) == 1:
        return 0 if poles[0] >= 1 else ceil(log(epsilon) / log1p(-poles[0]))
    # What of the oldest input is still on its way into the first mean, the second, ...
    inside, bars = [1.0, *[0.0] * (len(poles) - 1)], 0
    while sum(inside) > epsilon and bars <= MAX_WARMUP:
        passed = 0.0
        for at, pole in enumerate(poles):
            arrived = inside[at] + passed
            inside[at], passed = arrived * (1 - pole), arrived * pole
        bars += 1
    return bars
