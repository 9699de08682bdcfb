"""The state of a symbol: what its last commit left, and how it is asked for and read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import orjson

from common.market.builder.coverage import Coverage
from common.market.builder.coverage_kinds import load_coverage
from common.market.instrument import Ids, Instrument
from common.market.scale import Scales
from common.market.trade import Trades
from common.series import CANDLES, MINUTE_SERIES, MinuteSeries
from common.store.format import CHUNKED_COVERAGE, known
from common.store.instrument import DataInstrument, InstrumentChanged, data_instrument
from common.store.keys import SymbolKeys
from common.store.older import NO_OLDER, UNKNOWN_OLDER, OlderSpans

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
# How many amendments commit.lua keeps; a full list may have lost older ones.
AMENDED_KEPT = 16


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
    # In which it is written (common.store.format).
    format: int = 1

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
        check_instrument(self.data, instrument)

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
class StatePart:
    """Of which symbol; None before the first commit.

    `opens`: series of which the open minute is read, too: a packed footprint is by far the state's largest field.
    `older`: whether the older spans of coverage are read; else they are UNKNOWN_OLDER, where there are any.
    """

    field: ClassVar[str] = "state"
    symbol: str
    opens: Sequence[MinuteSeries] = (CANDLES,)
    older: bool = True

    def ask(self, pipe: Any, keys: SymbolKeys) -> None:
        pipe.hmget(keys.state, _state_fields(self.opens))
        if self.older:
            pipe.hgetall(keys.coverage)

    def read(self, answers: Iterator[Any]) -> SymbolState | None:
        """Raises NewerFormat."""
        state = _state_of(next(answers), self.symbol, self.opens)
        if not self.older:
            return state
        older = _older_of(next(answers))
        return replace(state, older=older) if state and state.is_chunked else state


def check_instrument(data: DataInstrument | None, instrument: Instrument) -> None:
    """Raise InstrumentChanged if the data is of another instrument."""
    if data and data.instrument != instrument:
        raise InstrumentChanged(f"symbol {instrument.symbol} has been changed meanwhile, ask again")


def _state_fields(opens: Iterable[MinuteSeries]) -> list[str]:
    floors = (series.floor for series in MINUTE_SERIES.values())
    return [*_STATE_FIELDS, *floors, *(series.member for series in opens)]


def _state_of(values: list[bytes | None], symbol: str, opens: Sequence[MinuteSeries]) -> SymbolState | None:
    if values[0] is None:
        return None
    known_to = len(_STATE_FIELDS)
    floors_to = known_to + len(MINUTE_SERIES)
    seq, token, watermark_ms, updated_ms, coverage, refused, position, *rest = (v or b"" for v in values[:known_to])
    amended, reshaped_seq, sealed_to_ms, form, newest_span, data = rest
    floors = zip(MINUTE_SERIES, values[known_to:floors_to], strict=True)
    symbol_format = known(int(form or 1), symbol)
    is_chunked = symbol_format >= CHUNKED_COVERAGE
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
        symbol_format,
    )


def _older_of(chunks: Mapping[bytes, bytes]) -> OlderSpans:
    """Read the chunks of coverage."""
    return OlderSpans({int(number): chunk for number, chunk in chunks.items()})
