"""Footprints, profiles, indicators as text of 80 columns, out of what the feed answers (all numbers as Decimal)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

WIDTH = 80
# Of a bar: its mark, what was sold, what was bought, its flag, and a gap.
_CELL, _GAP = 15, 1
_EIGHTHS = "▏▎▍▌▋▊▉█"
_UNITS = ("", "k", "M", "G", "T")
_NUMBER = 5

Bar = Mapping[str, Any]


def short(number: Decimal) -> str:
    """Return a number in at most five characters: 0.01, 12.34, 1234, 123k, 4.5M."""
    size, unit = abs(number), 0
    while size >= 1_000 and unit < len(_UNITS) - 1 and len(f"{size:.0f}") + (unit > 0) > _NUMBER - (number < 0):
        size, unit = size / 1_000, unit + 1
    room = _NUMBER - len(_UNITS[unit]) - (number < 0)
    digits = max(0, min(room - len(f"{size:.0f}") - 1, 4))
    text = f"{size:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    if number and text == "0":
        return f"{number:.0e}"
    return ("-" if number < 0 else "") + text + _UNITS[unit]


def moment(ms: Decimal, *, with_day: bool) -> str:
    """UTC."""
    return f"{datetime.fromtimestamp(int(ms) / 1_000, UTC):{'%m-%d %H:%M' if with_day else '%H:%M'}}"


@dataclass(frozen=True, slots=True)
class PriceColumn:
    """Prices of rows, of equal width, from the highest down; None: rows are left out in between."""

    prices: Sequence[Decimal | None]
    decimals: int

    @classmethod
    def of(cls, prices: set[Decimal], row: Decimal) -> "PriceColumn":
        found: list[Decimal | None] = []
        for price in sorted(prices, reverse=True):
            above = found[-1] if found else None
            found += [None, price] if above is not None and above - price > row else [price]
        exponents = [int(price.normalize().as_tuple().exponent) for price in (*prices, row)]
        return cls(found, max(0, *(-exponent for exponent in exponents)))

    @property
    def width(self) -> int:
        return max((len(self.text(price)) for price in self.prices), default=0)

    def text(self, price: Decimal | None) -> str:
        return "..." if price is None else f"{price:.{self.decimals}f}"


def footprint_picture(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines: the newest bars side by side, as many as fit, sold x bought at each row."""
    rows = PriceColumn.of({row["p"] for bar in answer["bars"] for row in bar["rows"]}, answer["row"])
    room = (WIDTH - rows.width) // (_CELL + _GAP)
    bars = answer["bars"][-room:]
    rows = PriceColumn.of({row["p"] for bar in bars for row in bar["rows"]}, answer["row"])
    yield f"{answer['symbol']}  {answer['timeframe']}  rows of {answer['row']}  sold x bought, UTC"
    days = {moment(bar["t"], with_day=True)[:5] for bar in bars}
    heads = [moment(bar["t"], with_day=len(days) > 1) + ("" if bar["isFinal"] else " ~") for bar in bars]
    yield _line("", heads, rows.width)
    cells = [{row["p"]: _cell(row, bar) for row in bar["rows"]} for bar in bars]
    for price in rows.prices:
        yield _line(rows.text(price), [each.get(price, "") if price is not None else "" for each in cells], rows.width)
    for name, field in (("delta", "delta"), ("poc", "poc")):
        told = ["-" if bar[field] is None else str(bar[field]) for bar in bars]
        yield _line(name, [text if len(text) < _CELL else short(Decimal(text)) for text in told], rows.width)
    yield "* poc   | value area   < sold, > bought, x both: imbalance   ~ still growing"
    if any("missing" in bar for bar in bars):
        yield "of some bars not all volume has rows: it was not kept, or never was"


def _cell(row: Mapping[str, Any], bar: Bar) -> str:
    area = bar["val"] is not None and bar["val"] <= row["p"] <= bar["vah"]
    mark = "*" if row["p"] == bar["poc"] else "|" if area else " "
    flag = {"buy": ">", "sell": "<", "both": "x"}.get(row.get("imb", ""), " ")
    return f"{mark}{short(row['sv']):>5} x {short(row['bv']):<5}{flag}"[:_CELL]


def _line(first: str, cells: Sequence[str], width: int) -> str:
    text = first.rjust(width) + "".join(" " * _GAP + cell.ljust(_CELL) for cell in cells)
    return text.rstrip()


def profile_picture(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines: each profile with its rows as lengths."""
    for profile in answer["profiles"]:
        totals = {row["p"]: row["bv"] + row["sv"] + row.get("uv", 0) for row in profile["rows"]}
        rows = PriceColumn.of(set(totals), answer["row"])
        span = f"{moment(profile['from'], with_day=True)} to {moment(profile['to'], with_day=True)}"
        yield f"{answer['symbol']}  {answer['kind']}  {span} UTC  rows of {answer['row']}"
        yield f"volume {profile['v']}  delta {profile['delta']}" + ("" if profile["isFinal"] else "  still growing")
        longest, room = max(totals.values(), default=Decimal(0)), WIDTH - rows.width - 3 - _NUMBER - 1
        for price in rows.prices:
            if price is None:
                yield rows.text(price).rjust(rows.width)
                continue
            area = profile["val"] is not None and profile["val"] <= price <= profile["vah"]
            mark = "*" if price == profile["poc"] else "|" if area else " "
            length = _length(totals[price], longest, room)
            yield f"{rows.text(price):>{rows.width}} {mark} {length:<{room}} {short(totals[price]):>{_NUMBER}}".rstrip()
        if "missing" in profile:
            yield f"missing {profile['missing']}: it was not kept by price, or never was"
    yield "* poc   | value area"


def _length(part: Decimal, whole: Decimal, room: int) -> str:
    """Full blocks, and one of eighths."""
    eighths = int(part * room * 8 / whole) if whole else 0
    blocks, rest = divmod(eighths, 8)
    return _EIGHTHS[-1] * blocks + (_EIGHTHS[rest - 1] if rest else "")


# Of a bar's values, and that each is told with so many digits.
_VALUE, _DIGITS = 13, 6


def indicator_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """A line for each output, the newest bars that fit beside each other; - where not known."""
    names = [
        (indicator if output == "value" else f"{indicator} {output}", values)
        for indicator, outputs in answer["indicators"].items()
        for output, values in outputs.items()
    ]
    yield f"{answer['symbol']}  {answer['timeframe']}  UTC"
    width = max((len(name) for name, _ in names), default=0)
    count = max(1, min(len(answer["t"]), (WIDTH - width - 2) // _VALUE))
    marks = ["" if final else " ~" for final in answer["isFinal"]]
    opens = [moment(ms, with_day=False) + mark for ms, mark in zip(answer["t"], marks, strict=True)]
    yield _beside("", opens[-count:], width)
    for name, values in names:
        yield _beside(name, [_value(each) for each in values[-count:]], width)
    yield "~ still growing"


def _beside(name: str, texts: Sequence[str], width: int) -> str:
    return f"{name:{width}}" + "".join(f"{text:>{_VALUE}}" for text in texts)


def _value(number: Decimal | None) -> str:
    return "-" if number is None else f"{float(number):.{_DIGITS}g}"
