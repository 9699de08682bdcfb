"""Figures of two releases side by side: how many times as good each number is as it was."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from infra.bench.base import Figure

# As figures write them: `677,608 trades/s`, `p50 5.7 x (3.61 ms)`, `0.14 s`. Part of a word, as in p50, is none.
_NUMBER = re.compile(r"(?<![\w.])(\d[\d,]*(?:\.\d+)?)\s*([^\s\d(),;]*)")


@dataclass(frozen=True, slots=True)
class FigurePair:
    """A figure as it is now and as it was, of the middle round by its first number; None where it was not measured.

    `ratios`: of each number in the order of the text, medians of all rounds; above 1 it is better now.
    """

    now: Figure
    then: Figure | None = None
    ratios: tuple[float, ...] = ()


def compare(now: Sequence[Sequence[Figure]], then: Sequence[Sequence[Figure]]) -> list[FigurePair]:
    """Compare the figures of one row. Each of `now` and `then` has a list of figures a round."""
    earlier = _by_place(then)
    return [_compared(rounds, earlier.get(place, [])) for place, rounds in _by_place(now).items()]


def numbers(measured: str) -> list[float]:
    return [float(digits.replace(",", "")) for digits, _ in _NUMBER.findall(measured)]


def _by_place(rounds: Iterable[Sequence[Figure]]) -> dict[tuple[str, int], list[Figure]]:
    """By what is measured but for its numbers (a base line differs each round), and which one of such it is."""
    found: dict[tuple[str, int], list[Figure]] = {}
    for figures in rounds:
        seen = Counter[str]()
        for figure in figures:
            what = _NUMBER.sub("", figure.what)
            found.setdefault((what, seen[what]), []).append(figure)
            seen[what] += 1
    return found


def _compared(now: list[Figure], then: list[Figure]) -> FigurePair:
    middle, before = _middle(now), _middle(then) if then else None
    if before is None:
        return FigurePair(middle)
    pairs = list(zip(_medians(now), _medians(then), strict=False))
    more_is_better = _more_is_better(middle)
    ratios = tuple(new / old if more_is_better else old / new for new, old in pairs if new and old)
    return FigurePair(middle, before, ratios)


def _more_is_better(figure: Figure) -> bool:
    if figure.target:
        return figure.target.startswith(">")
    return any(unit.endswith("/s") for _, unit in _NUMBER.findall(figure.measured))


def _middle(figures: list[Figure]) -> Figure:
    return sorted(figures, key=lambda figure: numbers(figure.measured)[:1])[(len(figures) - 1) // 2]


def _medians(figures: list[Figure]) -> list[float]:
    return [median(column) for column in zip(*(numbers(figure.measured) for figure in figures), strict=False)]
