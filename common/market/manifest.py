"""What the archive is known to have: an entry per object that was confirmed, kept in the store (common.store.manifest).

An object is replaced before it is confirmed, so a reader may meet one that is newer than its entry. Which of two is the
newer its generation tells, which every write of an object counts up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Of an object of which nothing but its name is known: it was listed, or written by an earlier release.
UNKNOWN = -1
# Rows of an object that was lost and given up: it need not be there, and what it had is lost.
GIVEN_UP = -2


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """`checksum`: of the values, in hex, '' where it is not known; rows, generation and size are UNKNOWN then."""

    # Open of the period, ms UTC.
    period_ms: int
    rows: int = UNKNOWN
    checksum: str = ""
    generation: int = UNKNOWN
    # Bytes.
    size: int = UNKNOWN

    @property
    def given_up(self) -> bool:
        return self.rows == GIVEN_UP

    @classmethod
    def parse(cls, member: bytes) -> "ManifestEntry":
        period_ms, rows, checksum, generation, size = member.decode().split(":")
        return cls(int(period_ms), int(rows), checksum, int(generation), int(size))

    def dump(self) -> str:
        return f"{self.period_ms}:{self.rows}:{self.checksum}:{self.generation}:{self.size}"

    def objection(self, found: "ManifestEntry") -> str:
        """Why an object that was found is not this one or a newer one, in some words; '' if it may be."""
        if self.rows < 0 or found.generation > self.generation:
            return ""
        if found.generation == UNKNOWN:
            # Written by an earlier release, which counts none. An object never loses rows.
            return f"has {found.rows:,} rows of {self.rows:,}" if found.rows < self.rows else ""
        if found.generation < self.generation:
            return f"is an older copy: it was written {self.generation - found.generation} times since"
        if (found.rows, found.checksum) != (self.rows, self.checksum):
            return f"has (rows, checksum) {(found.rows, found.checksum)}, expected {(self.rows, self.checksum)}"
        return ""


@dataclass(frozen=True, slots=True)
class Fault:
    """An object that is not what was confirmed, and why. `label`: its period by name, `[from_ms, to_ms)` in ms UTC."""

    series: str
    label: str
    from_ms: int
    to_ms: int
    reason: str

    def __str__(self) -> str:
        return f"{self.series} {self.label} {self.reason}"

    def json(self) -> dict[str, Any]:
        """The shape of docs/protocol.md."""
        span = {"from": self.from_ms, "to": self.to_ms}
        return {"series": self.series, "period": self.label, **span, "reason": self.reason}

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> "Fault":
        return cls(found["series"], found["period"], found["from"], found["to"], found["reason"])
