"""One symbol's trades on their way into the archive: how many wait, where a job begins, and the step that confirms.

The trade stream is the ledger of what is to be done: an entry leaves it only when it has been confirmed (commit.lua).
So a job that dies, runs twice or beside another does no harm: the next begins where the last confirmation ends.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from redis.asyncio import Redis

from common.errors import Stale
from common.market.instrument import Instrument
from common.market.manifest import ManifestEntry
from common.store import scripts
from common.store.archived import Spans, lost_spans
from common.store.client import translated
from common.store.keys import SymbolKeys
from common.store.reads import SymbolReader

TRADES = "trades"


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many applied trades the archive has not got yet. Times in ms UTC.

    `since_ms`: the watermark when it had all; None if none were ever archived.
    """

    count: int
    since_ms: int | None
    watermark_ms: int


@dataclass(frozen=True, slots=True)
class ArchiveStanding:
    """Where a symbol stands, and its archive, which has the trades of all commits up to `archived_seq` (None: of none).

    `applied`: trades of all commits. `from_ms`: trades up to that time had left the stream when it was first archived,
    so they need not be in the archive; -1: none had. `lost`: where it will never have all of them, either.
    """

    token: str
    seq: int
    watermark_ms: int
    applied: int
    archived_seq: int | None
    from_ms: int
    lost: Spans


class TradeArchive:
    """Through a client that never re-sends."""

    def __init__(self, client: Redis, symbol: str, instrument: Instrument | None = None) -> None:
        """`instrument`: as of a SymbolReader."""
        self.keys = SymbolKeys(symbol)
        self.reader = SymbolReader(client, symbol, instrument)
        self._client = client
        self._confirm = scripts.archived_trades.of(client, self.keys)

    async def standing(self) -> ArchiveStanding | None:
        """None before the first commit."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hmget(self.keys.state, ("token", "seq", "watermark_ms", "applied"))
        pipe.hmget(self.keys.archive, ("trades_seq", "trades_from_ms", "trades_lost"))
        pipe.xrange(self.keys.trades, "-", "+", count=1)
        with translated(f"read of what is archived of {self.keys.symbol}"):
            (token, seq, watermark_ms, applied), (archived_seq, from_ms, lost), oldest = await pipe.execute()
        if seq is None:
            return None
        if from_ms is None:
            # What is gone had trades up to the watermark of the first entry that is left, at most.
            ((entry_id, fields),) = oldest
            from_ms = -1 if entry_id == b"1-0" else fields[b"watermark_ms"]
        return ArchiveStanding(
            token.decode(),
            int(seq),
            int(watermark_ms),
            int(applied or 0),
            None if archived_seq is None else int(archived_seq),
            int(from_ms),
            lost_spans(lost),
        )

    async def confirm(
        self, before: ArchiveStanding, seq: int, watermark_ms: int, entries: Iterable[ManifestEntry] = ()
    ) -> ArchiveStanding:
        """Confirm that the archive has the trades of all commits up to `seq`. Return where it stands then.

        `entries`: of the objects that were written for it.

        Raises Stale if another job came first, or the symbol is not what it was `before` the trades were read.
        """
        # Of a commit in between it is not known how many trades there were up to it.
        applied = before.applied if seq == before.seq else None
        with translated(f"confirmation of the archived trades of {self.keys.symbol}"):
            status, *_ = await self._confirm(
                manifest=self.keys.archived(TRADES),
                token=before.token,
                known_seq=before.archived_seq,
                seq=seq,
                watermark_ms=watermark_ms,
                applied=applied,
                from_ms=before.from_ms,
                entries=[entry.dump() for entry in entries],
            )
        if status == b"STALE":
            raise Stale(f"{self.keys.symbol} has changed since its trades were archived up to commit {seq}")
        return replace(before, archived_seq=seq)


async def waiting(client: Redis, symbols: Iterable[str]) -> dict[str, Waiting]:
    """Return, in one round trip, what waits of each symbol that has ever been written."""
    symbols = list(symbols)
    pipe = client.pipeline(transaction=False)
    for keys in map(SymbolKeys, symbols):
        ask_waiting(pipe, keys)
    with translated("read of the trades that wait for the archive"):
        answers = await pipe.execute()
    pairs = zip(symbols, answers[::2], answers[1::2], strict=True)
    found = {symbol: waiting_of(state, archive) for symbol, state, archive in pairs}
    return {symbol: each for symbol, each in found.items() if each}


def ask_waiting(pipe: Any, keys: SymbolKeys) -> None:
    """Ask for what `waiting_of` reads."""
    pipe.hmget(keys.state, ("watermark_ms", "applied"))
    pipe.hmget(keys.archive, ("trades_ms", "trades_applied"))


def waiting_of(state: list[bytes | None], archive: list[bytes | None]) -> Waiting | None:
    """None before the first commit."""
    (watermark_ms, applied), (since_ms, archived) = state, archive
    if watermark_ms is None:
        return None
    count = int(applied or 0) - int(archived or 0)
    return Waiting(count, None if since_ms is None else int(since_ms), int(watermark_ms))
