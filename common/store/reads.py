"""What readers see of a symbol: its state and ranges of its series, from one transaction, so that they agree."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import orjson
from redis.asyncio import Redis

from common.market.builder.coverage import Coverage
from common.market.builder.coverage_kinds import load_coverage
from common.market.builder.gaps import Ledger
from common.market.builder.late import LatePart
from common.market.instrument import Ids, Instrument
from common.market.scale import Scales
from common.market.timeframes.timeframe import DAY_MS
from common.market.trade import Trades
from common.series import CANDLES, MINUTE_SERIES, MinuteSeries
from common.store.calendars import ADOPTED, NOT_ADOPTED, Adopted
from common.store.client import translated
from common.store.format import CHUNKED_COVERAGE, known
from common.store.instrument import DataInstrument, InstrumentChanged, data_instrument
from common.store.keys import SymbolKeys
from common.store.manifest import Manifest
from common.store.older import NO_OLDER, UNKNOWN_OLDER, OlderCache, OlderSpans

_STATE_FIELDS = (
    "seq",
    "token",
    "watermark_ms",
    "updated_ms",
    "coverage",
    "refused",
    "position",
    "amended",
    "reshaped_seq",
    "sealed_to_ms",
    "format",
    "newest_span",
    "instrument",
)
_ARCHIVED_FIELDS = ("from_ms", "version", "lost")
_ARCHIVED_TRADES_FIELDS = ("trades_seq", "trades_ms", "trades_from_ms", "trades_version", "trades_lost")
# How many amendments commit.lua keeps; a full list may have lost older ones.
AMENDED_KEPT = 16

# Of time: from and to, in ms UTC.
Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Minutes that open in `[start_ms, end_ms)`; with `newest` or `oldest`, at most that many from that end."""

    start_ms: int
    end_ms: int
    newest: int | None = None
    oldest: int | None = None
    series: MinuteSeries = CANDLES

    @classmethod
    def some(
        cls, start_ms: int, end_ms: int, most: int, *, oldest_first: bool, series: MinuteSeries = CANDLES
    ) -> "Range":
        """At most that many, from the one end or the other."""
        newest, oldest = (None, most) if oldest_first else (most, None)
        return cls(start_ms, end_ms, newest, oldest, series)


class Late(NamedTuple):
    """Minutes of a series that open from `start_ms` on, whose late trades wait for the archive."""

    series: MinuteSeries
    start_ms: int


class Seal(NamedTuple):
    """A sealed day: how many members each series has, and the digest of its block."""

    day_ms: int
    # By series, of those that there were when the day was sealed.
    counts: Mapping[str, int]
    digests: Mapping[str, str]

    @classmethod
    def of(cls, text: bytes) -> "Seal":
        """Read `<day>:<count> ...:<digest> ...`, each in the order of MINUTE_SERIES (roll.lua)."""
        day_ms, *parts = text.decode().split(":")
        known = len(parts) // 2
        counts = zip(MINUTE_SERIES, map(int, parts[:known]), strict=False)
        return cls(int(day_ms), dict(counts), dict(zip(MINUTE_SERIES, parts[known:], strict=False)))

    def count(self, series: MinuteSeries) -> int:
        return self.counts.get(series.name, 0)

    def digest(self, series: MinuteSeries) -> str:
        """Empty where nothing of the series is sealed."""
        return self.digests.get(series.name, "")


class Archived(NamedTuple):
    """What the archive has of a series: complete from its first day on, -1 if it has none, in `version`.

    But for the spans `lost`, both ends included, which were given up.
    """

    from_ms: int
    version: int
    lost: Spans = ()


class ArchivedTrades(NamedTuple):
    """The archive has the trades of all commits up to `seq`, whose watermark is `watermark_ms`, in `version`.

    But not all of those traded up to `from_ms` (-1: all), or in one of the spans `lost`, both ends included.
    """

    seq: int
    watermark_ms: int
    from_ms: int
    version: int
    lost: Spans = ()


