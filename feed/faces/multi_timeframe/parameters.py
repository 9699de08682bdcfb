"""What questions about several timeframes take."""

from typing import NamedTuple

from common.market.timeframes.timeframe import Timeframe
from feed.queries.parameters import TIMEFRAME_TEXT
from feed.wire.parameter_types import ListOf, Whole
from feed.wire.params import Parameter

MAX_TIMEFRAMES = 16
MAX_BARS = 1_000


class Spelled(NamedTuple):
    """A timeframe, and how the client calls it: it looks for its bars by that."""

    text: str
    timeframe: Timeframe


def spelled(text: str) -> Spelled:
    return Spelled(text, Timeframe.parse(text))


DEFAULT_TIMEFRAMES = tuple(map(spelled, ("1min", "5min", "15min")))

TIMEFRAMES: Parameter[tuple[Spelled, ...]] = Parameter(
    "timeframes",
    ListOf(spelled, MAX_TIMEFRAMES, TIMEFRAME_TEXT),
    DEFAULT_TIMEFRAMES,
    "Lengths of bars, with commas between or one at a time.",
    repeats=True,
)
LOOKBACK = Parameter("lookback", Whole(MAX_BARS), 100, "Bars of each timeframe, the newest ones.")
