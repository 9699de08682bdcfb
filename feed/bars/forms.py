"""How a bar is written as JSON: as we tell it everywhere, or as another product's clients read it."""

from typing import Protocol

import polars as pl

from common.frames.bars import bars_json
from common.market.candle import Candle
from common.market.coding.bar_json import bar_json
from common.market.instrument import Instrument


class BarForm(Protocol):
    """An object a bar, whose last member is no object: `partial` may be added to it.

    One at a time and many at once, byte for byte the same. Bars of one form are kept as they are written, so a form is
    one value for the life of a process.
    """

    def bar(self, candle: Candle, instrument: Instrument, *, is_final: bool) -> bytes: ...

    def bars(self, frame: pl.DataFrame, instrument: Instrument) -> list[bytes]:
        """`frame`: bars with `is_final` and `partial`."""


class NativeForm:
    """docs/protocol.md."""

    def bar(self, candle: Candle, instrument: Instrument, *, is_final: bool) -> bytes:
        return bar_json(candle, instrument, is_final=is_final).encode()

    def bars(self, frame: pl.DataFrame, instrument: Instrument) -> list[bytes]:
        return bars_json(frame, instrument)


NATIVE = NativeForm()
