"""Bars with their order flow as a table: one row a bar, as JSON, CSV and Arrow.

The columns of a flow table have the names they are told by, and hold whole numbers in units of their last decimal.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal, get_args

import polars as pl

from common.frames.orderflow.running import RunningMean
from common.frames.orderflow.statistics import beside, shares
from common.frames.schema import DELTA_RANGE, LEVEL_LOTS, LEVEL_TRADES
from common.frames.text import decimal, decimal_text, only_where
from common.market.instrument import Instrument
from common.market.orderflow.vwap import DECIMALS

FlowField = Literal[
    "v",
    "bv",
    "sv",
    "uv",
    "delta",
    "deltaBp",
    "buyBp",
    "dmin",
    "dmax",
    "cvd",
    "n",
    "bn",
    "sn",
    "un",
    "perTrade",
    "range",
    "poc",
    "vah",
    "val",
    "buyImb",
    "sellImb",
    "vwap",
    "up1",
    "down1",
    "up2",
    "down2",
    "up3",
    "down3",
    "missing",
]
FLOW_FIELDS: tuple[FlowField, ...] = get_args(FlowField)
FLAGS = ("isFinal", "partial", "anchorPartial")
# In sizes and prices; all others are whole numbers.
_SIZES = frozenset({"v", "bv", "sv", "uv", "delta", "dmin", "dmax", "cvd", "missing"})
_PRICES = frozenset({"range", "poc", "vah", "val"})
_MEANS = frozenset({"vwap", "up1", "down1", "up2", "down2", "up3", "down3"})
# Of a mean size.
_MORE_DECIMALS = 2

# What they are made of, beside candles.
OF_ROWS = frozenset({"poc", "vah", "val", "buyImb", "sellImb", "missing"})
OF_SUMS = frozenset({"bn", "sn", "un", *_MEANS - {"vwap"}})
OF_ANCHORS = frozenset({"cvd", *_MEANS})
_BANDS = (1, 2, 3)
# Rounded half up.
_WIDE, _TRADES = pl.col("volume_lots").cast(pl.Int128), pl.col("trades")
_PER_TRADE = (2 * 10**_MORE_DECIMALS * _WIDE + _TRADES) // (2 * _TRADES)


@dataclass(frozen=True, slots=True, eq=False)
class FlowColumns:
    """What tables are made of.

    `bars`: as common.frames.orderflow.statistics has them, or without rows; `sums`: their LEVEL_SUMS. Since their
    anchors: `cvd`, `means`.
    """

    bars: pl.DataFrame
    sums: pl.DataFrame | None
    cvd: pl.Series | None
    means: Sequence[RunningMean] | None
    anchor_partial: pl.Series

    def table(self, fields: frozenset[FlowField]) -> pl.DataFrame:
        """The flow table with those fields, in the order in which they are told."""
        bars = self.bars
        made: dict[str, pl.Series] = {}
        made.update(self._of_candles())
        made.update(self._of_sums())
        made.update(self._of_anchors())
        made |= {name: bars[column] for name, column in _ROWS.items() if column in bars.columns}
        flags = {"isFinal": bars["is_final"], "partial": bars["partial"], "anchorPartial": self.anchor_partial}
        wanted: dict[str, pl.Series] = {name: made[name] for name in FLOW_FIELDS if name in fields}
        return pl.DataFrame({"t": bars["open_ms"], **wanted, **flags})

    def _of_candles(self) -> Iterator[tuple[str, pl.Series]]:
        bars = self.bars
        volume, buy, sell = (bars[name] for name in ("volume_lots", "buy_lots", "sell_lots"))
        delta = buy.cast(pl.Int128) - sell
        yield from (("v", volume), ("bv", buy), ("sv", sell), ("uv", volume - buy - sell), ("n", bars["trades"]))
        yield from (("delta", delta), ("deltaBp", shares(delta, volume)), ("buyBp", shares(buy, buy + sell)))
        yield from zip(("dmin", "dmax"), (bars[name] for name in DELTA_RANGE), strict=True)
        yield from (
            ("perTrade", bars.select(_PER_TRADE).to_series()),
            ("range", bars["high_ticks"] - bars["low_ticks"]),
        )

    def _of_sums(self) -> Iterator[tuple[str, pl.Series]]:
        if self.sums is not None:
            counted = beside(self.bars.select("open_ms", "volume_lots"), self.sums)
            lots = sum((counted[name].cast(pl.Int128) for name in LEVEL_LOTS), start=pl.Series([0], dtype=pl.Int128))
            # Of a bar whose levels have not all of its volume they are not known.
            counts = counted.select(pl.when(pl.Series(lots == counted["volume_lots"])).then(pl.col(LEVEL_TRADES)))
            yield from zip(("bn", "sn", "un"), counts.get_columns(), strict=True)

    def _of_anchors(self) -> Iterator[tuple[str, pl.Series]]:
        if self.cvd is not None:
            yield "cvd", self.cvd
        if self.means is not None:
            middles, aways = [each.vwap for each in self.means], [each.deviation for each in self.means]
            yield "vwap", pl.Series(middles, dtype=pl.Int128)
            for times in _BANDS:
                for name, sign in (("up", times), ("down", -times)):
                    yield f"{name}{times}", pl.Series(map(partial(_beside, sign), middles, aways), dtype=pl.Int128)


_ROWS = {
    "poc": "poc_ticks",
    "vah": "vah_ticks",
    "val": "val_ticks",
    "buyImb": "bought_imbalances",
    "sellImb": "sold_imbalances",
    "missing": "missing_lots",
}


def _beside(times: int, middle: int | None, away: int | None) -> int | None:
    return None if middle is None or away is None else middle + times * away


def flow_json(table: pl.DataFrame, instrument: Instrument) -> list[bytes]:
    """Return the JSON of each bar. What is not known is null; `missing` and flags are told where there is something."""
    found: list[bytes] = table.select(_json(tuple(table.columns), *_decimals(instrument))).to_series().to_list()
    return found


def flow_csv(table: pl.DataFrame, instrument: Instrument) -> bytes:
    """Return CSV with a header; what is not known is empty."""
    columns = {name: decimal_text(name, digits) for name, digits in _scaled(table.columns, instrument).items()}
    return table.select(columns.get(name, pl.col(name)).alias(name) for name in table.columns).write_csv().encode()


def flow_arrow(table: pl.DataFrame, instrument: Instrument) -> bytes:
    """Return an uncompressed Arrow IPC stream: decimals as decimal128(38), all but `t` and the flags may be null."""
    columns = {name: decimal(name, digits) for name, digits in _scaled(table.columns, instrument).items()}
    exact = table.select(columns.get(name, pl.col(name)).alias(name) for name in table.columns)
    stream = io.BytesIO()
    exact.rechunk().write_ipc_stream(stream, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return stream.getvalue()


def _decimals(instrument: Instrument) -> tuple[int, int]:
    return instrument.price_decimals, instrument.size_decimals


def _scaled(columns: list[str], instrument: Instrument) -> dict[str, int]:
    """The columns that have decimals, and how many."""
    price, size = _decimals(instrument)
    return {name: digits for name in columns if (digits := _digits(name, price, size)) is not None}


def _digits(name: str, price: int, size: int) -> int | None:
    if name in _SIZES:
        return size
    if name in _PRICES:
        return price
    if name in _MEANS:
        return price + DECIMALS
    return size + _MORE_DECIMALS if name == "perTrade" else None


@lru_cache(64)
def _json(columns: tuple[str, ...], price: int, size: int) -> pl.Expr:
    told = []
    for name in columns:
        digits = _digits(name, price, size)
        text = pl.col(name).cast(pl.String) if digits is None else decimal_text(name, digits)
        if name == "missing":
            told.append(only_where(pl.col(name).is_not_null(), pl.format(f',"{name}":{{}}', text.fill_null(""))))
        elif name not in ("t", *FLAGS):
            told.append(pl.format(f',"{name}":{{}}', text.fill_null("null")))
    told += [only_where(pl.col(name), pl.lit(f',"{name}":true')) for name in FLAGS[1:]]
    bar = pl.format('{{"t":{t},"isFinal":{isFinal}{}}}', pl.concat_str(told))
    return bar.cast(pl.Binary)
