"""Several timeframes at once: `/api/multi-timeframe/...`. Times are in seconds, timeframes are called as asked.

parameters      what its questions take
rows            how its bars are written
ohlcv           the last bars of each timeframe, and the newest one
"""

from typing import Any

from feed.faces.multi_timeframe import ohlcv
from feed.queries.endpoint import Endpoint
from feed.queries.queries import SymbolQueries

ENDPOINTS: tuple[Endpoint[SymbolQueries, Any], ...] = (ohlcv.OHLCV, ohlcv.CURRENT)
