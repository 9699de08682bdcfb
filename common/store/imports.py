"""A bulk import's writes: a day at a time, as sealed blocks, each in one atomic step.

Claim, beat, release and the last step, which leaves the newest minutes open, are those of any other writer
(common.store.symbol).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from redis.asyncio import Redis

from common.market import codec
from common.market.builder import Checkpoint
from common.market.timeframe import DAY_MS
from common.market.trade import Trades
from common.store.client import translated
from common.store.keys import SymbolKeys
from common.store.reads import Spans
from common.store.rollups import Minutes, Staged
from common.store.script import Argument, Script
from common.store.symbol import check, flat


@dataclass(frozen=True, slots=True)
class ImportedDay:
    """One step of an import. `seq` is where the writer stands; the step makes it `seq + 1`.

    `staged`: the day's blocks, laid down by RollupStore.stage; None if nothing of the day is kept. `first_ms` and
    `last_ms`: opens of the minutes that were written. `archived`: the archive has the trades of the day, and all that
    were applied before, but for those in the spans of time `lost`, which it never will have. `gaps`, `forgotten`,
    `events`, `messages`: as in a Commit.
    """

    token: str
    seq: int
    day_ms: int
    staged: Staged | None
    first_ms: int
    last_ms: int
    position: str
    checkpoint: Checkpoint
    events: Sequence[bytes] = ()
    messages: Sequence[tuple[str, bytes]] = ()
    gaps: Mapping[str, bytes] = field(default_factory=dict)
    forgotten: Sequence[str] = ()
    archived: bool = False
    lost: Spans = ()


class ImportStore:
    """Through a client that never re-sends. `events_kept`: as for commits."""

    def __init__(self, client: Redis, symbol: str, events_kept: int) -> None:
        self.keys = SymbolKeys(symbol)
        self._client = client
        self._events_kept = events_kept
        self._import = Script(client, "import")

    async def read(self, day_ms: int) -> tuple[Minutes, Minutes]:
        """Return the candles and the footprints that are stored of a day."""
        pipe = self._client.pipeline(transaction=True)
        pipe.zrangebyscore(self.keys.candles, day_ms, f"({day_ms + DAY_MS}")
        pipe.zrangebyscore(self.keys.footprints, day_ms, f"({day_ms + DAY_MS}")
        pipe.hget(self.keys.sealed_candles, str(day_ms))
        pipe.hget(self.keys.sealed_footprints, str(day_ms))
        with translated(f"read of day {day_ms} of {self.keys.symbol}"):
            candles, footprints, *sealed = await pipe.execute()
        blocks = [{day_ms: block} if block else {} for block in sealed]
        return Minutes(blocks[0], candles), Minutes(blocks[1], footprints)

    async def write(self, day: ImportedDay) -> None:
        """Take in one day. Raises Fenced, Stale, StoreUnavailable."""
        k = self.keys
        keys = [k.owner, k.state, k.trades, k.candles, k.footprints, k.events, k.gaps, k.dirty, k.seals]
        keys += [k.sealed_candles, k.sealed_footprints, k.staged, k.archive]
        with translated(f"import of day {day.day_ms} of {k.symbol}"):
            result = await self._import(keys, *self._arguments(day))
        check(result, k.symbol, day.seq)

    def _arguments(self, day: ImportedDay) -> Sequence[Argument]:
        checkpoint = day.checkpoint
        state: dict[str, Argument] = {
            "candle": checkpoint.candle,
            "footprint": checkpoint.footprint,
            "coverage": checkpoint.coverage,
            "refused": checkpoint.refused,
            "newest_ms": checkpoint.newest_ms,
            "import_position": day.position,
        }
        head: list[Argument] = [day.token, day.seq, day.seq + 1, day.day_ms, checkpoint.watermark_ms]
        head += [codec.pack_trades(Trades()), self._events_kept]
        head += ["seal", *day.staged.counts, *day.staged.digests] if day.staged else ["leave", 0, 0, "", ""]
        counts = [len(state), len(day.gaps), len(day.forgotten), len(day.events), len(day.messages)]
        lost = ";".join(f"{from_ms}:{to_ms}" for from_ms, to_ms in day.lost)
        head += [day.first_ms, day.last_ms, *counts, "archived" if day.archived else "", lost]
        head += [*flat(state.items()), *flat(day.gaps.items())]
        return [*head, *day.forgotten, *day.events, *flat(day.messages)]
