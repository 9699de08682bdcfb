"""Coverage: which trades have been applied. A trade inside it is a duplicate; its holes are the gaps.

Two kinds, by what the venue's trade ids promise:

- `IdCoverage` (contiguous ids): a set of id intervals. Exact without limit of time.
- `RecentCoverage` (unique ids): the last `window` ids applied, and the time `floor_ms` up to which ids have been
  forgotten. A trade at or before the floor can't be told from a duplicate and is refused as too late.

It never says more than what was applied: a trade for whose hole there is no room is refused, and may come again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from common.market.builder.spans import Hole, IdSpan
from common.market.trade import Trades

# So many are 2 MB in the store.
MAX_HOLES = 65_536
# Where all of coverage is written with every commit: 128 kB.
MAX_HOLES_WHOLE = 4_095

DUPLICATE, TOO_LATE, TOO_MANY_HOLES = "duplicate", "too_late", "too_many_holes"


class Reshaped(NamedTuple):
    """How holes have changed: ranges of ids that came into those that were there, ascending; and holes that are new."""

    filled: Sequence[tuple[int, int]] = ()
    opened: Sequence[Hole] = ()


class StoredCoverage(NamedTuple):
    """Coverage as it is stored by what changed: its newest span, which every trade changes, apart from the others.

    `newest`: as in a dump. `chunks`: those of the others that changed, packed, by number; b"" where one is gone.
    `reshaped`: whether more changed than the end of the newest span.
    """

    newest: list[list[int]]
    chunks: Mapping[int, bytes]
    reshaped: bool


class Coverage(Protocol):
    def refuse(self, ts_ms: int, trade_id: int) -> str | None:
        """Return why the trade can't be applied, or None and remember it as applied."""

    def extend(self, trades: Trades) -> bool:
        """Remember a whole batch if all of it is new and in order; else change nothing, return False."""

    def has(self, trade_id: int) -> bool:
        """Whether a trade of that id has been applied, as far as that is known."""

    def has_any(self, ids: Sequence[int]) -> bool:
        """Whether it has one of them."""

    def cover(self, spans: Iterable[IdSpan]) -> None:
        """Count these ids as applied though no trade of them will come. Nothing where ids are not contiguous."""

    def spans(self) -> list[IdSpan]: ...

    def oldest(self) -> IdSpan | None: ...

    def newest(self) -> IdSpan | None: ...

    def latest_ms(self) -> int:
        """The greatest time at the end of a span; -1 without one."""

    def holes(self) -> list[Hole]: ...

    def holes_at(self, first: int, last: int) -> list[Hole]:
        """Those with an id in `first..last`."""

    def covers(self, start_ms: int, end_ms: int) -> bool:
        """Whether nothing is known to be missing in `[start_ms, end_ms)`: it begins after coverage, without a hole."""

    def take_reshaped(self) -> Reshaped:
        """How holes have changed since the last call, or since it was loaded."""

    def dump(self) -> list[list[int]]:
        """All of it."""

    def take_stored(self) -> StoredCoverage:
        """What has changed since the last call, or since it was loaded from what such calls returned."""


def max_holes(*, is_chunked: bool) -> int:
    """How many holes there may be in coverage that is stored by chunks, or whole."""
    return MAX_HOLES if is_chunked else MAX_HOLES_WHOLE


def some(span: IdSpan | None) -> tuple[IdSpan, ...]:
    return () if span is None else (span,)
