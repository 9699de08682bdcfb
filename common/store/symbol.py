"""One symbol's writes: claim, commit, beat, release, and what a worker reads to go on.

Every write is a compare-and-set on the owner's token and on `seq`, and is sent once. After any error the outcome is
unknown: the caller drops what it has in memory and claims again under a new token.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from redis.asyncio import Redis

from common.market.builder.builder import Checkpoint, Minute, unpack_minute
from common.market.builder.gaps import Ledger
from common.market.coding import codec
from common.market.footprint import Footprint
from common.market.scale import Scales
from common.market.timeframes.timeframe import day_of
from common.market.trade import MAX_TS_MS, Trades
from common.series import CANDLES, FOOTPRINTS
from common.store import scripts
from common.store.client import translated
from common.store.commit import Commit, StreamBounds, check
from common.store.format import CHUNKED_COVERAGE, FORMAT, known
from common.store.instrument import DataInstrument, data_instrument
from common.store.keys import SymbolKeys
from common.store.lease import LeaseObservation
from common.store.reads import SymbolReader
from common.store.together import Together

# Entries of the trade stream fetched at once while restoring: at most some 30 MB on the way.
_TAIL_PAGE = 100
# What a worker's minute is made of.
_OF_A_MINUTE = (CANDLES, FOOTPRINTS)
# Where reading backwards ends in a stream from which nothing was cut.
_BEFORE_FIRST = "(1-0"


@dataclass(frozen=True, slots=True)
class Claim:
    """A won claim: where the symbol stands. `checkpoint` is None for a symbol without a commit.

    `candle_floor_ms`: minutes that open before have been dropped, -1 while none were. `import_position`: where the last
    import goes on, should it have been interrupted. `data`: what instrument the data is of; None where it does not say.
    """

    epoch: int
    seq: int
    position: str
    checkpoint: Checkpoint | None
    candle_floor_ms: int = -1
    import_position: str = ""
    data: DataInstrument | None = None
    # How the symbol is written (common.store.format).
    format: int = 1


class Timekeeper(Protocol):
    """Who is told what time it is by the store's clock: common.clock.JudgedClock."""

    def boot_ms(self) -> int: ...

    def heard(self, store_ms: int, asked_boot_ms: int) -> None: ...


