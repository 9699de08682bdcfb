"""Parameters of rows, and by what rules they are looked at: what questions about order flow share."""

from typing import Any, get_args

from common.errors import BadInput
from common.frames.orderflow.imbalance import ImbalanceRule, Zeros
from common.frames.orderflow.poc import PocOf
from common.frames.orderflow.rows import MAX_FACTOR
from common.frames.orderflow.statistics import RowRules
from common.frames.orderflow.value_area import AreaRule
from common.market.instrument import Instrument
from common.market.orderflow.ratios import WHOLE_BP
from common.market.orderflow.rows import Align, lowest_offset
from feed.wire.answers import exact
from feed.wire.parameter_types import Lots, OneOf, RowTicks, Whole
from feed.wire.params import Given, Parameter

# More rows are no run that anybody would look for.
MAX_RUN = 1_000

ROW: Parameter[int | None] = Parameter(
    "row", RowTicks(), 1, "Height of a row, in the price: a multiple of the tick, which it is by default; or auto."
)
ALIGN: Parameter[Align | None] = Parameter(
    "align",
    OneOf(get_args(Align)),
    None,
    "Which row a price is of: the nearest multiple of the height, or the one below.",
)
# None: not given.
AREA: Parameter[AreaRule | None] = Parameter("va", OneOf(get_args(AreaRule)), None, "How a value area grows.")
SHARE: Parameter[int | None] = Parameter(
    "share", Whole(WHOLE_BP, 0), None, "Of the volume that a value area holds, in basis points."
)
POC_OF: Parameter[PocOf | None] = Parameter("poc_of", OneOf(get_args(PocOf)), None, "Of what the poc has most.")
IMBALANCE: Parameter[int | None] = Parameter(
    "imb", Whole(MAX_FACTOR, 100), None, "What one side is of the other in an imbalance, at least, in percent."
)
IMBALANCE_MIN: Parameter[int | None] = Parameter("imb_min", Lots(), None, "Least size of an imbalance.")
IMBALANCE_ZEROS: Parameter[Zeros | None] = Parameter(
    "imb_zeros", OneOf(get_args(Zeros)), None, "Whether a side of nothing can be outweighed."
)
STACK: Parameter[int | None] = Parameter("stack", Whole(MAX_RUN, 2), None, "Rows of a zone of imbalances, at least.")
ZERO_RUN: Parameter[int | None] = Parameter(
    "zero_min", Whole(MAX_RUN), None, "Rows of a zero print, at least: only one side traded there."
)
UNFINISHED_MIN: Parameter[int | None] = Parameter("ua_min", Lots(), None, "Least size at an unfinished extreme.")

RULES: tuple[Parameter[Any], ...] = (
    AREA,
    SHARE,
    POC_OF,
    IMBALANCE,
    IMBALANCE_MIN,
    IMBALANCE_ZEROS,
    STACK,
    ZERO_RUN,
    UNFINISHED_MIN,
)


def rules_of(given: Given) -> RowRules:
    """By what was given of those that an endpoint takes, else by default."""
    imbalance = _given(given, percent=IMBALANCE, min_lots=IMBALANCE_MIN, zeros=IMBALANCE_ZEROS)
    rules = _given(given, area=AREA, share_bp=SHARE, poc_of=POC_OF, stack=STACK, zero_run=ZERO_RUN)
    rules |= _given(given, unfinished_min_lots=UNFINISHED_MIN)
    return RowRules(imbalance=ImbalanceRule(**imbalance), **rules)


def refuse_rules(given: Given, wanted: str) -> None:
    """Where nothing is asked for that they would be rules of. `wanted`: what would ask for it."""
    for parameter in RULES:
        if given[parameter] is not None:
            raise BadInput(f"{parameter.name} is a rule of what was not asked for, expected {wanted}")


def stated_rows(row_ticks: int, align: Align, instrument: Instrument) -> dict[str, object]:
    """What an answer says of its rows: how high, and where the lowest price of one lies from its name."""
    lowest = instrument.price_text(lowest_offset(row_ticks, align))
    return {"row": exact(instrument.price_text(row_ticks)), "align": align, "lo": exact(lowest)}


def _given(given: Given, **parameters: Parameter[Any]) -> dict[str, Any]:
    found = {name: given.values.get(parameter.name) for name, parameter in parameters.items()}
    return {name: value for name, value in found.items() if value is not None}
