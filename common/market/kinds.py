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
