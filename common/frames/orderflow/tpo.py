"""Time at a price: which brackets of a session, half an hour each, say, traded at which rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase

import numpy as np

from common.frames.orderflow.imbalance import runs_of
from common.frames.orderflow.poc import poc_at
from common.frames.orderflow.rows import RowColumns
from common.frames.orderflow.value_area import AreaRule, value_areas
from common.market.coding.packed import Ints

BRACKET_MINUTES = 30
INITIAL_BALANCE_MINUTES = 60
# Of a tail, at least.
TAIL_ROWS = 2
_LETTERS = ascii_uppercase + ascii_lowercase
Rows = tuple[int, int]


def letter(bracket: int) -> str:
    """A to Z, a to z, then AA to ZZ, AB... by the first and the second letter."""
    if bracket < len(_LETTERS):
        return _LETTERS[bracket]
    first, second = divmod(bracket - len(_LETTERS), len(ascii_uppercase))
    return letter(first) + ascii_uppercase[second]


@dataclass(frozen=True, slots=True, eq=False)
class TpoProfile:
    """Of one session: rows from `lowest` up, and how many brackets traded at each; rows are named as rows of prices.

    `brackets`: their numbers; one without trades has none. `low`, `high`: the rows that each went from and to.
    """

    lowest: int
    row_ticks: int
    counts: Ints
    brackets: Ints
    low: Ints
    high: Ints

    @classmethod
    def of(cls, brackets: Ints, low_ticks: Ints, high_ticks: Ints, row_ticks: int) -> "TpoProfile":
        """Of at least one bracket: a bracket marks every row from its lowest price to its highest."""
        low, high = low_ticks // row_ticks * row_ticks, high_ticks // row_ticks * row_ticks
        lowest = int(low.min())
        ends = np.zeros((int(high.max()) - lowest) // row_ticks + 2, np.int64)
        np.add.at(ends, (low - lowest) // row_ticks, 1)
        np.add.at(ends, (high - lowest) // row_ticks + 1, -1)
        return cls(lowest, row_ticks, np.cumsum(ends)[:-1], brackets, low, high)

    @property
    def prices(self) -> Ints:
        return self.lowest + np.arange(len(self.counts)) * self.row_ticks

    def rows(self) -> Iterator[tuple[int, int, str]]:
        """Yield rows with their count and the letters of their brackets."""
        names = [letter(int(bracket)) for bracket in self.brackets]
        for price, count in zip(self.prices.tolist(), self.counts.tolist(), strict=True):
            marked = (self.low <= price) & (price <= self.high)
            yield price, count, "".join(names[at] for at in np.flatnonzero(marked).tolist())

    def area(self, share_bp: int, rule: AreaRule) -> tuple[int, Rows | None]:
        """Return the point of control, and the value area, by counts: with the ties of volume."""
        columns = self._columns()
        at = poc_at(columns)
        low, high, has = value_areas(columns, at, share_bp, rule)
        return int(columns.price[at[0]]), (int(low[0]), int(high[0])) if has[0] else None

    def single_prints(self) -> list[Rows]:
        """Runs of rows with one bracket inside the profile: rows above and below have more."""
        return [run for run in self._ones() if run[0] > self._first_of_more and run[1] < self._last_of_more]

    def tails(self) -> tuple[Rows | None, Rows | None]:
        """Return the run of rows with one bracket at the lower end and that at the upper one, of two rows or more."""
        ones, last = self._ones(), int(self.prices[-1])
        long = [run for run in ones if (run[1] - run[0]) // self.row_ticks + 1 >= TAIL_ROWS]
        low = next((run for run in long if run[0] == self.lowest), None)
        return low, next((run for run in long if run[1] == last), None)

    def poor_ends(self) -> tuple[bool, bool]:
        """Whether the lowest, and the highest, row was traded at in more than one bracket."""
        return bool(self.counts[0] >= TAIL_ROWS), bool(self.counts[-1] >= TAIL_ROWS)

    def _ones(self) -> list[Rows]:
        columns = self._columns()
        runs = runs_of(columns, self.counts == 1, 1)
        return list(zip(columns.price[runs.first].tolist(), columns.price[runs.last].tolist(), strict=True))

    @property
    def _first_of_more(self) -> int:
        return self._of_more(0)

    @property
    def _last_of_more(self) -> int:
        return self._of_more(-1)

    def _of_more(self, end: int) -> int:
        found = self.prices[self.counts > 1]
        # Without any, nothing lies above it and below it.
        return int(found[end]) if len(found) else (1 << 62) * (1 if end == 0 else -1)

    def _columns(self) -> RowColumns:
        nothing = np.zeros_like(self.counts)
        starts = np.zeros(1, np.int64)
        return RowColumns(starts, starts, self.prices, self.row_ticks, self.counts, nothing, nothing, self.counts)


def initial_balance(
    brackets: Sequence[int], low_ticks: Sequence[int], high_ticks: Sequence[int], bracket_minutes: int
) -> Rows | None:
    """Return the lowest and the highest price of the first hour; None until it has trades."""
    first = [at for at, bracket in enumerate(brackets) if (bracket + 1) * bracket_minutes <= INITIAL_BALANCE_MINUTES]
    return (min(low_ticks[at] for at in first), max(high_ticks[at] for at in first)) if first else None
