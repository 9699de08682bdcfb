"""Fields of venues' frames and answers: texts to ticks and lots, each checked, and why one is no good."""

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Context, Decimal
from functools import lru_cache
from reprlib import Repr
from typing import Any, NoReturn

from common.errors import BadInput
from common.market import units
from common.market.builder.validity import BAD_ID, BAD_PRICE, BAD_SIDE, BAD_SIZE, BAD_TIME, TOO_FINE
from common.market.trade import MAX_ID, MAX_LOTS, MAX_TICKS, MAX_TS_MS, Trade, TradeRow
from workers.venues.shared.base import Event, Listing, Refused, TradesEvent

# Why a frame is refused, besides the builder's words for a bad field of a trade.
BAD_JSON, BAD_SHAPE, MISSING_FIELD = "bad_json", "bad_shape", "missing_field"
UNKNOWN_EVENT, UNKNOWN_SYMBOL, BAD_SEQUENCE = "unknown_event", "unknown_symbol", "bad_sequence"
# A good number all the same, as TOO_FINE is (venues coarsen their steps, and older orders keep theirs): one too great
# for us (an ask of 99999997 for what costs 355).
TOO_GREAT = "too_great"
# The venue's own word that something we asked for is wrong.
VENUE_ERROR = "venue_error"

# What indexing and unpacking raise where JSON is not shaped as expected.
MISSHAPEN = (KeyError, IndexError, TypeError, ValueError, AttributeError)

# A number as JSON writes it, without a sign. Nothing else passes for one: no "+1", "1_000", ".5", "007" or " 1".
_NUMBER = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?([eE][+-]?[0-9]{1,3})?", re.ASCII)
# Texts remembered per market, of prices and of sizes: 1 MB each at most. Of a busy book that is all but every tenth
# price, and a look-up takes a twentieth of a reading.
_REMEMBERED = 8_192

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z", re.ASCII).fullmatch
_SECOND, _MILLIS = slice(len("1970-01-01T00:00:00")), slice(len("1970-01-01T00:00:00."), len("1970-01-01T00:00:00.000"))
_EPOCH_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?", re.ASCII)
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")

# Room for every digit of a sum before it is rounded.
_WIDE = Context(prec=2 * units.MAX_TEXT)

_LIST = {list}
HARMLESS = frozenset((TOO_FINE, TOO_GREAT))
# What 64 bits hold. Of trades less is taken: products of theirs must fit.
_GREATEST = 1 << 63

_SHOWN = 80
_shorten = Repr()
_shorten.maxstring = _shorten.maxother = 60


class BadField(Exception):
    """A field that is no good. `reason` is one word, the message a short sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def shown(value: object) -> str:
    """`value` for a message, however long it is."""
    return _shorten.repr(value)[:_SHOWN]


def exact_json(frame: bytes | str) -> Any:
    """JSON whose numbers with decimals stay the text they are: a float may lose digits. ValueError where it is none."""
    try:
        return _EXACT.decode(frame if isinstance(frame, str) else frame.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_EXACT = json.JSONDecoder(parse_float=str, parse_constant=_no_constant)


def read_frame(
    frame: bytes | str, loads: Callable[[bytes | str], Any], read: Callable[[Any], Sequence[Event]]
) -> Sequence[Event]:
    """Return the events that `read` makes of a frame's message; one that is no good is refused, never raised."""
    try:
        message = loads(frame)
    except ValueError as error:
        return (Refused(BAD_JSON, str(error)[:100]),)
    try:
        return read(message)
    except (BadField, *MISSHAPEN) as error:
        return (refused(error),)


def refused(error: Exception) -> Refused:
    """The refusal of a frame that raised Bad or one of MISSHAPEN."""
    if isinstance(error, BadField):
        return Refused(error.reason, str(error))
    if isinstance(error, KeyError):
        return Refused(MISSING_FIELD, f"no field {shown(error.args[0])}")
    return Refused(BAD_SHAPE, f"not of the expected shape: {str(error)[:100]}")


