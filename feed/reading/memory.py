"""How FLEET_MEMORY_MB is shared out between what is kept and what is being worked out.

The rest is the process itself with its modules, its connections, and memory that malloc keeps for the next answer.
"""

from dataclasses import dataclass

from feed.reading.budget import MAX_ANSWER_BYTES

# Of the process as it starts, and what it needs for clients.
_BASE_MB = 192
# What one query of a full budget takes while it is worked out, and its answer until it is sent.
_QUERY_MB = 224
# An answer takes several times its bytes until it is put together: with less than 1 GB it is shorter.
_ANSWERS = 32
# Of what is left for caches, in tenths: frames of minutes, minutes of books, packed days of trades, tapes, tails,
# coverage.
_FRAMES, _DEPTH, _PACKED, _TAPES, _TAILS, _OLDER = 3, 2, 2, 1, 1, 1


@dataclass(frozen=True, slots=True)
class Shares:
    """Bytes that each cache may take, and one answer; how many queries that read much may be under way at once."""

    frames_bytes: int
    depth_bytes: int
    packed_bytes: int
    tapes_bytes: int
    tails_bytes: int
    older_bytes: int
    answer_bytes: int
    large_places: int

    @classmethod
    def of(cls, memory_mb: int) -> "Shares":
        left_mb = memory_mb - _BASE_MB
        places = max(1, left_mb * 6 // 10 // _QUERY_MB)
        tenth = (left_mb * 3 // 10 << 20) // 10
        answer = min(MAX_ANSWER_BYTES, (memory_mb << 20) // _ANSWERS)
        frames, depth, packed, tapes, tails, older = (
            share * tenth for share in (_FRAMES, _DEPTH, _PACKED, _TAPES, _TAILS, _OLDER)
        )
        return cls(frames, depth, packed, tapes, tails, older, answer, places)
