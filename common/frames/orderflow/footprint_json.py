"""Footprints as JSON with what is said of their bars and rows."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import polars as pl

from common.frames.footprint import row_json
from common.frames.orderflow.imbalance import RowRuns
from common.frames.orderflow.states import LaterCandles, PriceState
from common.frames.orderflow.statistics import RowStatistics
from common.frames.text import decimal_text, only_where
from common.market.coding.packed import Ints
from common.market.instrument import Instrument

FootprintField = Literal["deltaBp", "dmin", "dmax", "vah", "val", "imb", "zones", "unfinished", "zeroPrints"]
FOOTPRINT_FIELDS: tuple[FootprintField, ...] = get_args(FootprintField)
# Those that say what became of a price later.
WITH_STATES = frozenset({"zones", "unfinished"})
# By bit: bought 1, sold 2.
_MARKS = pl.Series(["", ',"imb":"buy"', ',"imb":"sell"', ',"imb":"both"'])

Texts = dict[int, list[str]]


@dataclass(frozen=True, eq=False)
class FlowFootprints:
    """Bars, the same as a table (common.frames.orderflow.statistics), their rows, and what came after them.

    `sums`: the LEVEL_SUMS of the bars; `later`: candles to the end of what is answered. None where not asked for.
    """

    table: pl.DataFrame
    levels: pl.DataFrame
    statistics: RowStatistics
    lowest_offset: int
    sums: pl.DataFrame | None = None
    later: LaterCandles | None = None

    def json(self, instrument: Instrument, fields: frozenset[FootprintField]) -> list[bytes]:
        """Return the JSON of each bar: as footprints_json, with the fields asked for.

        `delta` is the candle's. `missing`: volume that no row has; such a bar is partial, as what is said of its rows.
        """
        price, size = instrument.price_decimals, instrument.size_decimals
        rows = self._row_texts(price, size, is_marked="imb" in fields)
        marks = pl.Series("marks", self._marks(instrument, fields), pl.String)
        bars = self.table.with_columns(marks).join(rows, on="open_ms", how="left", maintain_order="left")
        texts: list[bytes] = bars.select(_bar_json(price, size, fields)).to_series().to_list()
        return texts

    def _row_texts(self, price: int, size: int, *, is_marked: bool) -> pl.DataFrame:
        lines = self.levels
        if is_marked:
            bought, sold = self.statistics.imbalances
            lines = lines.with_columns(mark=_MARKS.gather(pl.Series(bought + 2 * sold.astype(np.int64))))
        lines = lines.select("open_ms", row=row_json(price, size, is_marked=is_marked))
        return lines.group_by("open_ms", maintain_order=True).agg(pl.col("row").str.join(","))

    def _marks(self, instrument: Instrument, fields: frozenset[FootprintField]) -> list[str]:
        """What is said of runs of rows and of prices, of each bar."""
        zones, unfinished, zeros = Texts(), Texts(), Texts()
        if "zones" in fields:
            zones = _gathered(self._zones(instrument))
        if "unfinished" in fields:
            unfinished = _gathered(self._unfinished(instrument))
        if "zeroPrints" in fields:
            zeros = _gathered(self._zero_prints(instrument))
        named = [("zones", zones), ("unfinished", unfinished), ("zeroPrints", zeros)]
        return [
            "".join(f',"{name}":[{",".join(texts[ms])}]' for name, texts in named if ms in texts)
            for ms in self.table["open_ms"].to_list()
        ]

    def _zones(self, instrument: Instrument) -> Iterator[tuple[int, str]]:
        assert self.later
        bought, sold = self.statistics.stacks
        for side, runs, from_above in (("buy", bought, True), ("sell", sold, False)):
            bars, low, high = self._places(runs)
            states = self.later.states(bars, low, high, from_above=from_above)
            for told, state in zip(_told(bars, low, high, runs.counts(), instrument), states, strict=True):
                yield told[0], f'{{"side":"{side}",{told[1]},{_state(state)}}}'

    def _zero_prints(self, instrument: Instrument) -> Iterator[tuple[int, str]]:
        for side, runs in zip(("buy", "sell"), self.statistics.zero_prints, strict=True):
            bars, low, high = self._places(runs)
            for open_ms, text in _told(bars, low, high, runs.counts(), instrument):
                yield open_ms, f'{{"without":"{side}",{text}}}'

    def _places(self, runs: RowRuns) -> tuple[Ints, Ints, Ints]:
        """The opens of their bars, and their lowest and highest ticks."""
        rows = self.statistics.rows
        low = rows.price[runs.first] + self.lowest_offset
        high = rows.price[runs.last] + self.lowest_offset + rows.row_ticks - 1
        return rows.open_ms[rows.bars[runs.first]], low, high

    def _unfinished(self, instrument: Instrument) -> Iterator[tuple[int, str]]:
        assert self.later and self.sums is not None
        least = self.statistics.rules.unfinished_min_lots
        for end, opposite, from_above in (("high", "buy", False), ("low", "sell", True)):
            both = pl.min_horizontal(f"{end}_buy_lots", f"{end}_sell_lots") > 0
            found = self.sums.filter(both & (pl.col(f"{end}_{opposite}_lots") >= least))
            bars, ticks = found["open_ms"].to_numpy(), found[f"{end}_ticks"].to_numpy()
            states = self.later.states(bars, ticks, ticks, from_above=from_above)
            for open_ms, price, state in zip(bars.tolist(), ticks.tolist(), states, strict=True):
                yield open_ms, f'{{"at":"{end}","p":{instrument.price_text(price)},{_state(state)}}}'


def _told(bars: Ints, low: Ints, high: Ints, counts: Ints, instrument: Instrument) -> Iterator[tuple[int, str]]:
    text = instrument.price_text
    for open_ms, bottom, top, rows in zip(*(each.tolist() for each in (bars, low, high, counts)), strict=True):
        yield open_ms, f'"low":{text(bottom)},"high":{text(top)},"rows":{rows}'


def _state(state: PriceState) -> str:
    times = (("touched", state.touched_ms), ("filled", state.filled_ms))
    return f'"state":"{state.word}"' + "".join(f',"{name}":{ms}' for name, ms in times if ms is not None)


def _gathered(found: Iterator[tuple[int, str]]) -> Texts:
    texts: Texts = defaultdict(list)
    for open_ms, text in found:
        texts[open_ms].append(text)
    return texts


@lru_cache(64)
def _bar_json(price: int, size: int, fields: frozenset[FootprintField]) -> pl.Expr:
    numbers: dict[FootprintField, pl.Expr] = {
        "deltaBp": pl.col("delta_bp").cast(pl.String),
        "dmin": decimal_text("delta_min_lots", size),
        "dmax": decimal_text("delta_max_lots", size),
        "vah": decimal_text("vah_ticks", price),
        "val": decimal_text("val_ticks", price),
    }
    told = [pl.format(f',"{name}":{{}}', text.fill_null("null")) for name, text in numbers.items() if name in fields]
    missing = pl.col("missing_lots").is_not_null()
    text = pl.format(
        '{{"t":{open_ms},"isFinal":{is_final},"delta":{},"poc":{}{},"rows":[{}]{marks}{}{}}}',
        decimal_text("delta_lots", size),
        decimal_text("poc_ticks", price).fill_null("null"),
        pl.concat_str(told) if told else pl.lit(""),
        pl.col("row").fill_null(""),
        only_where(missing, pl.format(',"missing":{}', decimal_text("missing_lots", size).fill_null(""))),
        only_where(pl.col("partial") | missing, pl.lit(',"partial":true')),
    )
    return text.cast(pl.Binary)
