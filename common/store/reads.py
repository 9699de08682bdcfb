"""What readers see of a symbol: its state and the parts asked for, from one transaction, so that they agree."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from redis.asyncio import Redis

from common.market.builder.gaps import Ledger
from common.market.builder.late import LatePart
from common.market.instrument import Instrument
from common.series import CANDLES, MinuteSeries
from common.store.archived import ArchivedAll, ArchivedPart, Spans
from common.store.client import translated
from common.store.instrument import data_instrument
from common.store.keys import SymbolKeys
from common.store.manifest import Manifest
from common.store.months import RolledMonth
from common.store.older import UNKNOWN_OLDER, OlderCache
from common.store.parts import NO_DAYS, NO_STREAM, Minutes, Part, Seal, StoredDays, TradeEntry, TradeStream, trade_entry
from common.store.state import StatePart, SymbolState, check_instrument
from common.tiles import TileLevel


@dataclass(frozen=True, slots=True)
class SymbolOwner:
    """`token` is empty while the symbol has no holder; `beat_ms` is the server's time of the last sign of life."""

    token: str
    holder: str
    epoch: int
    beat_ms: int


@dataclass(frozen=True, slots=True)
class View:
    """One consistent look. What was not asked for is empty."""

    # None before the first commit.
    state: SymbolState | None
    owner: SymbolOwner
    health: dict[str, str]
    archived: ArchivedAll
    # Redis' clock, for ages.
    server_ms: int
    # One list per range asked for.
    minutes: list[list[bytes]] = field(default_factory=list)
    stream: TradeStream = NO_STREAM
    # Ascending.
    seals: list[Seal] = field(default_factory=list)
    months: list[RolledMonth] = field(default_factory=list)
    days: StoredDays = NO_DAYS
    # Ascending by minute.
    late: list[LatePart] = field(default_factory=list)
    # Candles that open before are in the archive alone; -1 where no archive is read, and where it has none such.
    archived_to_ms: int = -1
    # By level and open.
    tiles: Mapping[TileLevel, Mapping[int, bytes]] = field(default_factory=dict)
    dirty: frozenset[int] = frozenset()

    def lost(self, series: MinuteSeries) -> Spans:
        """When minutes are lost that the archive alone had."""
        known = self.archived.minutes.get(series.name)
        return known.lost if known else ()


