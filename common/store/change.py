"""Changing the instrument of a symbol that has data: what is read for it, laid down beside it, and taken in at once.

Whatever the change takes to make is laid down in shadows of the series while the symbol is served as before. Then the
symbol is claimed by force, what came meanwhile is laid down as well, and one script puts the shadows in the place of
the series, with the new instrument. Killed before that script, nothing has changed; after it, everything has.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redis.asyncio import Redis

from common.errors import Stale
from common.market.coding import codec
from common.series import MINUTE_SERIES
from common.store import scripts
from common.store.client import translated
from common.store.commit import check
from common.store.keys import SymbolKeys
from common.store.script import Rows
from common.store.state import StatePart, SymbolState

# What one command reads or writes: some 5 MB, and few milliseconds in which the store does nothing else.
PAGE = 2_000
_BEFORE_FIRST = "-"


class ShadowMark(NamedTuple):
    """What shadows were made of: the writer's token and seq, and the version of the roll-ups."""

    token: str
    seq: int
    version: str


class ScoredMember(NamedTuple):
    """A member of a sorted set."""

    score: int
    member: bytes


class StoredEntry(NamedTuple):
    """An entry of the trade stream, as it is stored. `trades`: packed."""

    id: str
    token: bytes
    n: bytes
    watermark_ms: bytes
    trades: bytes


@dataclass(frozen=True, slots=True)
class ChangeStart:
    """Where a symbol stands, and what a change begins with."""

    state: SymbolState
    mark: ShadowMark
    # Days that are sealed.
    sealed: tuple[int, ...]
    # The archive has, or once had, something of the symbol; candles from that day (ms) on, -1 if none.
    is_archived: bool
    archived_from_ms: int


@dataclass(frozen=True, slots=True)
class Change:
    """The step in which a symbol's data becomes that of another instrument. `seq`: where the symbol stands."""

    token: str
    seq: int
    version: str
    # Fields of the state.
    state: Mapping[str, bytes]
    # Whether the series are replaced by their shadows.
    with_shadows: bool = False
    # Packed chunks of coverage by number, in the place of those there are; None leaves these.
    chunks: Mapping[int, bytes] | None = None
    # Roll-ups that open from there on are dropped; None drops none.
    rolled_from_ms: int | None = None
    # Days that are to be rolled up once more.
    dirty: Sequence[int] = ()
    # Whether archived objects may be of another scale now.
    rescale: bool = False
    # As in a Commit.
    gaps: Mapping[str, bytes] = field(default_factory=dict)
    events: Sequence[bytes] = ()
    messages: Sequence[tuple[str, bytes]] = ()


