"""What answers about all symbols look like (feed.wire.shapes)."""

from common.market.kinds import INSTRUMENT_KINDS
from common.store.events import EVENTS
from feed.wire.shapes import (
    ANY_NUMBER,
    COUNT,
    FLAG,
    HEALTH_FIELDS,
    HEALTH_MODES,
    TEXT,
    TIME,
    TRUE,
    WHOLE,
    exactly,
    keyed,
    listed,
    named,
    nullable,
    one_of,
    record,
)

_MAYBE_TEXT, _MAYBE_TIME = nullable(TEXT), nullable(TIME)
_SYMBOL = {
    **{"symbol": TEXT, "kind": one_of(INSTRUMENT_KINDS), "venue": _MAYBE_TEXT, "name": TEXT},
    **{"base": _MAYBE_TEXT, "quote": _MAYBE_TEXT, "priceDecimals": COUNT, "sizeDecimals": COUNT},
    **{"priceStep": ANY_NUMBER, "sizeStep": ANY_NUMBER, "calendar": TEXT, "zone": TEXT, "hours": TEXT},
    **{"ids": one_of(("contiguous", "unique")), "source": TEXT, "onDemand": FLAG, "simulated": FLAG},
    "mode": one_of(HEALTH_MODES),
    **dict.fromkeys(("candlesFrom", "footprintsFrom", "tradesFrom", "depthFrom"), _MAYBE_TIME),
}
SYMBOLS = record({"symbols": listed(record(_SYMBOL))})
FEATURES = record({"version": TEXT, "features": listed(TEXT)})
_FAILED_JOB = record({"job": TEXT, "reason": TEXT, "at": TIME, "times": COUNT, "retryAt": nullable(TIME)})
FLEET_HEALTH = record(
    {
        "status": one_of(("ok", "degraded")),
        "symbols": keyed(named("SymbolHealth")),
        "store": record(
            {
                **{"version": TEXT, "persistence": TEXT, "eviction": TEXT, "writable": FLAG},
                "troubles": listed(record({"what": TEXT, "message": TEXT})),
            }
        ),
        "queue": nullable(
            record(
                {
                    **{"queued": COUNT, "running": COUNT, "workers": COUNT, "failures": COUNT},
                    "failed": listed(_FAILED_JOB),
                }
            )
        ),
        "archive": record({"on": FLAG, "where": nullable(TEXT), "mode": nullable(TEXT), "reason": nullable(TEXT)}),
    }
)
_MAYBE = nullable(ANY_NUMBER)
_NAMES = {"symbol": TEXT}
_OVERVIEW_ROW = record(
    {
        **_NAMES,
        **HEALTH_FIELDS,
        **{"last": _MAYBE, "lastT": nullable(TIME), "change": _MAYBE, "changeBp": nullable(WHOLE)},
        "line": nullable(listed(_MAYBE)),
        "coverage": listed(exactly(2, TIME)),
        **{"amended": COUNT, "differs": COUNT},
        **{"gapsOpen": nullable(COUNT), "lagP50Ms": nullable(COUNT), "lagP99Ms": nullable(COUNT), "tradesPerS": _MAYBE},
    },
    {"simulated": TRUE, "detail": TEXT},
)
_FAILED_ROW = record({**_NAMES, "error": record({"code": TEXT, "message": TEXT})}, {"simulated": TRUE})
OVERVIEW = record(
    {"at": TIME, "from": TIME, "stepMs": COUNT, "symbols": listed({"anyOf": [_OVERVIEW_ROW, _FAILED_ROW]})}
)
_EVENT = record(
    {"type": one_of(EVENTS), **_NAMES, "seq": COUNT, "token": TEXT, "eventId": TEXT, "at": _MAYBE_TIME},
    {
        **{"timeframe": TEXT, "bar": named("Bar"), "before": named("Bar"), "gap": named("Gap"), "t": TIME},
        **{"mode": TEXT, "reason": _MAYBE_TEXT, "was": record({"mode": TEXT, "reason": _MAYBE_TEXT})},
        **{"epoch": COUNT, "holder": TEXT, "fields": {"type": "object"}, "faults": listed(TEXT)},
        **{"id": WHOLE, "applied": {"type": "object"}, "refused": {"type": "object"}},
    },
)
EVENTS_ANSWER = record({**_NAMES, "events": listed(_EVENT), "last": TEXT, "more": FLAG}, {"simulated": TRUE})
