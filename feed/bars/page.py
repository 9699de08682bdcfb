"""A run of bars as it goes into an answer."""

from collections.abc import Sequence
from dataclasses import dataclass

# The parameter to ask on with, where one request may read no more: {"end": ms}, or {"start": ms} walking forward.
More = dict[str, int]


@dataclass(frozen=True, slots=True)
class Page:
    """A run of bars and what they are true of.

    `runs`: their JSON, in each one bar or several with commas between. `from_ms..to_ms`: the time they speak of.
    `more`: there may be more within limit and bounds, but that would be too much for one request.
    """

    runs: Sequence[bytes]
    from_ms: int
    to_ms: int
    more: More | None = None
