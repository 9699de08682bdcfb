"""One step of a symbol, as a value, and as what commit.lua takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.errors import Fenced, Stale
from common.market.builder.builder import Checkpoint
from common.series import MINUTE_SERIES
from common.store.client import Argument
from common.store.instrument import DataInstrument
from common.store.script import Rows


@dataclass(frozen=True, slots=True)
class Commit:
    """One atomic step."""

    # The writer's right to write.
    token: str
    # Where the writer stands; the step makes it `seq + 1`.
    seq: int
    # The trades that were applied, packed, and how many.
    trade_count: int
    trades: bytes
    # Where the source goes on after this step.
    position: str
    checkpoint: Checkpoint
    # Closed and amended ones by open_ms, packed: a member of each series in the order of MINUTE_SERIES (empty, or left
    # out at the end, where there is none); of minutes that the store has not got, what their late trades make.
    minutes: Mapping[int, Sequence[bytes]]
    # JSON, for the events stream.
    events: list[bytes]
    # The head of what is published on the channel of commits (CommitMessage). commit.lua puts the trades behind it, so
    # that they are sent once.
    message: bytes
    # What else is published, and where.
    messages: list[tuple[str, bytes]]
    health: dict[str, str] = field(default_factory=dict)
    # The gaps that changed (Gap.dump), by id, and ids of those to be dropped.
    gaps: dict[str, bytes] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    # By series, drop minutes that open before; what is not there drops none.
    floors_ms: Mapping[str, int] = field(default_factory=dict)
    # Of an import, the same as `position`; None leaves it as it is.
    import_position: str | None = None
    # Ids of trades that are no numbers, to be remembered.
    text_ids: Sequence[str] = ()
    # The source's own, kept with `position`.
    note: str | None = None
    # What instrument all of it is of, to be stored. None leaves what is: that changes only under a claim of its own.
    data: DataInstrument | None = None
    # The form in which it is written, not older than the one that the symbol is in.
    format: int = 1

    def state_fields(self) -> dict[str, Argument]:
        """What the state says from now on."""
        checkpoint = self.checkpoint
        fields: dict[str, Argument] = {
            "candle": checkpoint.candle,
            "footprint": checkpoint.footprint,
            "refused": checkpoint.refused,
            "newest_ms": checkpoint.newest_ms,
            "position": self.position,
            **coverage_fields(checkpoint, self.format),
        }
        if self.import_position is not None:
            fields["import_position"] = self.import_position
        if self.data:
            fields["instrument"] = self.data.dump()
        if self.note is not None:
            fields["source_note"] = self.note
        return fields

    def coverage_shape(self) -> str:
        """How coverage has changed since the step before; "" where it is stored whole."""
        checkpoint = self.checkpoint
        return ("reshaped" if checkpoint.is_reshaped else "grown") if checkpoint.is_chunked else ""

    def floors(self) -> list[Argument]:
        """One of each series; "" where nothing is dropped."""
        return [self.floors_ms.get(name, "") for name in MINUTE_SERIES]

    def minute_rows(self) -> Rows:
        """The open of each minute, and a member of each series."""
        none = (b"",) * len(MINUTE_SERIES)
        return ((open_ms, *packed, *none[len(packed) :]) for open_ms, packed in self.minutes.items())


@dataclass(frozen=True, slots=True)
class StreamBounds:
    """How much of a symbol's streams is kept. `archived`: series of which only what the archive has is dropped."""

    trades: int
    events: int
    archived: frozenset[str] = frozenset()


def coverage_fields(checkpoint: Checkpoint, form: int) -> dict[str, Argument]:
    """What the state says of coverage, and of the format: the first has no number."""
    if not checkpoint.is_chunked:
        return {"coverage": checkpoint.coverage}
    return {"newest_span": checkpoint.coverage, "format": form}


def check(result: list[Any], symbol: str, seq: int) -> None:
    """Raise what a script refused a write with."""
    if result[0] == b"FENCED":
        raise Fenced(f"{symbol} has another holder")
    if result[0] == b"STALE":
        raise Stale(f"{symbol} is not at seq {seq} any more")
