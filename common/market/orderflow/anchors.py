"""Since when a running sum is counted: CVD and VWAP begin again with each period of their anchor."""

from dataclasses import dataclass
from typing import Literal, get_args

from common.errors import BadInput
from common.market.timeframes.periods import DAY, MONTH, WEEK
from common.market.timeframes.session import Sessions
from common.market.timeframes.timeframe import MINUTE_MS, Timeframe

AnchorWord = Literal["session", "day", "week", "month", "start"]

_UTC_PERIODS = {"day": DAY, "week": WEEK, "month": MONTH}


@dataclass(frozen=True, slots=True)
class Anchor:
    """`word`: a period, or the first bar of an answer; `at_ms`: one moment, before which nothing is counted."""

    word: AnchorWord | None = "session"
    at_ms: int | None = None

    @property
    def text(self) -> str:
        return self.word or str(self.at_ms)

    @classmethod
    def parse(cls, text: str) -> "Anchor":
        for word in get_args(AnchorWord):
            if text == word:
                return cls(word)
        if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) % MINUTE_MS == 0):
            words = ", ".join(get_args(AnchorWord))
            raise BadInput(f"anchor is {text[:40]!r}, expected {words} or ms since 1970 at which a minute begins")
        return cls(None, int(text))

    def period(self, sessions: Sessions | None) -> Timeframe | None:
        """The periods, each of which begins again; None where there is one for all bars.

        `session`: of the market's calendar; of one that never closes, the UTC day.
        """
        if self.word == "session":
            return DAY.anchored(sessions)
        return _UTC_PERIODS.get(self.word or "")
