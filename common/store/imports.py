"""A bulk import's writes: whole days as sealed blocks, one or several of them in one atomic step.

Claim, beat, release and the last step, which leaves the newest minutes open, are those of any other writer
(common.store.symbol).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from redis.asyncio import Redis

from common.market.builder.builder import Checkpoint
from common.market.coding import codec
from common.market.manifest import ManifestEntry
from common.market.timeframes.timeframe import DAY_MS
from common.series import MINUTE_SERIES
from common.store import scripts
from common.store.archived import Spans
from common.store.client import Argument, translated
from common.store.commit import check, coverage_fields
from common.store.instrument import DataInstrument
from common.store.keys import SymbolKeys
from common.store.rollups import Staged, StoredMinutes

# What one step takes: a day of a busy market alone, or small days together. The script takes some 50 us a day.
MAX_STEP_DAYS = 64
MAX_STEP_MINUTES = 50_000


@dataclass(frozen=True, slots=True)
class ImportedDay:
    """`staged`: the day's blocks, laid down by RollupStore.stage; None if nothing of the day is kept."""

    day_ms: int
    staged: Staged | None
    # Trades outside every session; None leaves what is known of that.
    outside: int | None = None


@dataclass(frozen=True, slots=True)
class ImportStep:
    """One atomic step of an import: its days, ascending, and the checkpoint that says so."""

    token: str
    # Where the writer stands; the step makes it `seq + 1`.
    seq: int
    days: Sequence[ImportedDay]
    # Opens of the first and the last minute that were written, at most.
    first_ms: int
    last_ms: int
    # Where the import goes on.
    position: str
    checkpoint: Checkpoint
    # As in a Commit.
    events: Sequence[bytes] = ()
    messages: Sequence[tuple[str, bytes]] = ()
    gaps: Mapping[str, bytes] = field(default_factory=dict)
    forgotten: Sequence[str] = ()
    # Whether the archive has the trades of the days and all that were applied before, but for those of the spans of
    # time `lost`, which it never will have.
    archived: bool = False
    lost: Spans = ()
    # Of the objects of trades that were written for the days.
    entries: Sequence[ManifestEntry] = ()
    # As in a Commit.
    format: int = 1
    # As of a Commit.
    data: DataInstrument | None = None


class ImportStore:
    """Through a client that never re-sends. `events_kept`: as for commits."""

    def __init__(self, client: Redis, symbol: str, events_kept: int) -> None:
        self.keys = SymbolKeys(symbol)
        self._client = client
        self._events_kept = events_kept
        self._import = scripts.import_.of(client, self.keys)

    async def read(self, days: Sequence[int]) -> list[Mapping[str, StoredMinutes]]:
        """Return what is stored of each day, by series."""
        pipe = self._client.pipeline(transaction=True)
        for series in MINUTE_SERIES.values():
            pipe.hmget(self.keys.sealed(series.name), list(map(str, days)))
            for day_ms in days:
                pipe.zrangebyscore(self.keys.minutes(series), day_ms, f"({day_ms + DAY_MS}")
        with translated(f"read of days of {self.keys.symbol}"):
            answers = iter(await pipe.execute())
        found: list[dict[str, StoredMinutes]] = [{} for _ in days]
        for name in MINUTE_SERIES:
            for stored, day_ms, block in zip(found, days, next(answers), strict=True):
                stored[name] = StoredMinutes({day_ms: block} if block else {}, next(answers))
        return list(found)

    async def write(self, step: ImportStep) -> None:
        """Take in the days. Raises Fenced, Stale, StoreUnavailable."""
        checkpoint = step.checkpoint
        state: dict[str, Argument] = {
            "candle": checkpoint.candle,
            "footprint": checkpoint.footprint,
            "refused": checkpoint.refused,
            "newest_ms": checkpoint.newest_ms,
            "import_position": step.position,
            **coverage_fields(checkpoint, step.format),
        }
        with translated(f"import of days of {self.keys.symbol}"):
            result = await self._import(
                manifest=self.keys.archived("trades"),
                token=step.token,
                seq=step.seq,
                next_seq=step.seq + 1,
                watermark_ms=checkpoint.watermark_ms,
                no_trades=codec.NO_TRADES,
                events_kept=self._events_kept,
                first_ms=step.first_ms,
                last_ms=step.last_ms,
                lost_spans=";".join(f"{from_ms}:{to_ms}" for from_ms, to_ms in step.lost),
                archived=step.archived,
                with_chunks=checkpoint.is_chunked,
                days=map(_day_row, step.days),
                state_fields=state,
                chunks=checkpoint.chunks,
                gap_puts=step.gaps,
                forgotten=step.forgotten,
                event_texts=step.events,
                messages=step.messages,
                entries=[entry.dump() for entry in step.entries],
            )
        check(result, self.keys.symbol, step.seq)


def _day_row(day: ImportedDay) -> tuple[Argument, ...]:
    staged, outside = day.staged or Staged({}, {}), "" if day.outside is None else day.outside
    return (day.day_ms, "seal" if day.staged else "leave", *staged.arguments(), outside)