class Amendment(NamedTuple):
    """Commit `seq` wrote minutes that had been closed before; they open from `from_ms` to `to_ms`, both included."""

    seq: int
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class SymbolState:
    """The last commit."""

    seq: int
    token: str
    watermark_ms: int
    updated_ms: int
    coverage_json: bytes
    refused: dict[str, int]
    position: str
    # The packed member of the open minute, by series: none, or empty, while there is none. The candle's is always
    # read, others only together with their minutes.
    open: Mapping[str, bytes] = field(default_factory=dict)
    # By series: minutes that open before have been dropped.
    floors_ms: Mapping[str, int] = field(default_factory=dict)
    # The last amendments, newest first.
    amended: tuple[Amendment, ...] = ()
    # The last commit that changed coverage otherwise than by letting its newest span grow.
    reshaped_seq: int = 0
    # The end of the newest sealed day, -1 without one.
    sealed_to_ms: int = -1
    # What instrument all of it is of; None in a store of a release that did not say.
    data: DataInstrument | None = None
    # The spans of coverage that `coverage_json` has not: none where it is stored whole.
    older: OlderSpans = field(default=NO_OLDER, compare=False)

    @property
    def candle(self) -> bytes:
        return self.open_of(CANDLES)

    @property
    def candle_floor_ms(self) -> int:
        return self.floor_ms(CANDLES)

    def open_of(self, series: MinuteSeries) -> bytes:
        """The packed member of the open minute, empty while there is none."""
        return self.open.get(series.name, b"")

    def floor_ms(self, series: MinuteSeries) -> int:
        """Before which open minutes have been dropped, -1 while none were."""
        return self.floors_ms.get(series.name, -1)

    def check(self, instrument: Instrument) -> None:
        """Raise InstrumentChanged if the data is of another instrument."""
        _check(self.data, instrument)

    def scales(self, instrument: Instrument) -> Scales:
        """In which scale sealed blocks are read. `instrument`: the registered one, for data that does not say."""
        return (self.data or DataInstrument.begun(instrument)).scales

    @property
    def is_chunked(self) -> bool:
        """Whether coverage is stored by chunks."""
        return self.older is not NO_OLDER

    @property
    def cursor(self) -> str:
        """Names this commit among all that ever were: a rewound store may use a `seq` twice, a token never."""
        return f"{self.seq}-{self.token}"

    def coverage(self, ids: Ids) -> Coverage:
        """For its spans and holes only: without the ids a `RecentCoverage` remembers."""
        return load_coverage(ids, orjson.loads(self.coverage_json), Trades(), self.older.chunks)


@dataclass(frozen=True, slots=True)
class TradeEntry:
    """One commit in the trade stream; `trades` is packed."""

    seq: int
    token: str
    watermark_ms: int
    trades: bytes

    @property
    def cursor(self) -> str:
        return f"{self.seq}-{self.token}"


@dataclass(frozen=True, slots=True)
class SymbolOwner:
    """`token` is empty while nobody holds the symbol; `beat_ms` is the server's time of the last sign of life."""

    token: str
    holder: str
    epoch: int
    beat_ms: int


