"""Footprints over whole columns: to any timeframe and row height, and as JSON."""

from functools import lru_cache

import polars as pl

from common.frames.schema import LEVEL_LOTS, LEVEL_TRADES, LEVELS, conform
from common.frames.spans import held, span_open
from common.frames.text import decimal_text, only_where
from common.market.instrument import Instrument
from common.market.timeframe import Timeframe


def regroup(levels: pl.DataFrame, timeframe: Timeframe, row_ticks: int) -> pl.DataFrame:
    """Sum levels into spans of `timeframe` and rows of `row_ticks` (at least 1): a LEVELS frame, both ascending.

    A row is named by its middle price, as in common.market.footprint.row_of: the nearest multiple of `row_ticks`,
    and exactly between two of them the lower. Levels of candles that open outside every session are left out.
    """
    levels = held(levels, "open_ms", timeframe)
    row = (2 * pl.col("price_ticks") + row_ticks - 1) // (2 * row_ticks) * row_ticks
    rows = levels.group_by(span_open(pl.col("open_ms"), timeframe), row.alias("price_ticks")).agg(
        pl.col(LEVEL_LOTS).cast(pl.Int128).sum(), pl.col(LEVEL_TRADES).sum()
    )
    return conform(rows.sort("open_ms", "price_ticks"), LEVELS)


def poc(rows: pl.DataFrame) -> pl.DataFrame:
    """Return `open_ms` and `poc_ticks`, the row of most volume (bought, sold and unknown together).

    Of rows with equal volume it is the one nearest to the middle of the bar's rows, half way between the lowest row and
    the highest as they are here, so after binning; of two equally near the lower. Null for a bar without volume: prints
    of size 0 make none of its rows stand out.
    """
    price, volume = pl.col("price_ticks"), pl.sum_horizontal(pl.col(LEVEL_LOTS).cast(pl.Int128))
    from_middle = (2 * price - price.min() - price.max()).abs()
    first = price.sort_by(volume, from_middle, price, descending=[True, False, False]).first()
    best = pl.when(volume.max() > 0).then(first)
    return rows.group_by("open_ms", maintain_order=True).agg(poc_ticks=best)


def footprints_json(rows: pl.DataFrame, instrument: Instrument) -> bytes:
    """Return the JSON array of footprints, of a LEVELS frame with `is_final` (Boolean, equal within a bar).

        {"t":..,"isFinal":..,"delta":..,"poc":..,"rows":[{"p":..,"bv":..,"sv":..,"uv":..,"bn":..,"sn":..,"un":..}]}

    delta: bought less sold. Rows from the lowest price up, as they are in the frame: volume and number of trades by
    the aggressor's side, those of unknown side (uv, un) only where not 0. Numbers are exact decimals.
    """
    price, size = instrument.price_decimals, instrument.size_decimals
    lines = rows.with_columns(row=_row_json(price, size))
    bars = lines.group_by("open_ms", maintain_order=True).agg(
        pl.col("is_final").first(),
        pl.col("row").str.join(","),
        delta=pl.col("buy_lots").cast(pl.Int128).sum() - pl.col("sell_lots").cast(pl.Int128).sum(),
    )
    text: str = bars.join(poc(rows), on="open_ms", maintain_order="left").select(_bars_json(price, size)).item()
    return text.encode()


@lru_cache(64)
def _row_json(price: int, size: int) -> pl.Expr:
    return pl.format(
        '{{"p":{},"bv":{},"sv":{}{},"bn":{buy_trades},"sn":{sell_trades}{}}}',
        decimal_text("price_ticks", price),
        decimal_text("buy_lots", size),
        decimal_text("sell_lots", size),
        only_where(pl.col("unknown_lots") != 0, pl.format(',"uv":{}', decimal_text("unknown_lots", size))),
        only_where(pl.col("unknown_trades") != 0, pl.format(',"un":{unknown_trades}')),
    )


@lru_cache(64)
def _bars_json(price: int, size: int) -> pl.Expr:
    bar = pl.format(
        '{{"t":{open_ms},"isFinal":{is_final},"delta":{},"poc":{},"rows":[{row}]}}',
        decimal_text("delta", size),
        decimal_text("poc_ticks", price).fill_null("null"),
    )
    return pl.format("[{}]", bar.str.join(","))
