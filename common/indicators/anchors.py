"""Since when running sums run: the session, the week, the month, the first bar, or a trading day."""

from bisect import bisect_left
from datetime import UTC, date, datetime

import numpy as np

from common.frames.orderflow.running import NO_ANCHOR
from common.frames.spans import opens_of
from common.market.coding.packed import Ints
from common.market.timeframes.periods import DAY, MONTH, WEEK
from common.market.timeframes.session import Sessions

SESSION, ALL = "session", "all"
PERIODS = {SESSION: DAY, "week": WEEK, "month": MONTH}
# As text, or a date such as 2025-01-12.
WORDS = (*PERIODS, ALL)


def read_anchor(text: str) -> str | None:
    """The anchor of a text, as it is written; None: it is none."""
    word = text.lower()
    if word == "day":
        return SESSION
    if word in WORDS:
        return word
    try:
        return date.fromisoformat(text).isoformat() if len(text) == 10 else None
    except ValueError:
        return None


def anchors_of(opens_ms: Ints, anchor: str, sessions: Sessions | None) -> Ints:
    """Since when the sum runs that each bar is in; NO_ANCHOR before a date."""
    if not len(opens_ms):
        return opens_ms
    period = PERIODS.get(anchor)
    if period:
        return opens_of(opens_ms, period.anchored(sessions))
    since_ms = int(opens_ms[0]) if anchor == ALL else day_opens_ms(anchor, sessions)
    return np.where(opens_ms >= since_ms, since_ms, NO_ANCHOR)


def day_opens_ms(day: str, sessions: Sessions | None) -> int:
    """When the trading day of a date opens; of a date without one, the next."""
    midnight_ms = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)
    if sessions is None:
        return midnight_ms
    return sessions.opens[min(bisect_left(sessions.labels, midnight_ms), len(sessions.labels) - 1)]
