"""How bars are written here: `ts` in seconds, and nothing that charts don't draw."""

from functools import lru_cache

import polars as pl

from common.frames.text import decimal_text, only_where
from common.market import units
from common.market.candle import Candle
from common.market.instrument import Instrument

# A second has so many decimals of ms.
MS_DECIMALS = 3

# The columns of a bar, and their two names.
NAMES = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}


class OhlcvRow:
    """`{"ts","o","h","l","c","v","isFinal","rev"}`, and `"partial":true` where trades may be missing."""

    def bar(self, candle: Candle, instrument: Instrument, *, is_final: bool) -> bytes:
        values = ",".join(f'"{name}":{text}' for name, text in _texts(candle, instrument).items())
        return f'{{{_ts(candle)},{values},"isFinal":{_bool(is_final)},"rev":{candle.rev}}}'.encode()

    def bars(self, frame: pl.DataFrame, instrument: Instrument) -> list[bytes]:
        return _selected(frame, _row(instrument.price_decimals, instrument.size_decimals))


class CurrentRow:
    """The same under both of its names, with `is_complete`."""

    def bar(self, candle: Candle, instrument: Instrument, *, is_final: bool) -> bytes:
        texts = _texts(candle, instrument)
        values = [f'"{name}":{text}' for name, text in texts.items()]
        values += [f'"{NAMES[name]}":{text}' for name, text in texts.items()]
        return f'{{{_ts(candle)},{",".join(values)},"is_complete":{_bool(is_final)},"rev":{candle.rev}}}'.encode()

    def bars(self, frame: pl.DataFrame, instrument: Instrument) -> list[bytes]:
        return _selected(frame, _current_row(instrument.price_decimals, instrument.size_decimals))


ROW, CURRENT_ROW = OhlcvRow(), CurrentRow()


def _ts(candle: Candle) -> str:
    return f'"ts":{units.render(candle.open_ms, MS_DECIMALS)}'


def _texts(candle: Candle, instrument: Instrument) -> dict[str, str]:
    prices = map(instrument.price_text, (candle.open_ticks, candle.high_ticks, candle.low_ticks, candle.close_ticks))
    return dict(zip(NAMES, (*prices, instrument.size_text(candle.volume_lots)), strict=True))


def _selected(frame: pl.DataFrame, row: pl.Expr) -> list[bytes]:
    texts: list[bytes] = frame.select(row).to_series().to_list()
    return texts


def _columns(price: int, size: int) -> list[pl.Expr]:
    prices = [decimal_text(name, price) for name in ("open_ticks", "high_ticks", "low_ticks", "close_ticks")]
    return [*prices, decimal_text("volume_lots", size)]


@lru_cache(64)
def _row(price: int, size: int) -> pl.Expr:
    values = ",".join(f'"{name}":{{}}' for name in NAMES)
    text = f'{{{{"ts":{{}},{values},"isFinal":{{is_final}},"rev":{{rev}}{{}}}}}}'
    return pl.format(text, decimal_text("open_ms", MS_DECIMALS), *_columns(price, size), _partial()).cast(pl.Binary)


@lru_cache(64)
def _current_row(price: int, size: int) -> pl.Expr:
    values = ",".join(f'"{name}":{{}}' for name in (*NAMES, *NAMES.values()))
    text = f'{{{{"ts":{{}},{values},"is_complete":{{is_final}},"rev":{{rev}}{{}}}}}}'
    columns = _columns(price, size)
    return pl.format(text, decimal_text("open_ms", MS_DECIMALS), *columns, *columns, _partial()).cast(pl.Binary)


def _partial() -> pl.Expr:
    return only_where(pl.col("partial"), pl.lit(',"partial":true'))


def _bool(value: bool) -> str:
    return "true" if value else "false"