class ChangeStore:
    """Through a client that never re-sends."""

    def __init__(self, client: Redis, symbol: str, events_kept: int) -> None:
        self.keys = SymbolKeys(symbol)
        self._client = client
        self._events_kept = events_kept
        self._stage = scripts.stage_change.of(client, self.keys)
        self._change = scripts.change.of(client, self.keys)

    async def begin(self, token: str) -> None:
        """Take the place of any change that was begun before. What it has laid down is dropped."""
        shadows = map(self.keys.shadow, self.keys.rewritten())
        pipe = self._client.pipeline(transaction=True)
        pipe.delete(self.keys.changing, *shadows)
        pipe.hset(self.keys.changing, "token", token)
        with translated(f"beginning of a change of {self.keys.symbol}"):
            await pipe.execute()

    async def drop(self, token: str) -> None:
        """Leave nothing behind of a change that was given up."""
        with translated(f"end of a change of {self.keys.symbol}"):
            found: Any = await self._client.hget(self.keys.changing, "token")
            if found == token.encode():
                await self._client.delete(self.keys.changing, *map(self.keys.shadow, self.keys.rewritten()))

    async def look(self) -> ChangeStart | None:
        """None before the first commit."""
        k, asked = self.keys, StatePart(self.keys.symbol, list(MINUTE_SERIES.values()))
        pipe = self._client.pipeline(transaction=True)
        asked.ask(pipe, k)
        pipe.hget(k.rollup, "version")
        pipe.zrange(k.seals, 0, -1, withscores=True)
        pipe.hmget(k.archive, [*(f"{name}_from_ms" for name in MINUTE_SERIES), "trades_seq"])
        with translated(f"look at {k.symbol}"):
            answers = iter(await pipe.execute())
        state = asked.read(answers)
        if state is None:
            return None
        version, seals, archived = answers
        mark = ShadowMark(state.token, state.seq, (version or b"0").decode())
        days = tuple(sorted(int(score) for _, score in seals))
        return ChangeStart(state, mark, days, any(value is not None for value in archived), int(archived[0] or -1))

    async def rows(
        self, key: str, from_score: int | None = None, to_score: int | None = None
    ) -> AsyncIterator[list[ScoredMember]]:
        """Yield the members of a sorted set by score, page by page: those of scores between, both included."""
        least: int | str = "-inf" if from_score is None else from_score
        most: int | str = "+inf" if to_score is None else to_score
        skipped = 0
        while True:
            with translated(f"read of {key}"):
                found: Any = await self._client.zrangebyscore(key, least, most, skipped, PAGE, withscores=True)
            if not found:
                return
            page = [ScoredMember(int(score), member) for member, score in found]
            yield page
            # Late parts may share a score: those of the last one that were read are skipped.
            last = page[-1].score
            same = sum(row.score == last for row in page)
            skipped, least = (skipped + same if least == last else same), last
            if len(found) < PAGE:
                return

    async def entries(self, after: str) -> list[StoredEntry]:
        """Return the next entries of the trade stream, at most PAGE; `after` an id, "" from the first on."""
        with translated(f"read of trades of {self.keys.symbol}"):
            start = f"({after}" if after else _BEFORE_FIRST
            found: Any = await self._client.xrange(self.keys.trades, start, "+", count=PAGE)
        return [
            StoredEntry(entry_id.decode(), f[b"token"], f[b"n"], f[b"watermark_ms"], f[b"trades"])
            for entry_id, f in found
        ]

    async def put(self, token: str, key: str, rows: Sequence[ScoredMember]) -> None:
        """Lay members of a series down in its shadow."""
        for at in range(0, len(rows), PAGE):
            await self._staged(token, key, "put", rows[at : at + PAGE])

    async def cut(self, token: str, key: str, spans: Iterable[tuple[int, int]]) -> None:
        """Take scores, both ends included, out of the shadow of a series."""
        rows = list(spans)
        if rows:
            await self._staged(token, key, "cut", rows)

    async def add(self, token: str, entries: Sequence[StoredEntry]) -> None:
        """Lay entries of the trade stream down, ascending."""
        for at in range(0, len(entries), PAGE):
            await self._staged(token, self.keys.trades, "add", entries[at : at + PAGE])

    async def hold(self, token: str, for_ms: int) -> None:
        """Have no roll-up taken in for so long."""
        await self._staged(token, self.keys.trades, "hold", [(for_ms,)])

    async def finish(self, change: Change) -> None:
        """Raises Fenced, Stale, StoreUnavailable."""
        k = self.keys
        with translated(f"change of {k.symbol}"):
            result = await self._change(
                rewritten=[each for key in k.rewritten() for each in (key, k.shadow(key))],
                token=change.token,
                seq=change.seq,
                next_seq=change.seq + 1,
                version=change.version,
                no_trades=codec.NO_TRADES,
                events_kept=self._events_kept,
                rolled_from_ms=change.rolled_from_ms,
                with_shadows=change.with_shadows,
                with_rescale=change.rescale,
                with_chunks=change.chunks is not None,
                state_fields=change.state,
                chunks=change.chunks or {},
                days=change.dirty,
                gap_puts=change.gaps,
                event_texts=change.events,
                messages=change.messages,
            )
        check(result, k.symbol, change.seq)

    async def _staged(self, token: str, key: str, how: str, rows: Rows) -> None:
        with translated(f"change of {key}"):
            status, *_ = await self._stage(shadow=self.keys.shadow(key), token=token, how=how, rows=rows)
        if status == b"STALE":
            raise Stale(f"another change of {self.keys.symbol} has begun")
