"""Late trades of minutes that the archive alone has.

Such a minute is not in the store, so what its late trades make of it can't be merged there. What they make by
themselves is kept until a job has merged it into the archive's object, and readers merge it until then: both once and
no more, for the object names the newest that it has.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# By the token of its writer, the newest commit whose parts an object has. Under one token commits only ever follow
# each other, so it has all before that one, too.
Merged = Mapping[str, int]

# Writers that an object names. Parts are gone from the store soon after they are merged: of older ones there are none.
MAX_WRITERS = 16


@dataclass(frozen=True, slots=True)
class LatePart:
    """What the late trades of commit `seq` make of one minute: a candle or a footprint, packed."""

    open_ms: int
    token: str
    seq: int
    packed: bytes

    @classmethod
    def of(cls, member: bytes, open_ms: float) -> "LatePart":
        """Read `<token>:<seq>:<packed>`, as commit.lua writes it with the minute's open for a score."""
        token, seq, packed = member.split(b":", 2)
        return cls(int(open_ms), token.decode(), int(seq), packed)

    def is_in(self, merged: Merged) -> bool:
        return self.seq <= merged.get(self.token, -1)


def merged_with(merged: Merged, parts: Iterable[LatePart]) -> Merged:
    """Return what an object has that had `merged`, and has been given all of these parts."""
    found = dict(merged)
    for part in parts:
        # The newest writers last.
        found[part.token] = max(part.seq, found.pop(part.token, -1))
    return dict(list(found.items())[-MAX_WRITERS:])


def merged_text(merged: Merged) -> str:
    return " ".join(f"{token}:{seq}" for token, seq in merged.items())


def merged_of(text: str) -> Merged:
    """Read what `merged_text` wrote."""
    pairs = (pair.partition(":") for pair in text.split())
    return {token: int(seq) for token, _, seq in pairs}