@dataclass(frozen=True, slots=True)
class View:
    """One consistent look. `state` is None before the first commit. `server_ms`: Redis' clock, for ages.

    `minutes` has one list per range asked for. `first`: the oldest entry of the trade stream; None if it is empty, or
    if no entries were asked for. `seals`: ascending. `days`: stored daily candles. `dirty`: days that have been written
    since they were last rolled up. `archived`: by series of minutes. `late`: ascending by minute. `archived_trades`:
    None if none ever were.
    """

    state: SymbolState | None
    owner: SymbolOwner
    health: dict[str, str]
    server_ms: int
    minutes: list[list[bytes]]
    entries: list[TradeEntry]
    first: TradeEntry | None
    seals: list[Seal] = field(default_factory=list)
    days: list[bytes] = field(default_factory=list)
    dirty: list[int] = field(default_factory=list)
    archived: dict[str, Archived] = field(default_factory=dict)
    late: list[LatePart] = field(default_factory=list)
    archived_trades: ArchivedTrades | None = None
    # By what calendar the stored days are made; read with them.
    adopted: Adopted = NOT_ADOPTED

    def lost(self, series: MinuteSeries) -> Spans:
        """When minutes are lost that the archive alone had."""
        known = self.archived.get(series.name)
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

    async def view(
        self,
        minutes: Sequence[Range] = (),
        since_seq: int | None = None,
        seals_from_ms: int | None = None,
        days: Range | None = None,
        late: Late | None = None,
    ) -> View:
        """Read the state and what is asked for: of minutes, those that are not sealed.

        `since_seq`: trade stream entries from that one on, itself included. `seals_from_ms`: seals of days that end
        after it. `days`: stored daily candles; with them come the days that are dirty. `late`: parts of minutes that
        the archive alone has.
        """
        asked = (minutes, since_seq, seals_from_ms, days, late)
        if self._kept_older and self._kept_older.has(self.keys.symbol):
            view = await self._read_view(*asked, with_older=False)
            if view is not None:
                return view
        view = await self._read_view(*asked, with_older=True)
        assert view, "all of coverage was asked for"
        return view

    async def _read_view(
        self,
        minutes: Sequence[Range],
        since_seq: int | None,
        seals_from_ms: int | None,
        days: Range | None,
        late: Late | None,
        *,
        with_older: bool,
    ) -> View | None:
        """One read. None if the spans of coverage that are kept are not those of this view, and none were asked for."""
        opens = _opens(wanted.series for wanted in minutes)
        pipe = self._client.pipeline(transaction=True)
        ask(pipe, self.keys, opens, older=with_older)
        pipe.hmget(self.keys.owner, ("token", "holder", "epoch", "beat_ms"))
        pipe.hgetall(self.keys.health)
        pipe.hmget(self.keys.archive, [*_archived_fields(), *_ARCHIVED_TRADES_FIELDS])
        pipe.time()
        for wanted in minutes:
            _ask_range(pipe, self.keys.minutes(wanted.series), wanted)
        if since_seq is not None:
            pipe.xrange(self.keys.trades, f"{since_seq}-0", "+")
            pipe.xrange(self.keys.trades, "-", "+", count=1)
        if seals_from_ms is not None:
            pipe.zrangebyscore(self.keys.seals, f"({seals_from_ms - DAY_MS}", "+inf")
        if days:
            pipe.hget(self.keys.rollup, ADOPTED)
            pipe.zrange(self.keys.dirty, 0, -1)
            _ask_range(pipe, self.keys.rolled("1d"), days)
        if late:
            pipe.zrangebyscore(self.keys.late(late.series.name), late.start_ms, "+inf", withscores=True)
        with translated(f"read of {self.keys.symbol}"):
            values, chunks, owner, health, archived, (seconds, micros), *rest = await pipe.execute()
        state = self._with_older(state_of(values, self.keys.symbol, opens), chunks if with_older else None)
        if state and state.older is UNKNOWN_OLDER:
            return None
        parts = rest.pop() if late else []
        day_members, dirty, adopted = (rest.pop(), rest.pop(), rest.pop()) if days else ([], [], None)
        seals = rest.pop() if seals_from_ms is not None else []
        oldest = rest.pop() if since_seq is not None else []
        entries = rest.pop() if since_seq is not None else []
        return View(
            self._checked(state),
            _owner(owner),
            {key.decode(): value.decode() for key, value in health.items()},
            int(seconds) * 1000 + int(micros) // 1000,
            [_ascending(members, wanted) for members, wanted in zip(rest, minutes, strict=True)],
            [_entry(entry_id, fields) for entry_id, fields in entries],
            _entry(*oldest[0]) if oldest else None,
            list(map(Seal.of, seals)),
            _ascending(day_members, days) if days else [],
            sorted(map(int, dirty)),
            _archived(archived[: -len(_ARCHIVED_TRADES_FIELDS)]),
            [LatePart.of(*pair) for pair in parts],
            _archived_trades(archived[-len(_ARCHIVED_TRADES_FIELDS) :]),
            Adopted(adopted or b""),
        )

    def _with_older(self, state: SymbolState | None, chunks: Mapping[bytes, bytes] | None) -> SymbolState | None:
        if state is None or not state.is_chunked:
            return state
        at = (self.keys.symbol, state.token, state.reshaped_seq)
        kept = self._kept_older.get(*at) if self._kept_older else None
        if kept is None and chunks is not None:
            kept = older_of(chunks)
            if self._kept_older:
                self._kept_older.keep(*at, kept)
        return replace(state, older=kept) if kept else state

    def _checked(self, state: SymbolState | None) -> SymbolState | None:
        if state and self.instrument:
            state.check(self.instrument)
        return state

    def _check_text(self, text: bytes | None) -> None:
        if text and self.instrument:
            _check(data_instrument(self.keys.symbol, text), self.instrument)

    async def blocks(self, series: MinuteSeries, days: Sequence[int]) -> list[bytes | None]:
        """Return the block of each sealed day, as it is now: its digest tells whether it is still the one of a seal."""
        with translated(f"read of {len(days)} sealed days of {self.keys.symbol}"):
            found: Any = await self._client.hmget(self.keys.sealed(series.name), list(map(str, days)))
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
        return [_entry(entry_id, fields) for entry_id, fields in found]

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
        return [_entry(*one) for one in found], _entry(*oldest[0]) if oldest else None

    async def gaps(self) -> Ledger:
        """Return the gap ledger, as last committed."""
        with translated(f"read of gaps of {self.keys.symbol}"):
            found: Any = await self._client.hgetall(self.keys.gaps)
        return Ledger.load(found)


def _check(data: DataInstrument | None, instrument: Instrument) -> None:
    if data and data.instrument != instrument:
        raise InstrumentChanged(f"symbol {instrument.symbol} has been changed meanwhile, ask again")


def _ask_range(pipe: Any, key: str, wanted: Range) -> None:
    before_end = f"({wanted.end_ms}"
    if wanted.newest is not None:
        pipe.zrevrangebyscore(key, before_end, wanted.start_ms, start=0, num=wanted.newest)
    elif wanted.oldest is not None:
        pipe.zrangebyscore(key, wanted.start_ms, before_end, start=0, num=wanted.oldest)
    else:
        pipe.zrangebyscore(key, wanted.start_ms, before_end)


