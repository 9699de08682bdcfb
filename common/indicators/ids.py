"""What an id says: NAME, numbers, source, anchor, with _ between.

RSI_14, MACD_12_26_9, EMA_20_hl2, VWAP_session_2, OBV_2025-01-12. Numbers left out at the end have their defaults.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

from common.errors import BadInput
from common.indicators.anchors import SESSION, WORDS, read_anchor
from common.indicators.bars import PriceSource
from common.indicators.kinds import SOURCES, IndicatorKind, NumberRule, Numbers
from common.indicators.table import ALIASES, KINDS
from common.indicators.warmup import MAX_WARMUP, warmup_of

MAX_ID = 40
# Of a path: read before its first bar, beside what its range takes to settle, and at most.
PATH_BARS, MAX_PATH_BARS = 250, 4_000

_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Indicator:
    """`asked`: the id as it was given, by which a client looks for it. `anchor`: "" of a kind without one."""

    asked: str
    name: str
    numbers: Numbers
    source: PriceSource
    anchor: str

    @property
    def kind(self) -> IndicatorKind:
        return KINDS[self.name]

    @property
    def canonical(self) -> str:
        """With all that was left out, in one spelling."""
        source = [] if not self.kind.sources or self.source == self.kind.sources[0] else [self.source]
        numbers = [] if self.kind.is_last_optional and not self.numbers[-1] else list(map(number_text, self.numbers))
        anchored = [self.anchor] if self.anchor else []
        return "_".join([self.name, *anchored, *numbers, *source])

    @property
    def first(self) -> int:
        """The bar from which all its outputs are there."""
        return max(self.kind.first_of(self.numbers))

    @property
    def warmup(self) -> int:
        """W: bars read before the first one shown. Of an anchor none: it is read from there on."""
        kind = self.kind
        if kind.memory == "window":
            return self.first
        if kind.memory == "anchored":
            return 0
        settled = warmup_of(kind.legs(self.numbers))
        return settled + PATH_BARS if kind.memory == "path" else settled

    @property
    def lead(self) -> int:
        """Bars read before the first one shown: more than W, so that rounding brings two recursions that begin with
        different bars to the same double. No bound says so; random markets do, under test."""
        warmup = self.warmup
        return {"recursive": warmup + warmup // 2, "path": 2 * warmup}.get(self.kind.memory, warmup)

    @property
    def longest(self) -> int:
        """Bars that a value is told of as of, but for what a recursion remembers of older ones."""
        lengths = [number for rule, number in zip(self.kind.numbers, self.numbers, strict=True) if rule.is_whole]
        return int(max(lengths, default=1))


def number_text(number: float) -> str:
    return f"{number:.12f}".rstrip("0").rstrip(".")


@lru_cache(4096)
def parse(text: str) -> Indicator:
    """Raises BadInput: one sentence, with the nearest name where there is none such."""
    if len(text) > MAX_ID:
        raise BadInput(f"id is {text[:MAX_ID]!r} and longer, expected at most {MAX_ID} characters")
    head, *words = text.split("_")
    kind = _kind(head)
    if kind.name == "VWAP" and words[:1] and words[0].lower() == "hlc3":
        kind, words = KINDS["VWAP_hlc3"], words[1:]
    numbers, source, anchor = list[float](), "", ""
    for word in words:
        found = read_anchor(word) if kind.memory == "anchored" and not anchor else None
        if _NUMBER.fullmatch(word):
            numbers.append(float(word))
        elif found:
            anchor = found
        elif word.lower() in kind.sources and not source:
            source = word.lower()
        else:
            raise BadInput(f"id {text!r} has {word!r}, expected {form_of(kind)}")
    return _checked(
        Indicator(text, kind.name, _numbers(text, kind, numbers), _source(kind, source), _anchor(kind, anchor))
    )


def _kind(head: str) -> IndicatorKind:
    name = ALIASES.get(head.upper(), head.upper())
    found = KINDS.get(name)
    if found is None:
        nearest = get_close_matches(name, [*KINDS, *ALIASES], 1, 0.0)
        raise BadInput(f"there is no indicator {head!r}, expected one such as {nearest[0]}")
    return found


def _source(kind: IndicatorKind, word: str) -> PriceSource:
    return next((each for each in SOURCES if each == word), kind.sources[0] if kind.sources else "close")


def _anchor(kind: IndicatorKind, anchor: str) -> str:
    return (anchor or SESSION) if kind.memory == "anchored" else ""


def form_of(kind: IndicatorKind) -> str:
    """How its ids are made, as a sentence tells it."""
    anchors = f", and {', '.join(WORDS)} or a day" if kind.memory == "anchored" else ""
    sources = f", and one of {', '.join(kind.sources)}" if kind.sources else ""
    names = [kind.name, *(rule.name for rule in kind.numbers)]
    return f"{'_'.join(names)}{sources}{anchors}"


def _numbers(text: str, kind: IndicatorKind, given: list[float]) -> Numbers:
    rules = kind.numbers
    if len(given) > len(rules):
        raise BadInput(f"id {text!r} has {len(given)} numbers, expected {form_of(kind)}")
    for rule, number in zip(rules, given, strict=False):
        _check(text, rule, number)
    return (*given, *(rule.default for rule in rules[len(given) :]))


def _check(text: str, rule: NumberRule, number: float) -> None:
    if rule.is_whole and number != int(number):
        raise BadInput(f"{rule.name} of {text!r} is {number_text(number)}, expected a whole number")
    if not rule.min_value <= number <= rule.max_value:
        least = number_text(rule.min_value) if rule.is_whole or not rule.min_value else "more than 0"
        raise BadInput(
            f"{rule.name} of {text!r} is {number_text(number)}, expected {least} to {number_text(rule.max_value)}"
        )


def _checked(found: Indicator) -> Indicator:
    kind, order = found.kind, found.kind.fast_slow
    if order and found.numbers[order[0]] >= found.numbers[order[1]]:
        fast, slow = (kind.numbers[at].name for at in order)
        raise BadInput(f"{fast} of {found.asked!r} is not less than {slow}, expected {form_of(kind)}")
    if found.warmup > MAX_WARMUP:
        raise BadInput(f"id {found.asked!r} looks back {found.warmup} bars or more, expected at most {MAX_WARMUP}")
    return found