class SymbolStore:
    """The keys of one symbol, through a client that never re-sends (common.store.client.commit_client).

    `clock` is told what time it is by the store's, which comes with each answer to a write. `beats`: for a process
    that gives signs of life of many symbols.
    """

    def __init__(
        self,
        client: Redis,
        symbol: str,
        bounds: StreamBounds,
        clock: Timekeeper | None = None,
        beats: Together | None = None,
    ) -> None:
        self.keys = SymbolKeys(symbol)
        self._client = client
        self._bounds = bounds
        self._clock = clock
        # Of sealed blocks, as of our claim.
        self._scales: Scales | None = None
        self._claim = scripts.claim.of(client, self.keys)
        self._commit = scripts.commit.of(client, self.keys)
        self._beat = scripts.beat.through(beats, self.keys) if beats else scripts.beat.of(client, self.keys)
        self._release = scripts.release.of(client, self.keys)

    async def claim(
        self, token: str, stale: LeaseObservation, holder: str, *, force: bool = False
    ) -> Claim | LeaseObservation:
        """Take the symbol under `token`. A LeaseObservation means: busy, and this is what its holder looks like.

        `force`: take it from a holder that lives, too, unless that one has taken it by force. Raises NewerFormat.
        """
        k, asked_ms = self.keys, self._boot_ms()
        with translated(f"claim of {k.symbol}"):
            status, *rest = await self._claim(
                token=token,
                holder=holder,
                seen_token=stale.token,
                seen_beats=stale.beats,
                force=force,
                newest_format=FORMAT,
                events_kept=self._bounds.events,
            )
        if status == b"NEWER":
            known(int(rest[0]), k.symbol)
        if status == b"BUSY":
            return LeaseObservation(rest[0].decode(), rest[1].decode())
        epoch, state, now_ms, chunks = rest
        self._hear(now_ms, asked_ms)
        claim = _claim_of(epoch, _pairs(state), _pairs(chunks), k.symbol)
        self._scales = claim.data.scales if claim.data else None
        return claim

    async def commit(self, commit: Commit) -> int:
        """Apply one step and return how many listen to the trades channel. Raises Fenced, Stale, StoreUnavailable."""
        asked_ms = self._boot_ms()
        with translated(f"commit {commit.seq + 1} of {self.keys.symbol}"):
            result = await self._commit(
                token=commit.token,
                seq=commit.seq,
                next_seq=commit.seq + 1,
                trade_count=commit.trade_count,
                packed_trades=commit.trades,
                message_head=commit.message,
                watermark_ms=commit.checkpoint.watermark_ms,
                trades_kept=self._bounds.trades,
                events_kept=self._bounds.events,
                archived_series=",".join(sorted(self._bounds.archived)),
                coverage_shape=commit.coverage_shape(),
                floors=commit.floors(),
                new_text_ids=commit.text_ids,
                state_fields=commit.state_fields(),
                chunks=commit.checkpoint.chunks,
                health_fields=commit.health,
                gap_puts=commit.gaps,
                forgotten=commit.forgotten,
                minutes=commit.minute_rows(),
                event_texts=commit.events,
                messages=commit.messages,
            )
        check(result, self.keys.symbol, commit.seq)
        self._hear(result[2], asked_ms)
        return int(result[1])

    async def beat(self, token: str, seq: int, health: dict[str, str]) -> None:
        asked_ms = self._boot_ms()
        with translated(f"beat of {self.keys.symbol}"):
            result = await self._beat(token=token, seq=seq, events_kept=self._bounds.events, fields=health)
        check(result, self.keys.symbol, seq)
        self._hear(result[1], asked_ms)

    async def release(self, token: str, health: Mapping[str, str] = MappingProxyType({})) -> None:
        """Give the symbol back. `health`: what is to be told of it until the next holder says otherwise."""
        with translated(f"release of {self.keys.symbol}"):
            await self._release(token=token, events_kept=self._bounds.events, fields=health)

    async def minutes(self, opens: Iterable[int]) -> dict[int, Minute]:
        """Return the stored ones among the closed minutes named by their opens."""
        opens = list(opens)
        pipe = self._client.pipeline(transaction=True)
        for open_ms in opens:
            for series in _OF_A_MINUTE:
                pipe.zrangebyscore(self.keys.minutes(series), open_ms, open_ms)
        pipe.hget(self.keys.state, "sealed_to_ms")
        with translated(f"read of {len(opens)} minutes of {self.keys.symbol}"):
            *found, sealed_to_ms = await pipe.execute()
        pairs = zip(opens, found[::2], found[1::2], strict=True)
        minutes = {open_ms: _minute(c[0], f) for open_ms, c, f in pairs if c}
        # A minute moves from the one place to the other, never back, so it is met in this order.
        sealed = [open_ms for open_ms in opens if open_ms not in minutes and open_ms < int(sealed_to_ms or 0)]
        return minutes | await self._sealed(sealed) if sealed else minutes

    async def _sealed(self, opens: list[int]) -> dict[int, Minute]:
        # Few processes ever amend a sealed day: numpy, a quarter of their memory, is loaded for it.
        unsealed = [series.codec.blocks().at for series in _OF_A_MINUTE]
        days = sorted({day_of(open_ms) for open_ms in opens})
        pipe = self._client.pipeline(transaction=True)
        for series in _OF_A_MINUTE:
            pipe.hmget(self.keys.sealed(series.name), days)
        with translated(f"read of {len(days)} sealed days of {self.keys.symbol}"):
            found = [dict(zip(days, column, strict=True)) for column in await pipe.execute()]
        minutes = {}
        for open_ms in opens:
            day = [column[day_of(open_ms)] for column in found]
            candle, footprint = (
                at(block, open_ms, self._scales) if block else None for at, block in zip(unsealed, day, strict=True)
            )
            if candle:
                minutes[open_ms] = _minute(candle, [footprint] if footprint else [])
        return minutes

    async def recent_trades(self, count: int) -> Trades | None:
        """Return at least the last `count` trades applied, or all there ever were, oldest first.

        None if the stream is shorter than that: it is bounded (`StreamBounds`), and commits without trades fill it too.
        """
        batches, is_whole = await self._recent(count)
        return _joined(batches) if is_whole else None

    async def recent_batches(self, count: int) -> list[bytes]:
        """Return at least the last `count` trades applied, or those that are kept, packed, oldest first."""
        batches, _ = await self._recent(count)
        return batches

    async def _recent(self, count: int) -> tuple[list[bytes], bool]:
        """The last batches, and whether they are as many as asked for, or all there ever were."""
        batches: list[bytes] = []
        found, newest = 0, "+"
        while found < count:
            with translated(f"read of recent trades of {self.keys.symbol}"):
                entries: Any = await self._client.xrevrange(self.keys.trades, newest, "-", count=_TAIL_PAGE)
            if not entries:
                return batches[::-1], newest == _BEFORE_FIRST
            batches += [fields[b"trades"] for _, fields in entries]
            found += sum(int(fields[b"n"]) for _, fields in entries)
            newest = "(" + entries[-1][0].decode()
        return batches[::-1], True

    async def gaps(self) -> Ledger:
        """The gap ledger, as last committed."""
        return await SymbolReader(self._client, self.keys.symbol).gaps()

    async def health(self) -> dict[str, str]:
        """What the holders so far have said of it."""
        with translated(f"read of health of {self.keys.symbol}"):
            found: Any = await self._client.hgetall(self.keys.health)
        return {name.decode(): value.decode() for name, value in found.items()}

    async def taken_from_ms(self) -> int:
        """The time from which on late trades are taken, however old: their minute is there, or an archive has it."""
        if CANDLES.name not in self._bounds.archived:
            return MAX_TS_MS
        pipe = self._client.pipeline(transaction=True)
        pipe.hget(self.keys.state, CANDLES.floor)
        pipe.hget(self.keys.archive, f"{CANDLES.name}_from_ms")
        with translated(f"read of where {self.keys.symbol} begins"):
            floor, archived_from = await pipe.execute()
        return min(int(floor or -1), MAX_TS_MS if archived_from is None else int(archived_from))

    def _boot_ms(self) -> int:
        return self._clock.boot_ms() if self._clock else 0

    def _hear(self, now_ms: bytes, asked_ms: int) -> None:
        if self._clock:
            self._clock.heard(int(now_ms), asked_ms)


