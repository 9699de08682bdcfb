"""What is traded: the symbol, its decimals, and what its trade ids promise."""

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

from common.errors import BadInput
from common.market import units
from common.market.scale import Scale
from common.market.timeframes.calendar_exceptions import NO_EXCEPTIONS, CalendarExceptions
from common.market.timeframes.calendars import ALWAYS, sessions_of
from common.market.timeframes.session import Sessions
from common.market.timeframes.timeframe import Timeframe

SYMBOL_PATTERN = re.compile(r"[A-Z0-9:_.-]{1,32}", re.ASCII)

# contiguous: the venue numbers trades 1, 2, 3, ... per symbol, so a hole in the ids is a lost trade.
# unique: an id names one trade, and nothing follows from its neighbours.
Ids = Literal["contiguous", "unique"]
# Of a stock exchange: its main session, or with what comes before and after.
Hours = Literal["regular", "extended"]

_NAME_PATTERN = re.compile(r"[A-Za-z0-9/_+.-]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Instrument:
    """A price is an integer of 10**-price_decimals (ticks), a size one of 10**-size_decimals (lots).

    When it trades: `calendar`, `zone` and `hours`, as common.market.timeframes.calendars knows them, and what of these
    is otherwise. They are looked up where `sessions` is first asked for, and not before.
    """

    symbol: str
    price_decimals: int
    size_decimals: int
    ids: Ids = "unique"
    calendar: str = ALWAYS
    zone: str = "UTC"
    hours: Hours = "regular"
    # Of the calendar, as the store has them. Not the symbol's own: sessions that they change are not equal, it is.
    exceptions: CalendarExceptions = field(default=NO_EXCEPTIONS, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_symbol(self.symbol)
        for name in ("price_decimals", "size_decimals"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 0 <= value <= units.MAX_DECIMALS:
                raise BadInput(f"{name} is {value!r}, expected a whole number from 0 to {units.MAX_DECIMALS}")
        if self.ids not in get_args(Ids):
            raise BadInput(f"ids is {self.ids!r}, expected one of {', '.join(get_args(Ids))}")
        for name in ("calendar", "zone"):
            text = getattr(self, name)
            if not isinstance(text, str) or not _NAME_PATTERN.fullmatch(text):
                raise BadInput(f"{name} is {str(text)[:40]!r}, expected a name of up to 40 letters, digits and /_+.-")
        if self.hours not in get_args(Hours):
            raise BadInput(f"hours is {self.hours!r}, expected one of {', '.join(get_args(Hours))}")

    @property
    def scale(self) -> Scale:
        return Scale(self.price_decimals, self.size_decimals)

    @property
    def sessions(self) -> Sessions | None:
        """None: it trades always, and its days are those of UTC."""
        return sessions_of(self.calendar, self.zone, self.hours, self.exceptions)

    def anchored(self, timeframe: Timeframe) -> Timeframe:
        """The timeframe as this market's sessions cut it."""
        return timeframe.anchored(self.sessions)

    def price_ticks(self, text: str) -> int:
        return units.parse(text, self.price_decimals)

    def size_lots(self, text: str) -> int:
        return units.parse(text, self.size_decimals)

    def price_text(self, ticks: int) -> str:
        return units.render(ticks, self.price_decimals)

    def size_text(self, lots: int) -> str:
        return units.render(lots, self.size_decimals)

    def turnover_text(self, turnover: int) -> str:
        """`turnover` is a sum of ticks x lots, so it carries the decimals of both."""
        return units.render(turnover, self.price_decimals + self.size_decimals)


def check_symbol(symbol: str) -> str:
    """Return `symbol`, or raise BadInput. A symbol becomes part of keys, URLs and file names."""
    if not SYMBOL_PATTERN.fullmatch(symbol) or symbol in (".", ".."):
        raise BadInput(f"symbol {symbol[:40]!r} is not 1 to 32 characters of A-Z, 0-9 and :_.-")
    return symbol
