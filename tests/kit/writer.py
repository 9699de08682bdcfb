"""Writes a symbol as a worker does: Builder, make_commit, SymbolStore. And makes the accidents of a worker's life."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

from redis.asyncio import Redis

from common.market.builder.builder import Builder
from common.market.candle import LIVE
from common.market.instrument import Instrument
from common.market.trade import Trade, Trades
from common.store.commit import StreamBounds
from common.store.format import CHUNKED_COVERAGE, DELTA_RANGES, FORMAT
from common.store.instrument import DataInstrument
from common.store.keys import SymbolKeys
from common.store.lease import NOTHING_SEEN, LeaseObservation, new_token
from common.store.registry import Market, Registry
from common.store.rollups import RollupStore
from common.store.symbol import Claim, SymbolStore
from workers.rollup.day import Older, Ranged, roll_day
from workers.rollup.day_tiles import make_day_tiles
from workers.symbol.commit import CommitHead, Retention, make_commit

START_MS = 1_700_000_000_000
GRACE_MS = 2_000
INSTRUMENT = Instrument("TEST:BTC.USD_1-2", 2, 3, "contiguous")
KEEP_ALL = Retention(candle_days=400, footprint_days=400)


@dataclass(slots=True)
class Applied:
    """A trade in the store, with the watermark just before it, for an oracle of bars shorter than a minute."""

    trade: Trade
    before_ms: int


@dataclass(slots=True)
class Saved:
    """All of a symbol at one moment: what a store may go back to."""

    keys: dict[str, bytes]
    seq: int
    cursor: str
    applied: list[Applied]
    next_id: int
    missing: list[Trade]


@dataclass(slots=True)
class Writer:
    client: Redis
    instrument: Instrument = INSTRUMENT
    retention: Retention = KEEP_ALL
    # Series of which only what the archive has is dropped.
    archived: frozenset[str] = frozenset()
    # How the roll-up jobs read the archive, if there is one.
    older: Older | None = None
    ranged: Ranged | None = None
    trades_kept: int = 100_000
    sources: int = LIVE
    now_ms: int = START_MS
    next_id: int = 1
    token: str = ""
    seq: int = 0
    # The form in which it writes.
    format: int = FORMAT
    # Whether the data says of which instrument it is.
    said: bool = False
    # Of the last commit, whoever made it.
    cursor: str = "0-"
    applied: list[Applied] = field(default_factory=list)
    # Trades that were left out: holes in the ids, to be filled later.
    missing: list[Trade] = field(default_factory=list)
    builder: Builder = field(init=False)
    _store: tuple[tuple[Redis, StreamBounds], SymbolStore] | None = None

    @classmethod
    async def begun(cls, client: Redis, **options: Any) -> "Writer":
        """A symbol that is registered and claimed, without a commit."""
        made = cls(client, **options)
        await made.register()
        await made.claim()
        return made

    @property
    def store(self) -> SymbolStore:
        """The one it has claimed the symbol with; another one where client, or how much is kept, has changed since."""
        made_of = self.client, StreamBounds(self.trades_kept, 10_000, self.archived)
        if self._store is None or self._store[0] != made_of:
            self._store = made_of, SymbolStore(self.client, self.instrument.symbol, made_of[1])
        return self._store[1]

    async def register(self, **source: Any) -> None:
        await Registry(self.client).add_symbol(Market(self.instrument, {"kind": "inbox"} | source))

    async def claim(self) -> None:
        """Take the symbol over, as another worker: under a new token, from the last checkpoint."""
        self.token = new_token()
        claim = await self.store.claim(self.token, NOTHING_SEEN, "tests:1")
        if isinstance(claim, LeaseObservation):
            # A lease has passed, and the holder's heart stood still.
            claim = await self.store.claim(self.token, claim, "tests:1")
        assert isinstance(claim, Claim)
        self.seq, self.said = claim.seq, claim.data is not None
        if claim.checkpoint is None:
            self.builder = Builder.new(self.instrument, self.sources, GRACE_MS)
        else:
            recent = await self.store.recent_trades(50_000)
            self.builder = Builder.restore(self.instrument, claim.checkpoint, recent, self.sources, GRACE_MS)
        self.upgrade(max(claim.format, self.format))

    def upgrade(self, to: int) -> None:
        """From the next commit on."""
        self.format = to
        self.builder.keep_coverage(is_chunked=to >= CHUNKED_COVERAGE)
        self.builder.has_delta_range = to >= DELTA_RANGES

    async def commit(self, *trades: Trade, health: dict[str, str] | None = None) -> str:
        """One step with these trades, and what the clock closes. Return its cursor."""
        watermark_ms = self.builder.watermark_ms
        accepted = self.builder.accept(Trades.of(trades), self.now_ms)
        stored = await self.store.minutes(self.builder.late_minutes(accepted))
        before = {open_ms: minute.candle for open_ms, minute in stored.items()}
        changes = self.builder.apply(accepted, self.now_ms, stored)
        for trade in accepted.rows():
            self.applied.append(Applied(trade, watermark_ms))
            watermark_ms = max(watermark_ms, trade.ts_ms)
        head = CommitHead(self.token, self.seq, "", health or {"mode": "LIVE", "source": "inbox"}, stored=before)
        head = replace(head, format=self.format)
        commit = make_commit(head, self.builder, changes, self.retention)
        await self.store.commit(replace(commit, data=None if self.said else DataInstrument.begun(self.instrument)))
        self.said = True
        self.seq += 1
        self.cursor = f"{self.seq}-{self.token}"
        return self.cursor

    def trade(self, ts_ms: int | None = None, ticks: int = 10_000, lots: int = 5, side: int = 0) -> Trade:
        """The next trade, now unless said otherwise; the clock is moved on to it."""
        self.next_id += 1
        self.now_ms = max(self.now_ms, ts_ms or 0)
        return Trade(self.now_ms if ts_ms is None else ts_ms, self.next_id - 1, ticks, lots, side)

    async def roll_up(self) -> None:
        """What the roll-up jobs do: finished days are rolled up and sealed."""
        market = Market(self.instrument)
        for day_ms in (await RollupStore(self.client, market.symbol).due()).days:
            assert await roll_day(self.client, market, day_ms, older=self.older, ranged=self.ranged)
        await make_day_tiles(self.client, market, lambda: False)

    async def save(self) -> Saved:
        found = {}
        for key in SymbolKeys(self.instrument.symbol).all_keys():
            packed: Any = await self.client.dump(key)
            if packed is not None:
                found[key] = packed
        return Saved(found, self.seq, self.cursor, self.applied.copy(), self.next_id, self.missing.copy())

    async def rewind(self, saved: Saved) -> None:
        """The store goes back in time, as after a failover; then somebody claims, and ids are given out again."""
        pipe = self.client.pipeline(transaction=True)
        pipe.delete(*SymbolKeys(self.instrument.symbol).all_keys())
        for key, packed in saved.keys.items():
            pipe.restore(key, 0, packed)
        await pipe.execute()
        self.seq, self.cursor, self.next_id = saved.seq, saved.cursor, saved.next_id
        self.applied, self.missing = saved.applied.copy(), saved.missing.copy()
        await self.claim()


def some_trades(writer: Writer, rng: random.Random, count: int) -> list[Trade]:
    """Trades of the next moments: most in order, some late by seconds or hours, some left out for now."""
    trades = []
    for _ in range(count):
        writer.now_ms += rng.choice((0, 1, 40, 300, 2_000, 2_000, 20_000, 70_000 if rng.random() < 0.3 else 900))
        late_ms = 0
        if rng.random() < 0.15:
            late_ms = rng.choice((30, 700, 5_000, 65_000, 20 * 60_000, 5 * 3_600_000))
        trade = writer.trade(
            max(START_MS, writer.now_ms - late_ms), rng.randint(9_000, 11_000), rng.randint(0, 50), rng.randint(0, 2)
        )
        if rng.random() < 0.02:
            writer.missing.append(trade)
        else:
            trades.append(trade)
    return trades


async def random_step(writer: Writer, rng: random.Random) -> None:
    """One commit of a random kind."""
    kind = rng.random()
    if rng.random() < 0.1:
        await writer.roll_up()
    if kind < 0.12:
        # Nobody trades: the clock closes.
        writer.now_ms += rng.choice((1_000, 63_000, 16 * 60_000, 26 * 3_600_000 if rng.random() < 0.4 else 3_000))
        await writer.commit()
    elif kind < 0.2 and writer.missing:
        rng.shuffle(writer.missing)
        filled = [writer.missing.pop() for _ in range(rng.randint(1, len(writer.missing)))]
        await writer.commit(*filled, *some_trades(writer, rng, rng.randint(0, 2)))
    elif kind < 0.24 and writer.applied:
        # Known already: refused, nothing changes.
        await writer.commit(rng.choice(writer.applied).trade)
    else:
        await writer.commit(*some_trades(writer, rng, rng.choice((1, 1, 2, 5, 40))))


async def some_accident(client: Redis, writer: Writer, rng: random.Random, saved: Saved | None) -> None:
    """Readers lose their connections, another worker takes over, or the store goes back in time."""
    kind = rng.random()
    if kind < 0.4:
        await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
    elif kind < 0.8 or saved is None:
        await writer.claim()
    else:
        await writer.rewind(saved)
        # A rewind shows with the next commit.
        await random_step(writer, rng)
