"""What answers look like, as JSON Schema: for clients that are made from it, and checked by tests against what is sent.

Numbers with a decimal point are exact decimals; times are ms since 1970 UTC.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from common.frames.orderflow.table import FLOW_FIELDS

Shape = Mapping[str, Any]

# Where the shapes that have a name are found in the document.
_SCHEMAS = "#/components/schemas/"

ANY_NUMBER: Shape = {"type": "number"}
WHOLE: Shape = {"type": "integer"}
COUNT: Shape = {"type": "integer", "minimum": 0}
TEXT: Shape = {"type": "string"}
FLAG: Shape = {"type": "boolean"}
TRUE: Shape = {"const": True}
TIME: Shape = {"type": "integer", "description": "ms since 1970 UTC"}
# As it is where it says something; else left out.
_MARKS = {"partial": TRUE}


def nullable(shape: Shape) -> Shape:
    return {"anyOf": [shape, {"type": "null"}]}


def listed(shape: Shape, **bounds: int) -> Shape:
    return {"type": "array", "items": shape, **bounds}


def exactly(count: int, shape: Shape) -> Shape:
    return listed(shape, minItems=count, maxItems=count)


def keyed(shape: Shape) -> Shape:
    return {"type": "object", "additionalProperties": shape}


def one_of(words: Iterable[str]) -> Shape:
    return {"type": "string", "enum": list(words)}


def record(always: Mapping[str, Shape], sometimes: Mapping[str, Shape] | None = None) -> Shape:
    """An object with these members and no others."""
    members = {**always, **(sometimes or {})}
    return {"type": "object", "properties": members, "required": list(always), "additionalProperties": False}


def named(name: str) -> Shape:
    """One of NAMED, by reference."""
    return {"$ref": _SCHEMAS + name}


SIDES = one_of(("buy", "sell", "unknown"))
_ROWS = {"row": ANY_NUMBER, "align": one_of(("nearest", "floor")), "lo": ANY_NUMBER}
_RULES = {"va": one_of(("standard", "tradingview", "two")), "share": COUNT}
_RANGE_OF_PRICES = record({"low": ANY_NUMBER, "high": ANY_NUMBER})
_BOOK_SIDE = listed(exactly(2, ANY_NUMBER))
_STATE = {"state": one_of(("naked", "touched", "filled"))}
_STATE_TIMES = {"touched": TIME, "filled": TIME}

BAR = record(
    {
        **{"t": TIME, "o": ANY_NUMBER, "h": ANY_NUMBER, "l": ANY_NUMBER, "c": ANY_NUMBER},
        **{"v": ANY_NUMBER, "bv": ANY_NUMBER, "q": ANY_NUMBER, "n": COUNT},
        **{"isFinal": FLAG, "rev": COUNT, "source": one_of(("live", "backfill", "import", "simulated"))},
    },
    {"uv": ANY_NUMBER, "lastUpdatedAt": TIME, **_MARKS},
)
HEALTH_MODES = ("LIVE", "BACKFILLING", "DEGRADED", "STALE", "FAILED", "CLOSED", "IDLE", "UNASSIGNED")
HEALTH_FIELDS = {
    "mode": one_of(HEALTH_MODES),
    "reason": nullable(TEXT),
    "message": TEXT,
    "since": nullable(TIME),
    "source": TEXT,
    "lastUpdateMsAgo": nullable(WHOLE),
    **{"marketClosed": FLAG, "providerThrottled": FLAG, "throttledUntil": nullable(TIME)},
    "backfillPercent": nullable({"type": "integer", "minimum": 0, "maximum": 100}),
    "gapsDetected": COUNT,
}
HEALTH = record(HEALTH_FIELDS, {"detail": TEXT})
_SYMBOL_HEALTH = {
    **HEALTH_FIELDS,
    **{"seq": COUNT, "refused": keyed(COUNT)},
    **{"mismatches": COUNT, "mismatchT": nullable(TIME), "faults": COUNT, "faultT": nullable(TIME)},
}
SYMBOL_HEALTH = record(_SYMBOL_HEALTH, {"detail": TEXT})
_HOLE = {"from": TIME, "to": TIME, "firstId": WHOLE, "lastId": WHOLE}
_GAP_STATES = one_of(("open", "repairing", "repaired", "unfillable"))
HOLE = record({**_HOLE, "state": _GAP_STATES, "cause": TEXT})
FAULT = record({"series": TEXT, "period": TEXT, "from": TIME, "to": TIME, "reason": TEXT})
GAP = record(
    {
        "id": TEXT,
        **_HOLE,
        **{"cause": TEXT, "state": _GAP_STATES, "missing": COUNT},
        **{"tradesRecovered": COUNT, "tradesReplaced": COUNT, "seenAt": TIME, "endedAt": nullable(TIME)},
    }
)
FOOTPRINT_ROW = record(
    {"p": ANY_NUMBER, "bv": ANY_NUMBER, "sv": ANY_NUMBER, "bn": COUNT, "sn": COUNT},
    {"uv": ANY_NUMBER, "un": COUNT, "imb": one_of(("buy", "sell", "both"))},
)
_RUN = {"low": ANY_NUMBER, "high": ANY_NUMBER, "rows": COUNT}
FOOTPRINT_BAR = record(
    {
        "t": TIME,
        "isFinal": FLAG,
        "delta": ANY_NUMBER,
        "poc": nullable(ANY_NUMBER),
        "rows": listed(named("FootprintRow")),
    },
    {
        **{name: nullable(ANY_NUMBER) for name in ("dmin", "dmax", "vah", "val")},
        "deltaBp": nullable(WHOLE),
        "zones": listed(record({"side": SIDES, **_RUN, **_STATE}, _STATE_TIMES)),
        "unfinished": listed(record({"at": one_of(("high", "low")), "p": ANY_NUMBER, **_STATE}, _STATE_TIMES)),
        "zeroPrints": listed(record({"without": SIDES, **_RUN})),
        "missing": ANY_NUMBER,
        **_MARKS,
    },
)
FLOW_BAR = record(
    {"t": TIME, "isFinal": FLAG},
    {**dict.fromkeys(FLOW_FIELDS, nullable(ANY_NUMBER)), **_MARKS, "anchorPartial": TRUE},
)

# What answers share, by the name under which the document has it.
_FAILED = {"error": record({"code": TEXT, "message": TEXT})}
NAMED: dict[str, Shape] = {
    "Bar": BAR,
    "Health": HEALTH,
    "SymbolHealth": SYMBOL_HEALTH,
    "Hole": HOLE,
    "Gap": GAP,
    "Fault": FAULT,
    "FootprintRow": FOOTPRINT_ROW,
    "FootprintBar": FOOTPRINT_BAR,
    "FlowBar": FLOW_BAR,
    "Error": record(_FAILED),
}

_CURSOR = {"cursor": {"type": "string", "description": "the commit that all of it is true of"}}
_HEAD, _SIMULATED = {"symbol": TEXT}, {"simulated": TRUE}
_NEXT = {"next": record({}, {"start": TIME, "end": TIME})}
_COVERED = {"coverage": listed(exactly(2, TIME)), "gaps": listed(named("Hole"))}
_LACKS = {"partial": TRUE, "faults": listed(named("Fault"))}
_OF_HEALTH = {"health": named("Health")}


def of_symbol(always: Mapping[str, Shape], sometimes: Mapping[str, Shape] | None = None) -> Shape:
    return record({**_HEAD, **always}, {**_SIMULATED, **(sometimes or {})})


def of_bars(bar: Shape, sometimes: Mapping[str, Shape] | None = None) -> Shape:
    """Bars of a timeframe, and what is true of all of them."""
    always = {"timeframe": TEXT, "bars": listed(bar), **_CURSOR, **_COVERED, **_OF_HEALTH}
    return of_symbol(always, {**_LACKS, **_NEXT, **(sometimes or {})})


CANDLES = of_bars(named("Bar"))
CURRENT = of_symbol({"timeframe": TEXT, "bar": nullable(named("Bar")), **_CURSOR, **_OF_HEALTH})
FOOTPRINT = of_bars(named("FootprintBar"), {**_ROWS, **_RULES})
ORDERFLOW = of_bars(
    named("FlowBar"),
    {
        **_ROWS,
        **_RULES,
        "anchor": {"anyOf": [TEXT, TIME]},
        "anchors": listed(TIME),
        "reliableSince": nullable(TIME),
    },
)
_PROFILE_ROW = {"anyOf": [named("FootprintRow"), record({"p": ANY_NUMBER, "n": COUNT, "letters": TEXT})]}
_PRICES = dict.fromkeys(("poc", "vah", "val"), nullable(ANY_NUMBER))
_PROFILE = record(
    {"from": TIME, "to": TIME, "isFinal": FLAG},
    {
        **_PRICES,
        "rows": listed(_PROFILE_ROW),
        **dict.fromkeys(("v", "uv", "delta", "high", "low", "missing"), ANY_NUMBER),
        **{"deltaBp": nullable(WHOLE), "n": COUNT, "rev": COUNT},
        "nodes": record({"high": listed(ANY_NUMBER), "low": listed(ANY_NUMBER)}),
        "pocState": record({"state": TEXT}, {"t": TIME}),
        "developing": listed(record({"t": TIME, **_PRICES})),
        "ib": nullable(record({"low": ANY_NUMBER, "high": ANY_NUMBER, "final": FLAG})),
        "singlePrints": listed(_RANGE_OF_PRICES),
        "tails": record({"low": nullable(_RANGE_OF_PRICES), "high": nullable(_RANGE_OF_PRICES)}),
        **{"poorLow": FLAG, "poorHigh": FLAG, **_MARKS},
    },
)
PROFILE = of_symbol(
    {
        **{"kind": TEXT, **_ROWS, **_RULES},
        "profiles": listed(_PROFILE),
        **_CURSOR,
        **_COVERED,
        **_OF_HEALTH,
    },
    _LACKS,
)
_TRADE = record({"t": TIME, "id": WHOLE, "p": ANY_NUMBER, "q": ANY_NUMBER, "side": SIDES})
_ORDER = record(
    {
        **{"t": TIME, "to": TIME, "q": ANY_NUMBER, "side": SIDES, "n": COUNT},
        **{"low": ANY_NUMBER, "high": ANY_NUMBER, "vwap": nullable(ANY_NUMBER), "firstId": WHOLE, "lastId": WHOLE},
    }
)
TRADES = of_symbol(
    {"trades": listed({"anyOf": [_TRADE, _ORDER]}), "complete": FLAG, **_CURSOR, **_OF_HEALTH},
    {**_LACKS, **_NEXT},
)
BOOK = of_symbol(
    {"t": TIME, "updateId": nullable(WHOLE), "live": FLAG, "bids": _BOOK_SIDE, "asks": _BOOK_SIDE, **_OF_HEALTH}
)
QUOTE = of_symbol(
    {
        **{"t": nullable(TIME), "live": FLAG, "lastT": nullable(TIME), **_OF_HEALTH},
        **dict.fromkeys(("bid", "bidSize", "ask", "askSize", "mid", "spread", "last"), nullable(ANY_NUMBER)),
    }
)
# Of a symbol that has none to tell, why.
QUOTES = record({"quotes": listed({"anyOf": [QUOTE, record({**_HEAD, **_FAILED})]})})
MARKET = of_symbol(
    {
        **{"calendar": TEXT, "zone": TEXT, "hours": TEXT, "state": one_of(("open", "closed"))},
        **dict.fromkeys(("isOpen", "isPreMarket", "isAfterHours"), FLAG),
        "session": nullable(record({"label": TEXT, "open": TIME, "close": TIME})),
        **{"nextOpen": nullable(TIME), "nextClose": nullable(TIME), "lastUpdate": nullable(TIME), **_OF_HEALTH},
    }
)
GAPS = of_symbol({"gaps": listed(named("Gap")), "open": COUNT})
SYMBOL_HEALTH_ANSWER = record({**_HEAD, **_SYMBOL_HEALTH, "history": {"type": "object"}}, {"detail": TEXT})
_CELLS: Mapping[str, Shape] = {
    **{"kind": TEXT, "t0": TIME, "bucketMs": COUNT, "cols": COUNT},
    **{"p0": ANY_NUMBER, "row": ANY_NUMBER, "rows": COUNT},
    "scale": nullable(keyed(ANY_NUMBER)),
    "cells": keyed(listed(nullable(ANY_NUMBER))),
}
_CELLS_TOO: Mapping[str, Shape] = {
    **{"knownTo": WHOLE, "best": listed(exactly(4, nullable(ANY_NUMBER)))},
    # Of depth.
    **{"cell": TEXT, "resolutionMs": nullable(COUNT), "spans": listed(exactly(4, ANY_NUMBER))},
    **{"truncated": TRUE, "approx": TRUE},
}
_TRADED: Mapping[str, Shape] = {"bucket": TEXT, "missing": listed(exactly(2, ANY_NUMBER))}
HEATMAP = of_symbol({**_CELLS, **_CURSOR, **_OF_HEALTH}, {**_CELLS_TOO, **_TRADED, **_COVERED, **_LACKS})
VIEWPORT = of_bars(
    named("Bar"),
    {
        **{"timeStart": TIME, "timeEnd": TIME, "priceMin": nullable(ANY_NUMBER), "priceMax": nullable(ANY_NUMBER)},
        **{**_ROWS, "row": nullable(ANY_NUMBER)},
        "heatmap": nullable(record(_CELLS, {**_CELLS_TOO, **_TRADED, **_MARKS})),
        "profile": nullable(_PROFILE),
    },
)
_OHLCV = dict.fromkeys("ohlcv", ANY_NUMBER)
SEVERAL = of_symbol(
    {
        "timeframes": keyed(listed(record({"ts": ANY_NUMBER, **_OHLCV, "isFinal": FLAG, "rev": COUNT}, _MARKS))),
        **_CURSOR,
        **_OF_HEALTH,
    }
)
_LONG = dict.fromkeys(("open", "high", "low", "close", "volume"), ANY_NUMBER)
_NEWEST = record({"ts": ANY_NUMBER, **_OHLCV, **_LONG, "is_complete": FLAG, "rev": COUNT, "timeframe": TEXT}, _MARKS)
SEVERAL_CURRENT = of_symbol({"current": keyed(nullable(_NEWEST)), **_CURSOR, **_OF_HEALTH})
_MAYBE = nullable(ANY_NUMBER)
_NOTES = {"settled": FLAG, "partials": listed(FLAG), "since": TIME, "reliableSince": TIME, "shift": keyed(WHOLE)}
INDICATORS = of_symbol(
    {
        **{"timeframe": TEXT, "t": listed(TIME), "isFinal": listed(FLAG)},
        "indicators": keyed(keyed(listed(_MAYBE))),
        "warmFrom": keyed(nullable(TIME)),
        **_CURSOR,
        **_COVERED,
        **_OF_HEALTH,
    },
    {
        **{"fill": TEXT, "align": TEXT, "asOf": listed(nullable(TIME))},
        **{name: keyed(shape) for name, shape in _NOTES.items()},
        **_LACKS,
        **_NEXT,
    },
)
_NUMBER_RULE = {"name": TEXT, "default": ANY_NUMBER, "from": ANY_NUMBER, "to": ANY_NUMBER, "whole": FLAG}
INDICATOR_LIST = record(
    {
        "indicators": listed(
            record(
                {
                    **{"id": TEXT, "name": TEXT, "aliases": listed(TEXT), "numbers": listed(record(_NUMBER_RULE))},
                    **{"sources": listed(TEXT), "anchored": FLAG, "outputs": listed(TEXT), "formula": TEXT},
                    **{"first": keyed(COUNT), "memory": one_of(("window", "recursive", "path", "anchored"))},
                    **{"warmup": COUNT, "shift": keyed(WHOLE)},
                }
            )
        )
    }
)
