"""Parameters that several endpoints take, some of them subscriptions as well."""

from typing import Literal, get_args

from common.market.timeframes.timeframe import MINUTE, Timeframe
from feed.reading.bounds import Window
from feed.wire.answers import Form
from feed.wire.parameter_types import OneOf, Parsed, Time, Whole
from feed.wire.params import FORM, Given, Parameter

# As it is written; some other spellings are read as well.
TIMEFRAME_TEXT = "^[1-9][0-9]{0,4}(ms|s|m|min|h|d|w|M)$"

TIMEFRAME = Parameter(
    "timeframe",
    Parsed(Timeframe.parse, TIMEFRAME_TEXT),
    MINUTE,
    "Length of a bar: a number and ms, s, m, h, d, w or M.",
)
Switch = Literal["0", "1"]
START: Parameter[int | None] = Parameter(
    "start", Time(), None, "From when on: ms since 1970 or a UTC time. Without an end, the oldest from there on."
)
END: Parameter[int | None] = Parameter(
    "end", Time(not_before="start"), None, "Until when, itself not included: ms since 1970 or a UTC time."
)
LIMIT = Parameter("limit", Whole(), 500, "Most of them in one answer.")
FORMAT: Parameter[Form] = Parameter(FORM, OneOf(get_args(Form)), "json", "How the answer is written.")


def window_of(given: Given) -> Window:
    return Window(given[START], given[END], given[LIMIT])
