"""A set of ids as closed intervals: what was sent, what is hidden, what a fault touched."""

from bisect import bisect_right
from collections.abc import Iterator


class Ranges:
    """Intervals `(first, last)`, ascending, none touching the next. `keep`: beyond that many the oldest are joined."""

    def __init__(self, keep: int = 10_000) -> None:
        self.keep = keep
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __len__(self) -> int:
        return len(self._firsts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number)
        return bool(at) and number <= self._lasts[at - 1]

    @property
    def count(self) -> int:
        """How many ids are in it."""
        return sum(last - first + 1 for first, last in self)

    def add(self, first: int, last: int) -> None:
        if self._lasts and first == self._lasts[-1] + 1:
            self._lasts[-1] = last
            return
        start = bisect_right(self._lasts, first - 2)
        end = bisect_right(self._firsts, last + 1)
        if start < end:
            first, last = min(first, self._firsts[start]), max(last, self._lasts[end - 1])
        self._firsts[start:end], self._lasts[start:end] = [first], [last]
        if len(self._firsts) > self.keep:
            del self._firsts[1], self._lasts[0]

    def holes(self) -> list[tuple[int, int]]:
        """The intervals between its own."""
        return [(last + 1, first - 1) for last, first in zip(self._lasts, self._firsts[1:], strict=False)]