class Decimals(dict[str, int]):
    """`decimals[text]`: the number in units of 10**-places, from `min_value` to 2**63 - 1. Bad otherwise.

    A dictionary that reads what it does not know yet: a text it knows costs one lookup in C.
    """

    __slots__ = ("_min_value", "_places", "_powers", "_reason", "_usual")

    def __init__(self, places: int, reason: str, min_value: int) -> None:
        super().__init__()
        self._places, self._reason, self._min_value = places, reason, min_value
        self._powers: list[int] = [10**n for n in range(places + 1)]
        # As most venues print it: every decimal, and only zeros beyond them. Read in half the time of any other.
        self._usual = re.compile(rf"(0|[1-9][0-9]*)\.(?=[0-9])([0-9]{{{places}}})0*", re.ASCII).fullmatch

    def __missing__(self, text: object) -> int:
        found = self._usual(text) if type(text) is str and len(text) <= units.MAX_TEXT else None
        value = int(found[1] + found[2]) if found else self._read(text)
        if value < self._min_value:
            raise BadField(self._reason, f"{shown(text)} is out of range")
        if value >= _GREATEST:
            raise BadField(TOO_GREAT, f"{shown(text)} is too great for {self._places} decimals")
        if len(self) >= _REMEMBERED:
            self.clear()
        self[text] = value  # type: ignore[index]  # _read refuses all but str
        return value

    def _read(self, text: object) -> int:
        """The same as units.parse for what is a number here, in half the time: books are made of thousands."""
        found = _NUMBER.fullmatch(text) if type(text) is str and len(text) <= units.MAX_TEXT else None
        if found is None:
            raise BadField(self._reason, f"{shown(text)} is not a plain decimal number")
        whole_part, fraction, exponent = found.groups("")
        if exponent:
            return self._expand(found[0])
        beyond = len(fraction) - self._places
        if beyond <= 0:
            return int(whole_part + fraction) * self._powers[-beyond]
        if fraction[self._places :].strip("0"):
            raise BadField(TOO_FINE, f"{text} has more than {self._places} decimals")
        return int(whole_part + fraction[: self._places])

    def _expand(self, text: str) -> int:
        try:
            return units.parse(text, self._places)
        except BadInput as error:
            raise BadField(self._reason, str(error)) from None


class FieldScales:
    """One listing, ready to read its fields."""

    __slots__ = ("listing", "name", "prices", "sizes")

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.name = listing.name
        instrument = listing.instrument
        self.prices = Decimals(instrument.price_decimals, BAD_PRICE, 1)
        # 0 removes a level of a book; of a trade it is refused below.
        self.sizes = Decimals(instrument.size_decimals, BAD_SIZE, 0)

    def trade(self, ts_ms: object, trade_id: object, price: str, size: str, side: int | None) -> Trade:
        """One trade out of its fields; `side` is BUY, SELL or None."""
        return Trade(*self.row(ts_ms, trade_id, price, size, side))

    def event(self, ts_ms: object, trade_id: object, price: str, size: str, side: int | None) -> TradesEvent:
        """The event of a frame with one trade, out of the same."""
        # A NamedTuple's own constructor takes three times as long.
        return tuple.__new__(TradesEvent, (self.name, (self.row(ts_ms, trade_id, price, size, side),)))

    def row(self, ts_ms: object, trade_id: object, price: str, size: str, side: int | None) -> TradeRow:
        """The same, plain. `_why` looks again for what is wrong with it."""
        ticks, lots = self.prices[price], self.sizes[size]
        if (
            type(ts_ms) is int
            and 0 < ts_ms < MAX_TS_MS
            and type(trade_id) is int
            and 0 <= trade_id <= MAX_ID
            and ticks < MAX_TICKS
            and 0 < lots < MAX_LOTS
            and side is not None
        ):
            return ts_ms, trade_id, ticks, lots, side
        raise _why(ts_ms, trade_id, ticks, lots)

    def levels(self, rows: object, left_out: list[Refused]) -> list[tuple[int, int]]:
        """`[[price, size, ...], ...]` of a book.

        A level with a good number that we can't hold is put into `left_out`: it will be so each time, the rest of the
        book is right without it, and refusing all would break the book again and again. Anything else refuses all.
        """
        prices, sizes, rows = self.prices, self.sizes, lists(rows)
        try:
            return [(prices[row[0]], sizes[row[1]]) for row in rows]
        except BadField as bad:
            if bad.reason not in HARMLESS:
                raise
        return [level for row in rows if (level := self._level(row, left_out)) is not None]

    def _level(self, row: list[str], left_out: list[Refused]) -> tuple[int, int] | None:
        try:
            return self.prices[row[0]], self.sizes[row[1]]
        except BadField as bad:
            if bad.reason not in HARMLESS:
                raise
            left_out.append(refused(bad)._replace(of_book=True))
            return None


