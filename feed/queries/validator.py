"""Whether what was answered of a closed range is still so: a tag, made of what may change it and cheap to look up.

A range is closed once the watermark has passed its end. What it holds changes when a minute in it is amended, when a
hole in it is filled or given up, when retention or the archive moves within it, and with a writer's term, which may
have begun before what the last one wrote. The bars are the same while all of that is; what is said of the symbol's
health, and the cursor, are of now. So the tag is a weak one.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import orjson

from common.market.builder.spans import Hole
from common.market.timeframes.timeframe import MINUTE_MS, Timeframe
from common.release import RELEASE
from common.series import CANDLES, MINUTE_SERIES
from common.store.reads import View
from common.store.state import AMENDED_KEPT, SymbolState
from feed.bars.frames import cover_of_minutes
from feed.queries.queries import SymbolQueries
from feed.reading.bounds import Window
from feed.wire import answers

Q = TypeVar("Q")

DIGEST_BYTES = 16


class TimeRange(NamedTuple):
    """`[from_ms, to_ms)`: what an answer may depend on."""

    from_ms: int
    to_ms: int


# What the answer to a query depends on; None where it has no end, or is made of trades that are let go of.
RangeOf = Callable[[SymbolQueries, Q], TimeRange | None]


@dataclass(frozen=True, slots=True)
class Validator:
    """`tag`: changes when the answer does. `cursor` and `mode` of the symbol: as of now."""

    tag: str
    cursor: str
    mode: str


def bars_range(symbol: SymbolQueries, timeframe: Timeframe, window: Window) -> TimeRange | None:
    """Of bars made of whole minutes. Without a start, the limit may reach back to the first of them."""
    anchored = symbol.market.instrument.anchored(timeframe)
    if window.end_ms is None or anchored.fixed_ms is not None and anchored.fixed_ms % MINUTE_MS:
        return None
    last_ms = anchored.open_of(max(window.end_ms - 1, 0))
    return TimeRange(window.start_ms or 0, anchored.next_open(last_ms))


async def validator(symbol: SymbolQueries, asked: TimeRange, *question: object) -> Validator | None:
    """`question`: what tells it from other questions about the symbol, by its repr. None: the range is not closed."""
    view = await symbol.data().history.look(CANDLES)
    state = view.state
    if state is None or state.watermark_ms < asked.to_ms:
        return None
    found = [
        RELEASE,
        repr(question),
        repr((symbol.market.instrument, symbol.market.instrument.exceptions)),
        state.token,
        amended_seq(state, asked),
        await _known(symbol, view, asked),
        repr(view.archived.minutes),
    ]
    digest = hashlib.blake2b(orjson.dumps(found), digest_size=DIGEST_BYTES).hexdigest()
    return Validator(f'W/"{digest}"', state.cursor, str(symbol.health(view)["mode"]))


def amended_seq(state: SymbolState, asked: TimeRange) -> int:
    """The newest commit that may have amended a minute of the range. Of what a full list has lost it is not known."""
    lost_seq = state.amended[-1].seq if len(state.amended) == AMENDED_KEPT else 0
    seqs = (a.seq for a in state.amended if a.from_ms < asked.to_ms and a.to_ms + MINUTE_MS > asked.from_ms)
    return max(lost_seq, *seqs, 0)


async def _known(symbol: SymbolQueries, view: View, asked: TimeRange) -> list[object]:
    """What is known to be complete of the range, and what of each series is kept."""
    found, holes = list[object](), list[Hole]()
    for series in MINUTE_SERIES.values():
        cover = cover_of_minutes(symbol.market.instrument, view, series)
        spans, holes = cover.within(*asked)
        found.append(max(cover.start_ms, asked.from_ms))
        # The newest one grows with every trade.
        found.append([(max(from_ms, asked.from_ms), min(to_ms, asked.to_ms)) for from_ms, to_ms in spans])
        found.append([fault.json() for fault in cover.faults_within(*asked)])
        found.append(cover.lost_within(*asked))
    if holes:
        ledger = await symbol.reader.gaps()
        found.append([answers.told_gap(hole, ledger) for hole in holes])
    return found
