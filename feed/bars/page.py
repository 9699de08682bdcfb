"""A run of bars as it goes into an answer."""

from collections.abc import Sequence
from dataclasses import dataclass

# The parameter to ask on with, where one request may read no more: {"end": ms}, or {"start": ms} walking forward.
More = dict[str, int]


@dataclass(frozen=True, slots=True)
class Page:
    """A run of bars and what they are true of. `bars` is a JSON array; `from_ms..to_ms` the time it speaks of.

    `more`: there may be more within limit and bounds, but that would be too much for one request.
    """

    bars: bytes
    from_ms: int
    to_ms: int
    more: More | None = None


def array_of_runs(runs: Sequence[bytes]) -> bytes:
    """Return the JSON array of bars given in runs with commas between them. In one step: they may be 32 MB."""
    between = [b","] * (2 * len(runs) - 1)
    between[::2] = runs
    return b"".join([b"[", *between, b"]"])
