import csv
import io
from dataclasses import replace
from decimal import Context, Decimal

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.frames import bars as frame_bars
from common.frames.bars import bars_arrow, bars_csv, bars_json
from common.market.candle import SIMULATED, Candle
from common.market.coding.bar_json import bar_json
from common.market.instrument import Instrument
from tests.kit.frames import bars_frame
from tests.kit.strategies import LAW, START_MS, candles, instruments

COLUMNS = ["t", "o", "h", "l", "c", "v", "bv", "uv", "q", "n", "isFinal", "rev", "source", "partial"]
EXACT = Context(prec=50)
BAR = st.tuples(candles(), st.booleans(), st.booleans())
INSTRUMENT = Instrument("BTCUSDT", 2, 3)
CANDLE = Candle(START_MS, 812, 820, 810, 815, 124_500, 70_110, 54_383, 1_014_230_550, 9, 0, 0, 0, 0, 2, SIMULATED)


def _texts(candle: Candle, instrument: Instrument) -> dict[str, str]:
    price, size = instrument.price_text, instrument.size_text
    return {
        "o": price(candle.open_ticks),
        "h": price(candle.high_ticks),
        "l": price(candle.low_ticks),
        "c": price(candle.close_ticks),
        "v": size(candle.volume_lots),
        "bv": size(candle.buy_lots),
        "uv": size(candle.unknown_lots),
        "q": instrument.turnover_text(candle.turnover),
    }


@LAW
@given(st.lists(BAR, max_size=6), instruments())
def test_json_is_byte_for_byte_what_the_core_writes(
    bars: list[tuple[Candle, bool, bool]], instrument: Instrument
) -> None:
    one_by_one = [bar_json(candle, instrument, is_final=final, partial=partial) for candle, final, partial in bars]
    assert bars_json(bars_frame(bars), instrument) == [bar.encode() for bar in one_by_one]


@LAW
@given(st.lists(BAR, max_size=6), instruments())
def test_csv_has_every_column_as_the_shortest_exact_text(
    bars: list[tuple[Candle, bool, bool]], instrument: Instrument
) -> None:
    rows = list(csv.DictReader(io.StringIO(bars_csv(bars_frame(bars), instrument).decode())))
    for row, (candle, final, partial) in zip(rows, bars, strict=True):
        expected = _texts(candle, instrument) | {
            "t": str(candle.open_ms),
            "n": str(candle.trades),
            "rev": str(candle.rev),
            "source": candle.source,
            "isFinal": "true" if final else "false",
            "partial": "true" if partial else "false",
        }
        assert row == expected


def test_csv_reads_as_documented() -> None:
    assert bars_csv(bars_frame([(CANDLE, True, False)]), INSTRUMENT).decode() == (
        ",".join(COLUMNS) + f"\n{START_MS},8.12,8.2,8.1,8.15,124.5,70.11,0.007,10142.3055,9,true,2,simulated,false\n"
    )
    assert bars_csv(bars_frame([]), INSTRUMENT).decode() == ",".join(COLUMNS) + "\n"


@LAW
@given(st.lists(BAR, max_size=6), instruments())
def test_arrow_is_read_by_others_with_every_number_exact(
    bars: list[tuple[Candle, bool, bool]], instrument: Instrument
) -> None:
    table = pa.ipc.open_stream(bars_arrow(bars_frame(bars), instrument)).read_all()
    for row, (candle, final, partial) in zip(table.to_pylist(), bars, strict=True):
        exact = {name: Decimal(text) for name, text in _texts(candle, instrument).items()}
        flags = {"isFinal": final, "partial": partial, "source": candle.source}
        assert row == {"t": candle.open_ms, "n": candle.trades, "rev": candle.rev, **exact, **flags}


@LAW
@given(st.lists(BAR, min_size=1, max_size=4), st.integers(1, 40), instruments())
def test_arrow_as_it_is_written_here_is_the_table_that_polars_writes(
    bars: list[tuple[Candle, bool, bool]], times: int, instrument: Instrument
) -> None:
    """Of as many rows as fill bytes of flags or not, and from several pieces."""
    frame = pl.concat([bars_frame(bars)] * times, rechunk=False)
    found, expected = (
        pa.ipc.open_stream(write).read_all()
        for write in (
            bars_arrow(frame, instrument),
            frame_bars._any_arrow(frame, instrument.price_decimals, instrument.size_decimals),
        )
    )
    found.validate(full=True)
    assert found.schema == expected.schema and found.equals(expected)
    assert [column.num_chunks for column in found.columns] == [1] * len(COLUMNS)


def test_arrow_of_turnovers_within_64_bits_is_written_here_and_of_others_by_polars(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, by_polars = list[int](), frame_bars._any_arrow

    def noting(bars: pl.DataFrame, *digits: int) -> bytes:
        calls.append(len(bars))
        return by_polars(bars, *digits)

    bars_arrow(bars_frame([(CANDLE, True, False)]), INSTRUMENT)
    monkeypatch.setattr(frame_bars, "_any_arrow", noting)
    most = (1 << 63) - 1
    for turnover, count in ((most, 0), (-most - 1, 0), (most + 1, 1), (-most - 2, 2), (10**38 - 1, 3)):
        bars = [(CANDLE, True, False), (replace(CANDLE, turnover=turnover), True, False)]
        table = pa.ipc.open_stream(bars_arrow(bars_frame(bars), INSTRUMENT)).read_all()
        assert table["q"].to_pylist() == [Decimal(each).scaleb(-5, EXACT) for each in (CANDLE.turnover, turnover)]
        assert len(calls) == count
    assert pa.ipc.open_stream(bars_arrow(bars_frame([]), INSTRUMENT)).read_all().num_rows == 0
    assert len(calls) == 4


def test_arrow_has_the_documented_types() -> None:
    schema = pa.ipc.open_stream(bars_arrow(bars_frame([(CANDLE, True, False)]), INSTRUMENT)).schema
    price, size, both = pa.decimal128(38, 2), pa.decimal128(38, 3), pa.decimal128(38, 5)
    numbers = [pa.int64(), price, price, price, price, size, size, size, both, pa.int64()]
    assert schema.names == COLUMNS
    assert schema.types == [*numbers, pa.bool_(), pa.int64(), pa.large_string(), pa.bool_()]