def lists(rows: object) -> list[list[Any]]:
    """`rows`, if it is a list of lists: a text in place of a row would be read letter by letter, "12" as 1 and 2."""
    # The types are looked at in C: this is done for each level of each book.
    if type(rows) is not list or (rows and set(map(type, rows)) != _LIST):
        raise BadField(BAD_SHAPE, f"{shown(rows)} is not a list of lists")
    return rows


def whole(value: object, reason: str, min_value: int = 0, max_value: int = MAX_ID) -> int:
    """`value`, if it is a whole number within bounds."""
    if type(value) is not int or not min_value <= value <= max_value:
        raise BadField(reason, f"{shown(value)} is not a whole number from {min_value} to {max_value}")
    return value


def time_ms(text: object) -> int:
    """Read `2021-04-17T16:43:37.089723Z`; what is finer than a millisecond is cut off."""
    if type(text) is not str or not _TIME(text):
        raise BadField(BAD_TIME, f"{shown(text)} is not a time like 2021-04-17T16:43:37.089723Z")
    try:
        ms = _second_ms(text[_SECOND]) + int(text[_MILLIS].rstrip("Z").ljust(3, "0"))
    except ValueError:
        raise BadField(BAD_TIME, f"{shown(text)} is not a time of the calendar") from None
    return ms if 0 < ms < MAX_TS_MS else whole(ms, BAD_TIME, 1, MAX_TS_MS - 1)


@lru_cache(64)
def _second_ms(text: str) -> int:
    """Of `2021-04-17T16:43:37`. Many trades of one second come after each other."""
    past = datetime.fromisoformat(f"{text}+00:00") - _EPOCH
    return (past.days * 86_400 + past.seconds) * 1_000


def epoch_ms(text: object) -> int:
    """Read seconds since 1970 with decimals, `1618678142.557535`.

    Rounded to microseconds first, because some are written by way of a float (.8277369 may be .827737), then what is
    finer than a millisecond is cut off.
    """
    if type(text) is not str or not _EPOCH_SECONDS.fullmatch(text):
        raise BadField(BAD_TIME, f"{shown(text)} is not a plain number of seconds")
    seconds, _, fraction = text.partition(".")
    tenths_us = int(seconds + fraction[:7].ljust(7, "0"))
    return whole((tenths_us + 5) // 10_000, BAD_TIME, 1, MAX_TS_MS - 1)


def scaled(text: object, places: int) -> int:
    """A sum, in units of 10**-places: what a venue wrote with more places, or summed in floats, is rounded."""
    if type(text) is not str or len(text) > units.MAX_TEXT or not _NUMBER.fullmatch(text):
        raise BadField(BAD_SIZE, f"{shown(text)} is not a plain decimal number")
    number = Decimal(text)
    if number.adjusted() > units.MAX_DECIMALS:
        raise BadField(BAD_SIZE, f"{shown(text)} is out of range")
    return int(number.scaleb(places, _WIDE).to_integral_value(context=_WIDE))


def _why(ts_ms: object, trade_id: object, ticks: int, lots: int) -> BadField:
    """Why a trade with good texts was refused all the same."""
    try:
        whole(ts_ms, BAD_TIME, 1, MAX_TS_MS - 1)
        whole(trade_id, BAD_ID)
    except BadField as bad:
        return bad
    if not lots:
        return BadField(BAD_SIZE, "size is 0")
    if ticks >= MAX_TICKS or lots >= MAX_LOTS:
        return BadField(TOO_GREAT, f"{ticks} ticks or {lots} lots are too many")
    return BadField(BAD_SIDE, "the side names neither buyer nor seller")
