"""Answers: values until they are written, and then put together from what is JSON already: no bar is written twice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

import orjson

from common.market.builder.gaps import REPAIRING, UNKNOWN, Ledger
from common.market.builder.spans import Hole
from common.market.coding.bar_json import bar_json
from common.market.instrument import Instrument
from common.market.manifest import Fault
from common.store.health import HealthRules, health_of
from common.store.reads import SymbolState, View
from common.store.registry import Market
from feed.bars.live import ShownBar
from feed.bars.page import Page
from feed.reading.coverage import KnownCoverage

# Cursor before the first commit.
NO_COMMIT = "0-"


@dataclass(frozen=True, slots=True)
class BarsAnswer:
    """Bars, cursor, coverage, gaps and health: the same in an answer and in a snapshot.

    `ledger`: of the gaps, where one is among what the page speaks of.
    """

    market: Market
    page: Page
    view: View
    cover: KnownCoverage
    ledger: Ledger
    rules: HealthRules

    def body(self, timeframe: str) -> bytes:
        """The answer of `GET /v1/candles` and `GET /v1/footprint`."""
        return b"".join([b"{", head(self.market, timeframe), *self.members(), b"}"])

    def members(self) -> Iterable[bytes]:
        """All but what names the series, each with a comma before it."""
        page, view, cover = self.page, self.view, self.cover
        spans, holes = cover.within(page.from_ms, page.to_ms)
        parts = {
            b"cursor": orjson.dumps(cursor_of(view.state)),
            b"coverage": orjson.dumps(spans),
            b"gaps": orjson.dumps([told_gap(hole, self.ledger) for hole in holes]),
            b"health": orjson.dumps(health(self.market, view, cover, self.rules)),
        }
        if cover.lost_within(page.from_ms, page.to_ms):
            parts[b"partial"] = b"true"
        faults = cover.faults_within(page.from_ms, page.to_ms)
        if faults:
            parts[b"faults"] = faults_json(faults)
        if page.more:
            parts[b"next"] = orjson.dumps(page.more)
        # They may be 32 MB: joined once, and once more with the rest.
        bars = (b',"bars":[', b",".join(page.runs), b"]")
        return chain(bars, chain.from_iterable((b',"', name, b'":', part) for name, part in parts.items()))


def current(
    market: Market, timeframe: str, bar: ShownBar | None, view: View, cover: KnownCoverage, rules: HealthRules
) -> bytes:
    """The answer of `GET /v1/candles/{symbol}/current`; `bar` is null while nothing grows."""
    return b"".join(
        [
            b"{",
            head(market, timeframe),
            b',"bar":',
            written_bar(bar, market.instrument).encode() if bar else b"null",
            b',"cursor":',
            orjson.dumps(cursor_of(view.state)),
            b',"health":',
            orjson.dumps(health(market, view, cover, rules)),
            b"}",
        ]
    )


def about(market: Market, fields: Mapping[str, bytes]) -> bytes:
    """An answer about a symbol that is not of bars; the values are JSON already."""
    mark = {"simulated": b"true"} if simulated(market) else {}
    parts = {"symbol": orjson.dumps(market.symbol), **mark, **fields}
    return b"{" + b",".join(b'"%s":%s' % (name.encode(), part) for name, part in parts.items()) + b"}"


def gap_list(market: Market, ledger: Ledger, state: str | None, limit: int) -> bytes:
    """The answer of `GET /v1/gaps/{symbol}`."""
    newest_first = [gap for gap in reversed(ledger.gaps.values()) if state in (None, gap.state)]
    fields = {
        "gaps": orjson.dumps([gap.json() for gap in newest_first[:limit]]),
        "open": orjson.dumps(sum(not gap.over for gap in ledger.gaps.values())),
    }
    return about(market, fields)


def head(market: Market, timeframe: str) -> bytes:
    mark = ',"simulated":true' if simulated(market) else ""
    return f'"symbol":"{market.symbol}","timeframe":"{timeframe}"{mark}'.encode()


def written_bar(bar: ShownBar, instrument: Instrument) -> str:
    return bar_json(bar.candle, instrument, is_final=bar.is_final, partial=bar.partial)


def faults_json(faults: Iterable[Fault]) -> bytes:
    """Objects of the archive that what is asked for reaches into, and that can't be used."""
    return orjson.dumps([fault.json() for fault in faults])


def gap(hole: Hole) -> dict[str, int | str]:
    return {"from": hole.from_ms, "to": hole.to_ms, "firstId": hole.first, "lastId": hole.last}


def told_gap(hole: Hole, ledger: Ledger) -> dict[str, int | str]:
    """With what the ledger knows of it. It is read after the hole was: by then the hole may be filled."""
    known = ledger.gap_of(hole)
    if known is None:
        return gap(hole) | {"state": REPAIRING, "cause": UNKNOWN}
    return gap(hole) | {"state": known.state, "cause": known.cause}


def health(market: Market, view: View, cover: KnownCoverage, rules: HealthRules) -> dict[str, object]:
    return health_of(view, market, rules, cover.hole_count)


def cursor_of(state: SymbolState | None) -> str:
    return state.cursor if state else NO_COMMIT


def simulated(market: Market) -> bool:
    return market.kind == "simulator" or market.source.get("simulated") is True
