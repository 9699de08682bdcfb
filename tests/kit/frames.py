"""Frames of the core's values: the way into every law that holds the two equal."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple

import polars as pl

from common.frames import decode
from common.frames.schema import CANDLES, LEVELS
from common.market.candle import Candle
from common.market.coding.codec import pack_trades
from common.market.footprint import Footprint
from common.market.instrument import Instrument
from common.market.trade import Trades
from tests.kit.shell import Shell, builder_of, unpacked

UNIQUE = Instrument("BTCUSDT", 2, 8, "unique")


def candles_frame(candles: Iterable[Candle]) -> pl.DataFrame:
    return pl.DataFrame([astuple(candle) for candle in candles], schema=CANDLES, orient="row")


def candles_of(frame: pl.DataFrame) -> list[Candle]:
    """The candles of a frame, which must have exactly the columns it should."""
    assert frame.schema == CANDLES
    return [Candle(*row) for row in frame.rows()]


def levels_frame(footprints: Iterable[tuple[int, Footprint]]) -> pl.DataFrame:
    rows = [(open_ms, *row) for open_ms, footprint in footprints for row in footprint.rows()]
    return pl.DataFrame(rows, schema=LEVELS, orient="row")


def trades_frame(trades: Trades) -> pl.DataFrame:
    return decode.trades([pack_trades(trades)])


def built(trades: Trades) -> tuple[list[Candle], list[tuple[int, Footprint]]]:
    """Minute candles and footprints as the incremental builder makes them of trades in order, so of rev 0."""
    minutes = unpacked(Shell(builder_of(UNIQUE)).feed([trades.in_order()]).all_minutes())
    return [m.candle for m in minutes], [(m.candle.open_ms, m.footprint) for m in minutes]


def bars_frame(bars: Sequence[tuple[Candle, bool, bool]]) -> pl.DataFrame:
    """Candles, each with whether it is final and whether it is partial."""
    flags = {name: [bar[at] for bar in bars] for at, name in ((1, "is_final"), (2, "partial"))}
    columns = [pl.Series(name, values, pl.Boolean) for name, values in flags.items()]
    return candles_frame(bar[0] for bar in bars).with_columns(columns)
