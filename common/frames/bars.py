"""Bars as JSON, CSV and Arrow. A bars frame is a CANDLES frame with `is_final` and `partial` (Boolean).

Every number is exact: in JSON and CSV the shortest text of the decimal, in Arrow a decimal column.
"""

import io
from functools import lru_cache

import polars as pl

from common.frames import arrow
from common.frames.arrow import ArrowColumn, Decimals128, Flags, Ints64, Words
from common.frames.schema import SHOWN
from common.frames.text import decimal, decimal_text, only_where
from common.market.candle import SOURCE_NAMES
from common.market.instrument import Instrument

_UNKNOWN_LOTS = pl.col("volume_lots") - pl.col("buy_lots") - pl.col("sell_lots")
# The name Candle.source gives to each set of source bits; the empty set has none.
_NAMES = ["", *(next(n for bit, n in SOURCE_NAMES.items() if bits & bit) for bits in range(1, 16))]
_SOURCE = pl.lit(pl.Series(_NAMES)).gather("sources")


def bars_json(bars: pl.DataFrame, instrument: Instrument) -> list[bytes]:
    """Return the JSON of each bar, byte for byte as common.market.coding.bar_json writes it."""
    texts: list[bytes] = bars.select(_json(instrument.price_decimals, instrument.size_decimals)).to_series().to_list()
    return texts


def dated_bars_json(bars: pl.DataFrame, instrument: Instrument) -> list[bytes]:
    """The same of bars with order keys, each with the time of its last trade; of a flat one, of the last before it."""
    pairs = zip(bars_json(bars, instrument), bars["last_ts_ms"], strict=True)
    return [b'%s,"lastUpdatedAt":%d}' % (text[:-1], last_ms) for text, last_ms in pairs]


def bars_csv(bars: pl.DataFrame, instrument: Instrument) -> bytes:
    """Return CSV with a header. Every column is always there, `isFinal` and `partial` as true or false."""
    price, size = instrument.price_decimals, instrument.size_decimals
    texts = {name: decimal_text(column, digits) for name, (column, digits) in _numbers(price, size).items()}
    return bars.select(**_row(texts)).write_csv(quote_style="never").encode()


def bars_arrow(bars: pl.DataFrame, instrument: Instrument) -> bytes | memoryview:
    """Return an uncompressed Arrow IPC stream with the columns of the CSV.

    t n rev: int64 (t is ms UTC); o h l c: decimal128(38, price decimals); v bv uv: decimal128(38, size decimals);
    q: decimal128(38, both together); isFinal partial: bool; source: large_string. A double could not hold every
    sum; who prefers speed to exactness casts the decimals in one step.
    """
    # What does not fit becomes null.
    turnover = bars["turnover"].cast(pl.Int64, strict=False)
    if bars.is_empty() or turnover.null_count():
        return _any_arrow(bars, instrument.price_decimals, instrument.size_decimals)
    schema = _arrow_schema(instrument.price_decimals, instrument.size_decimals)
    return arrow.stream(schema, len(bars), _arrow_columns(bars, turnover))


def _arrow_columns(bars: pl.DataFrame, turnover: pl.Series) -> list[ArrowColumn]:
    """Those of `_row`, in its order. `turnover`: in 64 bits."""
    prices = [Decimals128(bars[name].to_numpy()) for name in ("open_ticks", "high_ticks", "low_ticks", "close_ticks")]
    volume, buy, sell = (bars[name].to_numpy() for name in ("volume_lots", "buy_lots", "sell_lots"))
    return [
        Ints64(bars["open_ms"].to_numpy()),
        *prices,
        *(Decimals128(lots) for lots in (volume, buy, volume - buy - sell)),
        Decimals128(turnover.to_numpy()),
        Ints64(bars["trades"].to_numpy()),
        Flags(bars["is_final"].to_numpy()),
        Ints64(bars["rev"].to_numpy()),
        Words(_NAMES, bars["sources"].to_numpy()),
        Flags(bars["partial"].to_numpy()),
    ]


@lru_cache(64)
def _arrow_schema(price: int, size: int) -> bytes:
    flags = [pl.Series(name, [], pl.Boolean) for name in ("is_final", "partial")]
    return arrow.schema_message(_any_arrow(SHOWN.to_frame().hstack(flags), price, size))


def _any_arrow(bars: pl.DataFrame, price: int, size: int) -> bytes:
    """The same stream, by Polars: of any bars, and three times as slow."""
    exact = {name: decimal(column, digits) for name, (column, digits) in _numbers(price, size).items()}
    stream = io.BytesIO()
    # The oldest level: string views are too new for many readers of Arrow.
    # In one piece, however the bars came together.
    bars.select(**_row(exact)).rechunk().write_ipc_stream(
        stream, compression="uncompressed", compat_level=pl.CompatLevel.oldest()
    )
    return stream.getvalue()


def _numbers(price: int, size: int) -> dict[str, tuple[pl.Expr, int]]:
    """The numbers with a decimal point: name, what is in it, and its decimals."""
    return {
        "o": (pl.col("open_ticks"), price),
        "h": (pl.col("high_ticks"), price),
        "l": (pl.col("low_ticks"), price),
        "c": (pl.col("close_ticks"), price),
        "v": (pl.col("volume_lots"), size),
        "bv": (pl.col("buy_lots"), size),
        "uv": (_UNKNOWN_LOTS, size),
        "q": (pl.col("turnover"), price + size),
    }


def _row(numbers: dict[str, pl.Expr]) -> dict[str, pl.Expr]:
    """All columns of a table of bars, in order."""
    return {
        "t": pl.col("open_ms"),
        **numbers,
        "n": pl.col("trades"),
        "isFinal": pl.col("is_final"),
        "rev": pl.col("rev"),
        "source": _SOURCE,
        "partial": pl.col("partial"),
    }


@lru_cache(64)
def _json(price: int, size: int) -> pl.Expr:
    """A bar as one expression; kept, for building it takes a third as long as evaluating it for 500 bars."""
    text = {name: decimal_text(column, digits) for name, (column, digits) in _numbers(price, size).items()}
    bar = pl.format(
        '{{"t":{open_ms},"o":{},"h":{},"l":{},"c":{},"v":{},"bv":{}{},"q":{},"n":{trades}'
        ',"isFinal":{is_final},"rev":{rev},"source":"{}"{}}}',
        *(text[name] for name in ("o", "h", "l", "c", "v", "bv")),
        only_where(_UNKNOWN_LOTS != 0, pl.format(',"uv":{}', text["uv"])),
        text["q"],
        _SOURCE,
        only_where(pl.col("partial"), pl.lit(',"partial":true')),
    )
    return bar.cast(pl.Binary)
