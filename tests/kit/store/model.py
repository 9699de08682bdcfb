"""The four Lua scripts and the worker's reads, said once more in Python: a store without Redis.

The simulation and the worker tests run on it; tests/common/store/test_model.py holds it equal to the scripts, command
by command, on fakeredis and on the real server. Two switches take a guard away, for the negative controls.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from common.errors import Fenced, Stale, StoreUnavailable
from common.market.builder.builder import Checkpoint, Minute, unpack_minute
from common.market.builder.gaps import Ledger
from common.market.coding import codec
from common.market.footprint import Footprint
from common.market.timeframes.timeframe import day_of
from common.market.trade import MAX_TS_MS, Trades
from common.series import CANDLES, FOOTPRINTS
from common.store.commit import Commit, StreamBounds
from common.store.instrument import DataInstrument
from common.store.lease import LeaseObservation
from common.store.symbol import Claim

# A step of the trimming loop in commit.lua drops one entry; it makes at most that many a commit.
TRIM_STEPS = 64
MAX_TEXT_IDS = 10_000


class Entry(NamedTuple):
    """One entry of the trade stream, id `<seq>-0`."""

    seq: int
    token: str
    trade_count: int
    watermark_ms: int
    trades: bytes


@dataclass(slots=True)
class Tables:
    """All that Redis holds of one symbol. `token` is None before the first claim, `checkpoint` before a commit."""

    token: str | None = None
    holder: str = ""
    beats: int = 0
    epoch: int = 0
    seq: int = 0
    writer: str = ""
    position: str = ""
    checkpoint: Checkpoint | None = None
    kept: int = 0
    entries: list[Entry] = field(default_factory=list)
    candles: dict[int, bytes] = field(default_factory=dict)
    footprints: dict[int, bytes] = field(default_factory=dict)
    events: list[tuple[str, bytes]] = field(default_factory=list)
    health: dict[str, str] = field(default_factory=dict)
    gaps: dict[str, bytes] = field(default_factory=dict)
    dirty: dict[int, int] = field(default_factory=dict)
    candle_floor_ms: int = -1
    footprint_floor_ms: int = -1
    data: DataInstrument | None = None
    format: int = 1
    # By score.
    text_ids: dict[str, int] = field(default_factory=dict)
    note: str | None = None

    def copy(self) -> "Tables":
        return replace(
            self,
            entries=self.entries.copy(),
            candles=self.candles.copy(),
            footprints=self.footprints.copy(),
            events=self.events.copy(),
            health=self.health.copy(),
            gaps=self.gaps.copy(),
            dirty=self.dirty.copy(),
            text_ids=self.text_ids.copy(),
        )


@dataclass(slots=True)
class StoreModel:
    """`has_fence`: commits and beats compare the token. `has_seq_check`: they compare `seq`."""

    bounds: StreamBounds
    has_fence: bool = True
    has_seq_check: bool = True
    tables: Tables = field(default_factory=Tables)

    def claim(self, token: str, stale: LeaseObservation, holder: str) -> Claim | LeaseObservation:
        t = self.tables
        if t.token and stale != (t.token, str(t.beats)):
            return LeaseObservation(t.token, str(t.beats))
        t.epoch += 1
        t.beats += 1
        t.token, t.holder = token, holder
        return Claim(t.epoch, t.seq, t.position, t.checkpoint, t.candle_floor_ms, data=t.data, format=t.format)

    def holder(self) -> LeaseObservation | None:
        """Who has it: what common.store.owners reads."""
        t = self.tables
        return LeaseObservation(t.token, str(t.beats)) if t.token else None

    def commit(self, commit: Commit) -> int:
        self._check(commit.token, commit.seq)
        t, seq = self.tables, commit.seq + 1
        if t.entries and seq <= t.entries[-1].seq:
            raise StoreUnavailable(f"XADD of {seq}-0 was refused")
        watermark_ms = commit.checkpoint.watermark_ms
        t.entries.append(Entry(seq, commit.token, commit.trade_count, watermark_ms, commit.trades))
        t.kept += commit.trade_count
        self._trim()
        t.beats += 1
        t.seq, t.writer, t.position = seq, commit.token, commit.position
        t.checkpoint = _stored(commit.checkpoint, t.checkpoint.chunks if t.checkpoint else {})
        t.format = max(t.format, commit.format)
        t.data = commit.data or t.data
        for score, text in enumerate(commit.text_ids, max(t.text_ids.values(), default=0) + 1):
            t.text_ids[text] = score
        for text in sorted(t.text_ids, key=t.text_ids.__getitem__)[:-MAX_TEXT_IDS]:
            del t.text_ids[text]
        t.note = commit.note if commit.note is not None else t.note
        t.health.update(commit.health)
        t.gaps.update(commit.gaps)
        for gap_id in commit.forgotten:
            t.gaps.pop(gap_id, None)
        for open_ms, (candle, footprint) in commit.minutes.items():
            if open_ms >= t.candle_floor_ms:
                t.dirty[day_of(open_ms)] = seq
                t.candles[open_ms] = candle
                t.footprints.pop(open_ms, None)
                if footprint and open_ms >= t.footprint_floor_ms:
                    t.footprints[open_ms] = footprint
        if CANDLES.name in commit.floors_ms:
            t.candle_floor_ms = max(t.candle_floor_ms, commit.floors_ms[CANDLES.name])
            t.candles = _from(t.candles, t.candle_floor_ms)
        if FOOTPRINTS.name in commit.floors_ms:
            t.footprint_floor_ms = max(t.footprint_floor_ms, commit.floors_ms[FOOTPRINTS.name])
            t.footprints = _from(t.footprints, t.footprint_floor_ms)
        t.events += [(f"{seq}-{at}", event) for at, event in enumerate(commit.events, 1)]
        del t.events[: -self.bounds.events]
        return 0

    def beat(self, token: str, seq: int, health: dict[str, str]) -> None:
        self._check(token, seq)
        self.tables.beats += 1
        self.tables.health.update(health)

    def release(self, token: str, health: Mapping[str, str] = MappingProxyType({})) -> None:
        if self.tables.token == token:
            self.tables.token = ""
            self.tables.health.update(health)

    def minutes(self, opens: Iterable[int]) -> dict[int, Minute]:
        return {open_ms: self._minute(open_ms) for open_ms in opens if open_ms in self.tables.candles}

    def gaps(self) -> Ledger:
        return Ledger.load(self.tables.gaps)

    def health(self) -> dict[str, str]:
        return self.tables.health.copy()

    def recent_trades(self, count: int) -> Trades | None:
        """All that is kept, if it is as many as asked for, or all there ever were."""
        joined = Trades()
        for entry in self.tables.entries:
            joined += codec.unpack_trades(entry.trades)
        is_whole = len(joined) >= count or [entry.seq for entry in self.tables.entries[:1]] == [1]
        return joined if is_whole else None

    def recent_batches(self, count: int) -> list[bytes]:
        return [entry.trades for entry in self.tables.entries]

    def _minute(self, open_ms: int) -> Minute:
        candle, footprint = self.tables.candles[open_ms], self.tables.footprints.get(open_ms)
        return unpack_minute(candle, footprint) if footprint else Minute(codec.unpack_candle(candle), Footprint())

    def _check(self, token: str, seq: int) -> None:
        if self.has_fence and self.tables.token != token:
            raise Fenced("another holder")
        if self.has_seq_check and self.tables.seq != seq:
            raise Stale(f"not at seq {seq} any more")

    def _trim(self) -> None:
        """Keep as many whole entries as `bounds.trades` trades need, and no more entries than that either."""
        t, most = self.tables, self.bounds.trades
        for _ in range(TRIM_STEPS):
            length, oldest = len(t.entries), t.entries[0].trade_count
            needed = length <= most and (t.kept <= most or t.kept - oldest < most)
            if length == 1 or needed:
                break
            del t.entries[0]
            t.kept -= oldest


class DirectStore:
    """The model as workers.symbol.term.Store: every command answers at once."""

    def __init__(self, model: StoreModel) -> None:
        self.model = model

    async def claim(self, token: str, stale: LeaseObservation, holder: str) -> Claim | LeaseObservation:
        return self.model.claim(token, stale, holder)

    async def commit(self, commit: Commit) -> int:
        return self.model.commit(commit)

    async def beat(self, token: str, seq: int, health: dict[str, str]) -> None:
        self.model.beat(token, seq, health)

    async def release(self, token: str, health: Mapping[str, str] = MappingProxyType({})) -> None:
        self.model.release(token, health)

    async def minutes(self, opens: list[int]) -> dict[int, Minute]:
        return self.model.minutes(opens)

    async def gaps(self) -> Ledger:
        return self.model.gaps()

    async def health(self) -> dict[str, str]:
        return self.model.health()

    async def taken_from_ms(self) -> int:
        return MAX_TS_MS

    async def recent_trades(self, count: int) -> Trades | None:
        return self.model.recent_trades(count)

    async def recent_batches(self, count: int) -> list[bytes]:
        return self.model.recent_batches(count)


def _stored(checkpoint: Checkpoint, chunks: Mapping[int, bytes]) -> Checkpoint:
    """As it is read again: with all chunks of coverage. `chunks`: those that were there."""
    if not checkpoint.is_chunked:
        return checkpoint
    merged = {number: chunk for number, chunk in {**chunks, **checkpoint.chunks}.items() if chunk}
    return replace(checkpoint, chunks=merged, is_reshaped=False)


def _from(series: dict[int, bytes], floor_ms: int) -> dict[int, bytes]:
    return {open_ms: packed for open_ms, packed in series.items() if open_ms >= floor_ms}