def _ascending(members: list[bytes], wanted: Range) -> list[bytes]:
    return members[::-1] if wanted.newest is not None else members


def _opens(asked: Iterable[MinuteSeries]) -> list[MinuteSeries]:
    """Of which series the open minute is read: that of the others may be large."""
    return list({series.name: series for series in (CANDLES, *asked)}.values())


def ask(pipe: Any, keys: SymbolKeys, opens: Sequence[MinuteSeries] = (CANDLES,), *, older: bool = True) -> None:
    """Ask for the state, and the older spans of coverage: two answers.

    `opens`: series of which the open minute is read, too. A packed footprint is by far the state's largest field.
    """
    pipe.hmget(keys.state, _state_fields(opens))
    if older:
        pipe.hgetall(keys.coverage)
    else:
        # As many answers either way.
        pipe.hlen(keys.coverage)


def _state_fields(opens: Iterable[MinuteSeries]) -> list[str]:
    floors = (series.floor for series in MINUTE_SERIES.values())
    return [*_STATE_FIELDS, *floors, *(series.member for series in opens)]


def state_of(values: list[bytes | None], symbol: str, opens: Sequence[MinuteSeries] = (CANDLES,)) -> SymbolState | None:
    """Read the first answer to `ask`. None before the first commit. Raises NewerFormat."""
    if values[0] is None:
        return None
    known_to = len(_STATE_FIELDS)
    floors_to = known_to + len(MINUTE_SERIES)
    seq, token, watermark_ms, updated_ms, coverage, refused, position, *rest = (v or b"" for v in values[:known_to])
    amended, reshaped_seq, sealed_to_ms, form, newest_span, data = rest
    floors = zip(MINUTE_SERIES, values[known_to:floors_to], strict=True)
    is_chunked = known(int(form or 1), symbol) >= CHUNKED_COVERAGE
    return SymbolState(
        int(seq),
        token.decode(),
        int(watermark_ms),
        int(updated_ms or 0),
        newest_span if is_chunked else coverage,
        orjson.loads(refused),
        position.decode(),
        {series.name: packed or b"" for series, packed in zip(opens, values[floors_to:], strict=True)},
        {name: int(floor_ms or -1) for name, floor_ms in floors},
        tuple(Amendment(*map(int, item.split(b":"))) for item in amended.split(b";")) if amended else (),
        int(reshaped_seq or 0),
        int(sealed_to_ms or -1),
        data_instrument(symbol, data) if data else None,
        UNKNOWN_OLDER if is_chunked else NO_OLDER,
    )


def older_of(chunks: Mapping[bytes, bytes]) -> OlderSpans:
    """Read the second answer to `ask`."""
    return OlderSpans({int(number): chunk for number, chunk in chunks.items()})


def _owner(values: list[bytes | None]) -> SymbolOwner:
    token, holder, epoch, beat_ms = (v or b"" for v in values)
    return SymbolOwner(token.decode(), holder.decode(), int(epoch or 0), int(beat_ms or 0))


def _archived_fields() -> list[str]:
    return [f"{name}_{field_name}" for name in MINUTE_SERIES for field_name in _ARCHIVED_FIELDS]


def _archived(values: list[bytes | None]) -> dict[str, Archived]:
    """Read the answer to `_archived_fields`."""
    found: dict[str, Archived] = {}
    for name, from_ms, version, lost in zip(MINUTE_SERIES, values[::3], values[1::3], values[2::3], strict=True):
        found[name] = Archived(_or_none(from_ms), _or_none(version), lost_spans(lost))
    return found


def _or_none(value: bytes | None) -> int:
    return -1 if value is None else int(value)


def _archived_trades(values: list[bytes | None]) -> ArchivedTrades | None:
    seq, watermark_ms, from_ms, version, lost = values
    if seq is None:
        return None
    return ArchivedTrades(int(seq), int(watermark_ms or -1), int(from_ms or -1), int(version or 0), lost_spans(lost))


def touches(spans: Spans, from_ms: int, end_ms: int) -> bool:
    """Whether one of the spans has a time in `[from_ms, end_ms)`."""
    return any(first < end_ms and last >= from_ms for first, last in spans)


def lost_spans(text: bytes | None) -> Spans:
    """Read `<series>_lost` (lost.lua): spans of time, both ends included, ascending."""
    pairs = (span.split(b":") for span in text.split(b";")) if text else ()
    return tuple((int(from_ms), int(to_ms)) for from_ms, to_ms in pairs)


def _entry(entry_id: bytes, fields: dict[bytes, bytes]) -> TradeEntry:
    return TradeEntry(
        int(entry_id.partition(b"-")[0]),
        fields[b"token"].decode(),
        int(fields[b"watermark_ms"]),
        fields[b"trades"],
    )
