"""What must be there of trades that are all known, whatever happened on their way: bars and footprints as JSON."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from common.market.builder.builder import candle_of
from common.market.candle import LIVE
from common.market.coding.bar_json import bar_json
from common.market.footprint import Footprint
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import minute_of
from common.market.trade import Trade, Trades

Bars = dict[int, dict[str, Any]]

# How a bar came to be: in which order, through which hands, and what was missing meanwhile.
_HISTORY = ("isFinal", "rev", "source", "partial")


@dataclass(frozen=True, slots=True)
class Truth:
    """Of one symbol."""

    instrument: Instrument
    trades: Collection[Trade]

    def candles(self) -> Bars:
        """Of its minutes, by their open."""
        runs = self._runs()
        texts = (bar_json(candle_of(at, run, LIVE), self.instrument, is_final=True) for at, run in runs.items())
        return {bar["t"]: bare(bar) for bar in map(orjson.loads, texts)}

    def footprints(self) -> dict[int, list[dict[str, Any]]]:
        """Rows of its minutes."""
        return {at: list(self._rows(run)) for at, run in self._runs().items()}

    def without(self, trade: Trade) -> "Truth":
        return Truth(self.instrument, [each for each in self.trades if each != trade])

    def _runs(self) -> dict[int, Trades]:
        found: dict[int, list[Trade]] = {}
        for trade in sorted(self.trades):
            found.setdefault(minute_of(trade.ts_ms), []).append(trade)
        return {at: Trades.of(rows) for at, rows in found.items()}

    def _rows(self, run: Trades) -> Iterable[dict[str, Any]]:
        footprint, price, size = Footprint(), self.instrument.price_text, self.instrument.size_text
        footprint.add(run.price_ticks, run.size_lots, run.sides)
        for ticks, (bought, sold, unknown, buys, sells, others) in sorted(footprint.levels.items()):
            row = {
                "p": float(price(ticks)),
                "bv": float(size(bought)),
                "sv": float(size(sold)),
                "bn": buys,
                "sn": sells,
            }
            yield row | ({"uv": float(size(unknown)), "un": others} if others else {})


def bare(bar: dict[str, Any]) -> dict[str, Any]:
    """What the trades alone make of it."""
    return {name: value for name, value in bar.items() if name not in _HISTORY}
