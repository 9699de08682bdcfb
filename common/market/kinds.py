"""What is traded, as screens group it and streams are counted."""

from typing import Literal, get_args

from common.errors import BadInput

# crypto: spot; future: perpetual ones, too.
InstrumentKind = Literal["crypto", "equity", "future", "option", "index", "forex", "other"]
INSTRUMENT_KINDS: tuple[InstrumentKind, ...] = get_args(InstrumentKind)


def check_kind(text: object) -> InstrumentKind:
    """Return the kind that `text` names, or raise BadInput."""
    for kind in INSTRUMENT_KINDS:
        if text == kind:
            return kind
    raise BadInput(f"kind is {str(text)[:40]!r}, expected one of {', '.join(INSTRUMENT_KINDS)}")


def parse_caps(text: str) -> dict[InstrumentKind, int]:
    """Read `equity=1,option=1`: how many there may be of each kind that is named. ValueError where it says no such."""
    caps: dict[InstrumentKind, int] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, count = part.partition("=")
        if name not in INSTRUMENT_KINDS or name in caps or not (count.isascii() and count.isdigit() and len(count) < 8):
            kinds = ", ".join(INSTRUMENT_KINDS)
            raise ValueError(f"{part[:40]!r} must be a kind and a number, such as equity=1, each of {kinds} once")
        caps[check_kind(name)] = int(count)
    return caps
