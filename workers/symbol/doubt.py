"""What a term does while its wall clock is not believed (common/clock.py), and what it says."""

import logging
from collections.abc import Mapping

from common.clock import JudgedClock
from common.market.builder.validity import MAX_AHEAD_MS
from common.market.trade import Trades
from common.store.health import CLOCK, DEGRADED

log = logging.getLogger(__name__)


def is_unclear(clock: JudgedClock, trades: Trades) -> bool:
    """Whether it can't be told of one of them if it is of the future.

    The machine's clock and the store's have both been set forward: either it was time, or both are wrong. A trade
    between the two times is lost if it is refused, and closes all minutes until then if it is applied.
    """
    wall_ms = clock.undecided_ms()
    if wall_ms is None:
        return False
    now_ms = clock.now_ms()
    return any(now_ms <= ts_ms - MAX_AHEAD_MS < wall_ms for ts_ms in trades.ts_ms)


def said(clock: JudgedClock) -> dict[str, str]:
    """What health says of it; nothing while the clock is believed."""
    return {"mode": DEGRADED, "reason": CLOCK} if clock.is_refused() else {}


def tell_if_over(clock: JudgedClock, symbol: str, told: Mapping[str, str]) -> None:
    """A process that starts accepts what clock it finds: say so, if the holder before did not believe it."""
    if told.get("reason") == CLOCK and not clock.is_refused():
        what = {"symbol": symbol, "now_ms": clock.now_ms()}
        log.warning("wall clock accepted, which the holder before did not believe", extra=what)
