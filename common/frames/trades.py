"""Trades as JSON, CSV and Arrow: time and sales of a TRADES frame.

Every number is exact: in JSON and CSV the shortest text of the decimal, in Arrow a decimal column.
"""

import io
from functools import lru_cache

import polars as pl

from common.frames.text import decimal, decimal_text
from common.market.instrument import Instrument
from common.market.trade import SIDE_NAMES

_SIDE = pl.lit(pl.Series(SIDE_NAMES)).gather("side")


def trades_json(trades: pl.DataFrame, instrument: Instrument) -> bytes:
    """Return the JSON array of trades, each as in the channel `{S}:trades`."""
    text: str = trades.select(_json(instrument.price_decimals, instrument.size_decimals)).item()
    return text.encode()


def trades_csv(trades: pl.DataFrame, instrument: Instrument) -> bytes:
    """Return CSV with a header: what `fleet replay` reads."""
    price = decimal_text("price_ticks", instrument.price_decimals)
    size = decimal_text("size_lots", instrument.size_decimals)
    return trades.select(**_row(price, size)).write_csv(quote_style="never").encode()


def trades_arrow(trades: pl.DataFrame, instrument: Instrument) -> bytes:
    """Return an uncompressed Arrow IPC stream with the columns of the CSV.

    ts_ms id: int64; price: decimal128(38, price decimals); size: decimal128(38, size decimals); side: large_string.
    """
    price = decimal("price_ticks", instrument.price_decimals)
    size = decimal("size_lots", instrument.size_decimals)
    stream = io.BytesIO()
    # The oldest level: string views are too new for many readers of Arrow.
    trades.select(**_row(price, size)).write_ipc_stream(
        stream, compression="uncompressed", compat_level=pl.CompatLevel.oldest()
    )
    return stream.getvalue()


def _row(price: pl.Expr, size: pl.Expr) -> dict[str, pl.Expr]:
    """All columns of a table of trades, in order."""
    return {"ts_ms": pl.col("ts_ms"), "price": price, "size": size, "side": _SIDE, "id": pl.col("id")}


@lru_cache(64)
def _json(price: int, size: int) -> pl.Expr:
    """The array as one expression."""
    trade = pl.format(
        '{{"t":{ts_ms},"id":{id},"p":{},"q":{},"side":"{}"}}',
        decimal_text("price_ticks", price),
        decimal_text("size_lots", size),
        _SIDE,
    )
    return pl.format("[{}]", trade.str.join(","))
