"""Answers: values, each of which writes itself. What is JSON already is put together: no bar is written twice."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import ClassVar, Literal, Protocol

import orjson
import polars as pl

from common.frames.bars import bars_arrow, bars_csv
from common.frames.trades import trades_arrow, trades_csv, trades_json
from common.market.builder.gaps import REPAIRING, UNKNOWN, Ledger
from common.market.builder.spans import Hole
from common.market.coding.bar_json import bar_json
from common.market.depth.book import Level
from common.market.instrument import Instrument
from common.market.manifest import Fault
from common.store.health import HealthRules, health_of
from common.store.reads import View
from common.store.registry import Market
from common.store.state import SymbolState
from feed.bars.live import ShownBar
from feed.bars.page import Page
from feed.reading.coverage import KnownCoverage

Form = Literal["json", "csv", "arrow"]
TableForm = Literal["csv", "arrow"]
JSON = "application/json"
TABLES: dict[TableForm, str] = {"csv": "text/csv", "arrow": "application/vnd.apache.arrow.stream"}

JsonWriter = Callable[[pl.DataFrame, Instrument], bytes]
TableWriters = Mapping[TableForm, Callable[[pl.DataFrame, Instrument], bytes | memoryview]]
BAR_WRITERS: TableWriters = {"csv": bars_csv, "arrow": bars_arrow}
TRADE_WRITERS: TableWriters = {"csv": trades_csv, "arrow": trades_arrow}

# Cursor before the first commit.
NO_COMMIT = "0-"


class Answer(Protocol):
    """What was found."""

    @property
    def media_type(self) -> str: ...

    def body(self) -> bytes | memoryview: ...


@dataclass(frozen=True, slots=True)
class Written:
    """An answer in bytes: kept as long as a client waits for it, or written early, within what its query may cost."""

    media_type: str
    content: bytes | memoryview

    @classmethod
    def of(cls, answer: Answer) -> "Written":
        return answer if isinstance(answer, cls) else cls(answer.media_type, answer.body())

    def body(self) -> bytes | memoryview:
        return self.content


@dataclass(frozen=True, slots=True)
class JsonAnswer:
    content: Mapping[str, object]
    media_type: ClassVar[str] = JSON

    def body(self) -> bytes:
        return orjson.dumps(self.content)


@dataclass(frozen=True, slots=True)
class SymbolAnswer:
    """About a symbol, and not of bars. Numbers with a decimal point are `exact`."""

    market: Market
    fields: Mapping[str, object]
    media_type: ClassVar[str] = JSON

    def members(self) -> Iterable[bytes]:
        """All but what names the symbol, each with a comma before it."""
        return (b",", orjson.dumps(self.fields)[1:-1])

    def body(self) -> bytes:
        mark = {"simulated": True} if simulated(self.market) else {}
        return orjson.dumps({"symbol": self.market.symbol, **mark, **self.fields})


@dataclass(frozen=True, slots=True)
class BarsAnswer:
    """Bars, cursor, coverage, gaps and health: the same in an answer and in a snapshot.

    `ledger`: of the gaps, where one is among what the page speaks of.
    """

    market: Market
    timeframe: str
    page: Page
    view: View
    cover: KnownCoverage
    ledger: Ledger
    rules: HealthRules
    # What else is said of all bars, behind what names the series.
    stated: Mapping[str, object] = field(default_factory=dict)
    media_type: ClassVar[str] = JSON

    def body(self) -> bytes:
        return b"".join([b"{", head(self.market, self.timeframe), *self.members(), b"}"])

    def members(self) -> Iterable[bytes]:
        """All but what names the series, each with a comma before it."""
        page, view, cover = self.page, self.view, self.cover
        spans, holes = cover.within(page.from_ms, page.to_ms)
        parts = {
            b"cursor": orjson.dumps(cursor_of(view.state)),
            b"coverage": orjson.dumps(spans),
            b"gaps": orjson.dumps([told_gap(hole, self.ledger) for hole in holes]),
            b"health": orjson.dumps(health(self.market, view, cover, self.rules, page.to_ms)),
        }
        if cover.lost_within(page.from_ms, page.to_ms):
            parts[b"partial"] = b"true"
        faults = cover.faults_within(page.from_ms, page.to_ms)
        if faults:
            parts[b"faults"] = orjson.dumps(told_faults(faults))
        if page.more:
            parts[b"next"] = orjson.dumps(page.more)
        # They may be 32 MB: joined once, and once more with the rest.
        stated = b"," + orjson.dumps(self.stated)[1:-1] if self.stated else b""
        bars = (stated, b',"bars":[', b",".join(page.runs), b"]")
        return chain(bars, chain.from_iterable((b',"', name, b'":', part) for name, part in parts.items()))


@dataclass(frozen=True, slots=True)
class CurrentAnswer:
    """The growing bar; None while nothing grows."""

    market: Market
    timeframe: str
    bar: ShownBar | None
    view: View
    cover: KnownCoverage
    rules: HealthRules
    media_type: ClassVar[str] = JSON

    def body(self) -> bytes:
        bar = written_bar(self.bar, self.market.instrument).encode() if self.bar else b"null"
        cursor = orjson.dumps(cursor_of(self.view.state))
        found = orjson.dumps(health(self.market, self.view, self.cover, self.rules))
        named = head(self.market, self.timeframe)
        return b'{%s,"bar":%s,"cursor":%s,"health":%s}' % (named, bar, cursor, found)


@dataclass(frozen=True, slots=True)
class TableAnswer:
    """A frame, and how frames of its kind are written."""

    writers: TableWriters
    rows: pl.DataFrame
    instrument: Instrument
    form: TableForm

    @property
    def media_type(self) -> str:
        return TABLES[self.form]

    def body(self) -> bytes | memoryview:
        return self.writers[self.form](self.rows, self.instrument)


@dataclass(frozen=True, slots=True)
class TradesAnswer:
    """A TRADES frame, or one of orders, with what is said of it. `json`: how its rows are written."""

    market: Market
    trades: pl.DataFrame
    fields: Mapping[str, object]
    json: JsonWriter = trades_json
    media_type: ClassVar[str] = JSON

    def body(self) -> bytes:
        return self._of_symbol().body()

    def members(self) -> Iterable[bytes]:
        return self._of_symbol().members()

    def _of_symbol(self) -> SymbolAnswer:
        trades = orjson.Fragment(self.json(self.trades, self.market.instrument))
        return SymbolAnswer(self.market, {"trades": trades, **self.fields})


def head(market: Market, timeframe: str) -> bytes:
    mark = ',"simulated":true' if simulated(market) else ""
    return f'"symbol":"{market.symbol}","timeframe":"{timeframe}"{mark}'.encode()


def written_bar(bar: ShownBar, instrument: Instrument) -> str:
    return bar_json(bar.candle, instrument, is_final=bar.is_final, partial=bar.partial)


def exact(text: str) -> orjson.Fragment:
    """A number by the text of its exact decimal."""
    return orjson.Fragment(text)


def told_levels(levels: Sequence[Level], instrument: Instrument) -> orjson.Fragment:
    """Levels of a side of the book."""
    price, size = instrument.price_text, instrument.size_text
    return orjson.Fragment(f"[{','.join(f'[{price(ticks)},{size(lots)}]' for ticks, lots in levels)}]")


def told_faults(faults: Iterable[Fault]) -> list[dict[str, object]]:
    """Objects of the archive that what is asked for reaches into, and that can't be used."""
    return [fault.json() for fault in faults]


