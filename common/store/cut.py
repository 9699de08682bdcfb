"""What a wrong time has left behind in a history, and the script that cuts the beginning off (workers.change.cut)."""

from collections.abc import Mapping
from typing import NamedTuple

from redis.asyncio import Redis

from common.market.timeframes.timeframe import MINUTE_MS, minute_of
from common.market.trade import MIN_TS_MS
from common.store import scripts
from common.store.client import translated
from common.store.commit import check
from common.store.keys import SymbolKeys, archived_series
from common.store.registry import Market
from common.store.state import SymbolState


class Wrong(NamedTuple):
    """What a wrong time has left behind; None where it has not."""

    # Coverage begins then, when there were no trades yet.
    from_ms: int | None
    # Minutes up to then were dropped, and nothing has been traded so late.
    dropped_ms: int | None


class HistoryCut(NamedTuple):
    """Where a history is cut, ms UTC. `archived`: by series, objects whose period opens before are forgotten."""

    day_ms: int
    # The open of the first minute that may be written: of a series which a clock that was ahead has dropped.
    grows_ms: int
    # What minutes are dropped up to can't be later than this, unless a clock was ahead.
    newest_ms: int
    archived: Mapping[str, int]


def wrong_times(market: Market, state: SymbolState) -> Wrong | None:
    """None if there is nothing to be cut."""
    spans = state.coverage(market.instrument.ids).spans()
    if not spans:
        return None
    first_ms, newest_ms = spans[0].from_ms, max(span.to_ms for span in spans)
    dropped_ms = max(state.floors_ms.values(), default=-1)
    is_ahead = dropped_ms > minute_of(newest_ms) + MINUTE_MS
    found = Wrong(first_ms if first_ms < MIN_TS_MS else None, dropped_ms if is_ahead else None)
    return found if found != (None, None) else None


async def drop_before(client: Redis, symbol: str, token: str, seq: int, cut: HistoryCut) -> None:
    """Drop minutes, days and what is archived of them, but leave coverage as it is. Raises Fenced, Stale."""
    k = SymbolKeys(symbol)
    with translated(f"cut of {symbol}"):
        result = await scripts.cut.of(client, k)(
            manifest=k.archived("trades"),
            token=token,
            seq=seq,
            day=cut.day_ms,
            grows=cut.grows_ms,
            newest_ms=cut.newest_ms,
            bounds=[cut.archived[series] for series in archived_series()],
        )
    check(result, symbol, seq)
