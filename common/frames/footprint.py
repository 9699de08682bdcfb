"""Footprints over whole columns: to any timeframe and row height, and as JSON."""

from functools import lru_cache

import numpy as np
import polars as pl

from common.frames.orderflow.poc import poc_at, prices_at
from common.frames.orderflow.rows import RowColumns
from common.frames.places import PricePlaces, sums
from common.frames.runs import MAX_INT64
from common.frames.schema import LEVEL_LOTS, LEVEL_TRADES, LEVELS, conform
from common.frames.spans import held, opens_of
from common.frames.text import decimal_text, only_where
from common.market.coding.packed import Ints
from common.market.instrument import Instrument
from common.market.orderflow.rows import Align, lowest_offset
from common.market.timeframes.timeframe import Timeframe


def regroup(levels: pl.DataFrame, timeframe: Timeframe, row_ticks: int, align: Align = "nearest") -> pl.DataFrame:
    """Sum levels into spans of `timeframe` and rows of `row_ticks` (at least 1): a LEVELS frame, both ascending.

    Which row a price belongs to, `align` says (common.market.orderflow.rows). Levels of candles that open outside every
    session are left out.
    """
    levels = held(levels, "open_ms", timeframe)
    if levels.is_empty():
        return levels
    opens = opens_of(levels["open_ms"].to_numpy(), timeframe)
    prices = levels["price_ticks"].to_numpy()
    rows = prices if row_ticks == 1 else (prices - lowest_offset(row_ticks, align)) // row_ticks * row_ticks
    named = levels.with_columns(pl.Series("open_ms", opens), pl.Series("price_ticks", rows))
    if _are_apart(opens, rows):
        return named
    summed = _summed(named, opens, rows, row_ticks)
    return _grouped(named) if summed is None else summed


def _are_apart(opens: Ints, rows: Ints) -> bool:
    """Whether they ascend by open and then row, no two alike: then there is nothing to be summed."""
    later, same = opens[1:] > opens[:-1], opens[1:] == opens[:-1]
    return bool((later | (same & (rows[1:] > rows[:-1]))).all())


def _summed(levels: pl.DataFrame, opens: Ints, rows: Ints, row_ticks: int) -> pl.DataFrame | None:
    """None where a sum might not fit 64 bits, or other ways are quicker."""
    places = PricePlaces.of(opens, rows, row_ticks) if (opens[1:] >= opens[:-1]).all() else None
    columns = {name: levels[name].to_numpy() for name in (*LEVEL_LOTS, *LEVEL_TRADES)}
    if places is None or max(int(column.max()) for column in columns.values()) > MAX_INT64 // len(levels):
        return None
    there = np.zeros(places.count, np.bool_)
    there[places.of_row] = True
    # Of the places only those that are needed: they are few where rows are wide.
    at = (np.cumsum(there) - 1)[places.of_row]
    found = np.flatnonzero(there)
    open_ms, price_ticks = places.named(found)
    summed = {name: sums(column, at, len(found)) for name, column in columns.items()}
    return pl.DataFrame({"open_ms": open_ms, "price_ticks": price_ticks, **summed}, schema=LEVELS)


def _grouped(levels: pl.DataFrame) -> pl.DataFrame:
    summed = levels.group_by("open_ms", "price_ticks").agg(
        pl.col(LEVEL_LOTS).cast(pl.Int128).sum(), pl.col(LEVEL_TRADES).sum()
    )
    return conform(summed.sort("open_ms", "price_ticks"), LEVELS)


def poc(rows: pl.DataFrame) -> pl.DataFrame:
    """Return `open_ms` and `poc_ticks`, the row of most volume (common.frames.orderflow.poc); null without volume."""
    columns = RowColumns.of(rows, 1)
    at = poc_at(columns)
    found = pl.DataFrame({"open_ms": columns.open_ms, "poc_ticks": prices_at(columns, at)})
    return found.with_columns(pl.when(pl.Series(at >= 0)).then("poc_ticks").alias("poc_ticks"))


def footprints_json(rows: pl.DataFrame, instrument: Instrument) -> list[bytes]:
    """Return the JSON of each footprint, of a LEVELS frame with `is_final` and `partial` (Boolean, equal within a bar).

        {"t":..,"isFinal":..,"delta":..,"poc":..,"rows":[{"p":..,"bv":..,"sv":..,"uv":..,"bn":..,"sn":..,"un":..}]}

    delta: bought less sold. Rows from the lowest price up, as they are in the frame: volume and number of trades by
    the aggressor's side, those of unknown side (uv, un) only where not 0. Numbers are exact decimals. `partial` only
    where it is true.
    """
    price, size = instrument.price_decimals, instrument.size_decimals
    lines = rows.with_columns(row=row_json(price, size))
    bars = lines.group_by("open_ms", maintain_order=True).agg(
        pl.col("is_final", "partial").first(),
        pl.col("row").str.join(","),
        delta=pl.col("buy_lots").cast(pl.Int128).sum() - pl.col("sell_lots").cast(pl.Int128).sum(),
    )
    found = bars.join(poc(rows), on="open_ms", maintain_order="left").select(_bar_json(price, size))
    texts: list[bytes] = found.to_series().cast(pl.Binary).to_list()
    return texts


@lru_cache(64)
def row_json(price: int, size: int, *, is_marked: bool = False) -> pl.Expr:
    """A row as JSON. `is_marked`: with what its column `mark` says."""
    return pl.format(
        '{{"p":{},"bv":{},"sv":{}{},"bn":{buy_trades},"sn":{sell_trades}{}{}}}',
        decimal_text("price_ticks", price),
        decimal_text("buy_lots", size),
        decimal_text("sell_lots", size),
        only_where(pl.col("unknown_lots") != 0, pl.format(',"uv":{}', decimal_text("unknown_lots", size))),
        only_where(pl.col("unknown_trades") != 0, pl.format(',"un":{unknown_trades}')),
        pl.col("mark") if is_marked else pl.lit(""),
    )


@lru_cache(64)
def _bar_json(price: int, size: int) -> pl.Expr:
    return pl.format(
        '{{"t":{open_ms},"isFinal":{is_final},"delta":{},"poc":{},"rows":[{row}]{}}}',
        decimal_text("delta", size),
        decimal_text("poc_ticks", price).fill_null("null"),
        only_where(pl.col("partial"), pl.lit(',"partial":true')),
    )