def told_coverage(cover: KnownCoverage, ledger: Ledger, from_ms: int, to_ms: int) -> dict[str, object]:
    """What is covered of a time, and what is missing in it."""
    spans, holes = cover.within(from_ms, to_ms)
    told: dict[str, object] = {"coverage": spans, "gaps": [told_gap(hole, ledger) for hole in holes]}
    faults = cover.faults_within(from_ms, to_ms)
    if cover.lost_within(from_ms, to_ms):
        told["partial"] = True
    return told | ({"faults": told_faults(faults)} if faults else {})


def gap(hole: Hole) -> dict[str, int | str]:
    return {"from": hole.from_ms, "to": hole.to_ms, "firstId": hole.first, "lastId": hole.last}


def told_gap(hole: Hole, ledger: Ledger) -> dict[str, int | str]:
    """With what the ledger knows of it. It is read after the hole was: by then the hole may be filled."""
    known = ledger.gap_of(hole)
    if known is None:
        return gap(hole) | {"state": REPAIRING, "cause": UNKNOWN}
    return gap(hole) | {"state": known.state, "cause": known.cause}


def health(
    market: Market, view: View, cover: KnownCoverage, rules: HealthRules, to_ms: int | None = None
) -> dict[str, object]:
    """`to_ms`: where the time ends that the answer speaks of."""
    from_archive = to_ms is not None and to_ms <= view.archived_to_ms
    return health_of(view, market, rules, cover.hole_count, from_archive=from_archive)


def cursor_of(state: SymbolState | None) -> str:
    return state.cursor if state else NO_COMMIT


def simulated(market: Market) -> bool:
    return market.kind == "simulator" or market.source.get("simulated") is True