class SymbolReader:
    """Reads of one symbol. Cheap to make; the client is shared.

    `instrument`: what the reader takes the data to be of; a view of other data raises InstrumentChanged. None: any.
    `older`: keeps of coverage what rarely changes, for all readers of a process; None: it is read with each view.
    """

    def __init__(
        self, client: Redis, symbol: str, instrument: Instrument | None = None, *, older: OlderCache | None = None
    ) -> None:
        self.keys = SymbolKeys(symbol)
        self.instrument = instrument
        self._client = client
        self._kept_older = older

    async def view(self, *parts: Part) -> View:
        """Read the state, and the parts asked for; the open minute of candles, and of each series that a part is of."""
        return (await self.views([parts]))[0]

    async def views(self, asked: Sequence[Sequence[Part]]) -> list[View]:
        """Views of one and the same moment, each with its own parts."""
        if self._kept_older and self._kept_older.has(self.keys.symbol):
            views = await self._views(asked, older=False)
            state = views[0].state and self._with_older(views[0].state)
            if state is None or state.older is not UNKNOWN_OLDER:
                return views if state is views[0].state else [replace(view, state=state) for view in views]
        return await self._views(asked, older=True)

    async def _views(self, asked: Sequence[Sequence[Part]], *, older: bool) -> list[View]:
        every = [part for parts in asked for part in parts]
        shared: list[Part] = [StatePart(self.keys.symbol, _opens(every), older), *ALWAYS]
        pipe = self._client.pipeline(transaction=True)
        for part in (*shared, *every):
            part.ask(pipe, self.keys)
        with translated(f"read of {self.keys.symbol}"):
            answers = iter(await pipe.execute())
        view = View(**{part.field: part.read(answers) for part in shared})
        if view.state and self.instrument:
            view.state.check(self.instrument)
        if older and self._kept_older and view.state and view.state.is_chunked:
            self._kept_older.keep(*self._at(view.state), view.state.older)
        # Their answers come in this order.
        return [replace(view, **{part.field: part.read(answers) for part in parts}) for parts in asked]

    def _with_older(self, state: SymbolState) -> SymbolState:
        """With the older spans of coverage that are kept, if they are those of this state."""
        kept = self._kept_older.get(*self._at(state)) if self._kept_older and state.is_chunked else None
        return replace(state, older=kept) if kept else state

    def _at(self, state: SymbolState) -> tuple[str, str, int]:
        return self.keys.symbol, state.token, state.reshaped_seq

    def _check_text(self, text: bytes | None) -> None:
        if text and self.instrument:
            check_instrument(data_instrument(self.keys.symbol, text), self.instrument)

    async def blocks(self, series: MinuteSeries, days: Sequence[int]) -> list[bytes | None]:
        """Return the block of each sealed day, as it is now: its digest tells whether it is still the one of a seal."""
        with translated(f"read of {len(days)} sealed days of {self.keys.symbol}"):
            found: Any = await self._client.hmget(self.keys.sealed(series.name), list(map(str, days)))
        return list(found)

    async def tiles(self, level: TileLevel, opens: Sequence[int]) -> list[bytes | None]:
        """Return tiles as they are now: those of sealed days name the seal that they are made of."""
        with translated(f"read of {len(opens)} tiles of {self.keys.symbol}"):
            found: Any = await self._client.hmget(self.keys.tiles(level), list(map(str, opens)))
        return list(found)

    async def tile_opens(self, level: TileLevel) -> set[int]:
        """Return when the tiles open that there are now."""
        with translated(f"look at tiles of {self.keys.symbol}"):
            found: Any = await self._client.hkeys(self.keys.tiles(level))
        return set(map(int, found))

    async def rolled_months(self, months: Sequence[int]) -> list[bytes | None]:
        """Return the block of 15m candles of each month, as it is now."""
        with translated(f"read of {len(months)} months of {self.keys.symbol}"):
            found: Any = await self._client.hmget(self.keys.rolled_15m, list(map(str, months)))
        return list(found)

    def manifest(self, series: str) -> Manifest:
        """What the archive is known to have of `candles`, `footprints` or `trades`."""
        return Manifest(self._client, self.keys.symbol, series)

    async def entries(self, after_seq: int, count: int) -> list[TradeEntry]:
        """Return up to `count` entries of the trade stream after `after_seq`, oldest first."""
        pipe = self._client.pipeline(transaction=True)
        pipe.xrange(self.keys.trades, f"({after_seq}-0", "+", count=count)
        pipe.hget(self.keys.state, "instrument")
        with translated(f"read of trades of {self.keys.symbol}"):
            found, text = await pipe.execute()
        self._check_text(text)
        return [trade_entry(entry_id, fields) for entry_id, fields in found]

    async def entries_back(self, from_seq: int, count: int) -> tuple[list[TradeEntry], TradeEntry | None]:
        """Return up to `count` entries of the trade stream from commit `from_seq` back, itself included, newest first.

        And the oldest entry the stream had at that moment, None if it was empty.
        """
        pipe = self._client.pipeline(transaction=True)
        pipe.xrevrange(self.keys.trades, f"{from_seq}-0", "-", count=count)
        pipe.xrange(self.keys.trades, "-", "+", count=1)
        pipe.hget(self.keys.state, "instrument")
        with translated(f"read of trades of {self.keys.symbol}"):
            found, oldest, text = await pipe.execute()
        self._check_text(text)
        return [trade_entry(*one) for one in found], trade_entry(*oldest[0]) if oldest else None

    async def gaps(self) -> Ledger:
        """Return the gap ledger, as last committed."""
        with translated(f"read of gaps of {self.keys.symbol}"):
            found: Any = await self._client.hgetall(self.keys.gaps)
        return Ledger.load(found)


def _opens(parts: Sequence[Part]) -> list[MinuteSeries]:
    """Of which series the open minute is read: that of the others may be large."""
    asked = (wanted.series for part in parts if isinstance(part, Minutes) for wanted in part.ranges)
    return list({series.name: series for series in (CANDLES, *asked)}.values())


class _OwnerPart:
    field: ClassVar[str] = "owner"

    def ask(self, pipe: Any, keys: SymbolKeys) -> None:
        pipe.hmget(keys.owner, ("token", "holder", "epoch", "beat_ms"))

    def read(self, answers: Iterator[Any]) -> SymbolOwner:
        token, holder, epoch, beat_ms = (value or b"" for value in next(answers))
        return SymbolOwner(token.decode(), holder.decode(), int(epoch or 0), int(beat_ms or 0))


class _HealthPart:
    field: ClassVar[str] = "health"

    def ask(self, pipe: Any, keys: SymbolKeys) -> None:
        pipe.hgetall(keys.health)

    def read(self, answers: Iterator[Any]) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in next(answers).items()}


class _TimePart:
    field: ClassVar[str] = "server_ms"

    def ask(self, pipe: Any, keys: SymbolKeys) -> None:
        pipe.time()

    def read(self, answers: Iterator[Any]) -> int:
        seconds, micros = next(answers)
        return int(seconds) * 1000 + int(micros) // 1000


# What every view has.
ALWAYS: tuple[Part, ...] = (_OwnerPart(), _HealthPart(), ArchivedPart(), _TimePart())
