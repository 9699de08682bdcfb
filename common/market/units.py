"""Decimal text to scaled integers and back: the only place where a price or a size is text.

`parse("61800.3", 2)` is 6180030; `render(6180030, 2)` is "61800.3". Both are exact.
"""

import re

from common.errors import BadInput

# Twice what any venue uses; keeps 10**decimals inside 64 bits.
MAX_DECIMALS = 18
# A longer text is no number that was meant; it also bounds the work spent on hostile input.
MAX_TEXT = 64

_PLAIN = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?|[+-]?\.[0-9]+", re.ASCII)
# Decimal alone would read `1_000` and ` 5` as well.
_EXPONENT = re.compile(rf"(?:{_PLAIN.pattern})[eE][+-]?[0-9]{{1,3}}", re.ASCII)


class TooFine(BadInput):
    """A number with more decimals than there are. `decimals`: as many as it has."""

    def __init__(self, sentence: str, decimals: int) -> None:
        super().__init__(sentence)
        self.decimals = decimals


def parse(text: str, decimals: int) -> int:
    """Return `text` in units of 10**-decimals. Digits beyond `decimals` must be zero, else TooFine."""
    if len(text) > MAX_TEXT:
        raise BadInput(f"number of {len(text)} characters, expected at most {MAX_TEXT}")
    if not _PLAIN.fullmatch(text):
        text = _expand(text)
    whole, _, fraction = text.partition(".")
    kept, beyond = fraction[:decimals], fraction[decimals:]
    if beyond.strip("0"):
        raise TooFine(f"number {text!r} has more than {decimals} decimals", len(fraction.rstrip("0")))
    digits = whole + kept.ljust(decimals, "0")
    return int(digits) if digits not in ("", "-", "+") else 0


def is_decimal(text: str) -> bool:
    """Whether `text` is a number at all: ASCII digits, with a sign or without, a fraction, an exponent."""
    return len(text) <= MAX_TEXT and bool(_PLAIN.fullmatch(text) or _EXPONENT.fullmatch(text))


def render(value: int, decimals: int) -> str:
    """Return the shortest decimal text of `value` units of 10**-decimals."""
    if decimals == 0:
        return str(value)
    sign = "-" if value < 0 else ""
    digits = str(abs(value)).zfill(decimals + 1)
    fraction = digits[-decimals:].rstrip("0")
    whole = sign + digits[:-decimals]
    return f"{whole}.{fraction}" if fraction else whole


def _expand(text: str) -> str:
    """Write `1e-05` and the like out in plain digits."""
    if not _EXPONENT.fullmatch(text):
        raise BadInput(f"{text!r} is not a decimal number")
    # Few venues write any, and a worker is a third of a megabyte smaller without.
    from decimal import Decimal

    number = Decimal(text)
    if abs(number.adjusted()) > 2 * MAX_DECIMALS:
        raise BadInput(f"{text!r} is not a decimal number of usual size")
    return format(number, "f")