def _pairs(found: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(found[::2], found[1::2], strict=True))


def _claim_of(epoch: int, state: dict[bytes, bytes], chunks: dict[bytes, bytes], symbol: str) -> Claim:
    if b"seq" not in state:
        return Claim(epoch, 0, "", None)
    form = int(state.get(b"format", 1))
    checkpoint = Checkpoint(
        int(state[b"watermark_ms"]),
        state[b"candle"],
        state[b"footprint"],
        state[b"newest_span" if form >= CHUNKED_COVERAGE else b"coverage"],
        state[b"refused"],
        int(state.get(b"newest_ms", -1)),
        {int(number): chunk for number, chunk in chunks.items()},
        form >= CHUNKED_COVERAGE,
    )
    # While its first import is under way a symbol has no position but the import's.
    position, import_position = (state.get(name, b"").decode() for name in (b"position", b"import_position"))
    floor_ms = int(state.get(b"candle_floor_ms", -1))
    data = data_instrument(symbol, state[b"instrument"]) if b"instrument" in state else None
    return Claim(epoch, int(state[b"seq"]), position, checkpoint, floor_ms, import_position, data, form)


def _minute(candle: bytes, footprints: list[bytes]) -> Minute:
    """Footprints are kept for less long: a late trade of an old minute finds only its candle to add to."""
    return unpack_minute(candle, footprints[0]) if footprints else Minute(codec.unpack_candle(candle), Footprint())


def _joined(batches: Iterable[bytes]) -> Trades:
    joined = Trades()
    for packed in batches:
        batch = codec.unpack_trades(packed)
        joined.ts_ms += batch.ts_ms
        joined.ids += batch.ids
        joined.price_ticks += batch.price_ticks
        joined.size_lots += batch.size_lots
        joined.sides += batch.sides
    return joined
