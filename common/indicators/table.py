"""All kinds of indicators, by name."""

from collections.abc import Mapping

from common.indicators.averages import AVERAGES
from common.indicators.kinds import IndicatorKind
from common.indicators.momentum import MOMENTUM
from common.indicators.ranges import RANGES
from common.indicators.running import RUNNING
from common.indicators.trends import TRENDS
from common.indicators.volumes import VOLUMES

KINDS: Mapping[str, IndicatorKind] = {
    kind.name: kind for kind in (*AVERAGES, *MOMENTUM, *TRENDS, *RANGES, *VOLUMES, *RUNNING)
}
# Read, never written.
ALIASES = {
    "SUPERT": "SUPERTREND",
    "UO": "ULTOSC",
    "DC": "DONCHIAN",
    "VTX": "VORTEX",
    "SMMA": "RMA",
    "BB": "BBANDS",
    "PSAR": "SAR",
}
