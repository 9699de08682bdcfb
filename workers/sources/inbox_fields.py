"""What an entry of the inbox says, field by field; and why it is no trade."""

import re
from math import isinf

from common.errors import BadInput
from common.market.builder.validity import BAD_ID, BAD_TIME, TOO_FINE
from common.market.instrument import Instrument
from common.market.trade import MIN_TS_MS, SIDE_CODES, UNKNOWN, Trade
from common.market.units import TooFine, is_decimal, parse

BAD_FIELDS = "bad_fields"
MAX_TIME_DIGITS = 16
# A text id is kept in memory and in the store, and there are thousands.
MAX_TEXT_ID = 128
# A stream id is <ms>-<n>; as one number it leaves room for a million entries in one ms.
_SEQUENCE_BITS = 20

_WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)

Fields = dict[bytes, bytes]


class Unreadable(Exception):
    """An entry is no trade. `reason` is one word, counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def trade_of(entry_id: str, fields: Fields, instrument: Instrument) -> Trade:
    """Read one entry, or raise Unreadable. Numbers out of bounds are left to the builder, which has a word for each."""
    try:
        texts = {name.decode(): value.decode() for name, value in fields.items()}
        ours = "ts_ms" in texts
        return Trade(
            _ms(texts["ts_ms"]) if ours else _ms_of_seconds(texts["timestamp"]),
            _trade_id(texts.get("id", ""), entry_id, instrument),
            instrument.price_ticks(texts["price"]),
            parse(texts["size" if ours else "amount"], instrument.size_decimals),
            SIDE_CODES.get(texts.get("side", "").lower(), UNKNOWN),
        )
    except TooFine as error:
        raise Unreadable(TOO_FINE) from error
    except (BadInput, UnicodeDecodeError, KeyError) as error:
        raise Unreadable(BAD_FIELDS) from error


def text_id(fields: Fields) -> str:
    """The id, if it is one that only tells duplicates: neither a number nor missing (cryptofeed writes `None`)."""
    text = fields.get(b"id", b"").decode(errors="replace")
    return "" if _is_number(text) or text in ("", "None") or len(text) > MAX_TEXT_ID else text


def _ms(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise Unreadable(BAD_FIELDS)
    if not text.isdigit() or len(text) > MAX_TIME_DIGITS:
        raise Unreadable(BAD_TIME)
    return _late_enough(int(text))


def _ms_of_seconds(text: str) -> int:
    """Floating seconds: the milliseconds are whole ones written with noise behind them."""
    if not is_decimal(text) or isinf(ms := float(text) * 1_000):
        raise Unreadable(BAD_FIELDS)
    if ms >= 10**MAX_TIME_DIGITS:
        raise Unreadable(BAD_TIME)
    return _late_enough(round(ms))


def _late_enough(ts_ms: int) -> int:
    if ts_ms < MIN_TS_MS:
        raise Unreadable(BAD_TIME)
    return ts_ms


def _trade_id(text: str, entry_id: str, instrument: Instrument) -> int:
    if _is_number(text):
        return int(text)
    if instrument.ids == "contiguous" or len(text) > MAX_TEXT_ID:
        # The place in the stream counts up, too, but far from where the ids are: a hole of 10^18.
        raise Unreadable(BAD_ID)
    ms, _, sequence = entry_id.partition("-")
    return (int(ms) << _SEQUENCE_BITS) + int(sequence)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
