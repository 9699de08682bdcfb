"""One object: every value comes back, from any range and columns, or it is refused by name."""

import io
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.archive.parquet import Label, encode, packed, receipt
from common.archive.series import CANDLE_ROWS, SERIES, TRADE_ROWS, ArchiveSeries
from common.errors import ArchiveDamaged, BadInput
from common.frames.rescale import rescaled
from common.frames.schema import DELTA_RANGE
from common.market.instrument import Instrument
from common.market.rescaling import Rescaling
from common.market.scale import Scale
from tests.kit.archive.rows import BTC, FEBRUARY_MS, MARCH_MS, february, frames, period
from tests.kit.strategies import LAW, instruments

ALL_SERIES = pytest.mark.parametrize("series", SERIES.values(), ids=lambda series: str(series.name))


def read(data: bytes, label: Label, columns: list[str] | None = None) -> pl.DataFrame:
    names = columns or list(label.series.schema)
    return packed(data, label, "s3://b/o").read(names)


@ALL_SERIES
@LAW
@given(st.data())
def test_any_range_and_columns_come_back_exactly(series: ArchiveSeries, data: st.DataObject) -> None:
    label = Label(replace(series, group_rows=data.draw(st.integers(1, 8))), data.draw(instruments()), FEBRUARY_MS)
    frame = data.draw(frames(label.series))
    times = st.one_of(st.integers(label.period_ms - 1, label.end_ms + 1), *map(st.just, frame[series.time]))
    start_ms, end_ms = data.draw(times), data.draw(times)
    columns = data.draw(st.lists(st.sampled_from(list(series.schema)), min_size=1, unique=True))
    written, found = encode(label, frame)
    part = packed(written, label, "object").read(columns, start_ms, end_ms)
    wanted = frame.filter((pl.col(series.time) >= start_ms) & (pl.col(series.time) < end_ms)).select(columns)
    assert part.equals(wanted) and part.schema == wanted.schema
    assert receipt(written, label, "object") == found


@ALL_SERIES
def test_equal_rows_make_equal_bytes(series: ArchiveSeries) -> None:
    label = Label(series, BTC, FEBRUARY_MS)
    whole = period(series)
    # In chunks, and as slices of something longer.
    pieces = pl.concat([whole[:100], whole[100:101], whole[101:]], rechunk=False)
    assert encode(label, whole) == encode(label, pieces)


@ALL_SERIES
def test_a_changed_byte_is_always_noticed(series: ArchiveSeries) -> None:
    label = Label(series, BTC, FEBRUARY_MS)
    data, _ = encode(label, period(series, count=50))
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(ArchiveDamaged, match=r"^s3://b/o is damaged or foreign: "):
            read(bytes(damaged), label)


def test_what_is_not_ours_is_refused_by_name() -> None:
    label = Label(CANDLE_ROWS, BTC, FEBRUARY_MS)
    data, _ = encode(label, february())
    foreign = io.BytesIO()
    pl.read_parquet(data).write_parquet(foreign, metadata=label.metadata(1))
    for wrong in (b"", b"PAR1", b"<html>", data[: len(data) // 2], data[:-1], data[100:], foreign.getvalue()):
        with pytest.raises(ArchiveDamaged, match=r"^s3://b/o is damaged or foreign: "):
            read(wrong, label)
    for other, key in [
        (Label(CANDLE_ROWS, Instrument("ETH", 2, 8), FEBRUARY_MS), "symbol 'BINANCE:BTCUSDT'"),
        (Label(CANDLE_ROWS, BTC, MARCH_MS), "period '2024-02'"),
        (Label(TRADE_ROWS, BTC, FEBRUARY_MS), "series 'candles'"),
    ]:
        with pytest.raises(ArchiveDamaged, match=rf"^s3://b/o has fleet\.{key} in its metadata, expected "):
            read(data, other)


@ALL_SERIES
def test_an_object_of_other_decimals_is_read_in_those_of_its_symbol(series: ArchiveSeries) -> None:
    """And as it is stored, for its checksum; where a number has no place in them, it is refused by name."""
    rows = period(series)
    data, written = encode(Label(series, BTC, FEBRUARY_MS), rows)
    finer = Label(series, Instrument(BTC.symbol, 4, 9), FEBRUARY_MS)
    found = packed(data, finer, "s3://b/o")
    assert found.stored(rows.columns).equals(rows)
    assert found.read(rows.columns).equals(rescaled(rows, Rescaling(BTC.scale, Scale(4, 9))))
    assert receipt(data, finer, "s3://b/o") == written
    coarser = Label(series, Instrument(BTC.symbol, 0, 0), FEBRUARY_MS)
    with pytest.raises(ArchiveDamaged, match="does not fit the decimals of its symbol: .* has more than 0 decimals"):
        packed(data, coarser, "s3://b/o").read(rows.columns)


def test_another_schema_version_is_refused() -> None:
    later = replace(CANDLE_ROWS, added=dict.fromkeys(DELTA_RANGE, 3))
    data, _ = encode(Label(later, BTC, FEBRUARY_MS), february())
    with pytest.raises(ArchiveDamaged, match=r"has fleet\.schema '3' in its metadata, expected one of 1, 2"):
        read(data, Label(CANDLE_ROWS, BTC, FEBRUARY_MS))


@pytest.mark.parametrize("count", [0, 1, 500])
def test_what_the_first_version_lacks_is_a_null_a_row_also_where_nothing_else_is_asked_for(count: int) -> None:
    candles = february()[:count].with_columns(pl.lit(None, pl.Int64).alias(name) for name in DELTA_RANGE)
    label = Label(CANDLE_ROWS, BTC, FEBRUARY_MS)
    data, _ = encode(label, candles)
    for columns in ([*DELTA_RANGE], [*DELTA_RANGE][:1], ["open_ms", *DELTA_RANGE]):
        assert read(data, label, columns).equals(candles.select(columns))


def test_candles_without_the_range_of_their_delta_are_as_in_the_first_version() -> None:
    """So what an earlier release wrote reads as null, and what knows no more than that an earlier release reads."""
    label = Label(CANDLE_ROWS, BTC, FEBRUARY_MS)
    unknown = february().with_columns(pl.lit(None, pl.Int64).alias(name) for name in DELTA_RANGE)
    data, written = encode(label, unknown)
    metadata = pl.read_parquet_metadata(data)
    assert metadata["fleet.schema"] == "1" and "min_delta" not in pl.read_parquet(data).columns
    assert read(data, label).equals(unknown) and receipt(data, label, "s3://b/o") == written
    every_other = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit(7, pl.Int64))
    some = unknown.with_columns(every_other.alias(name) for name in DELTA_RANGE)
    data, written = encode(label, some)
    assert pl.read_parquet_metadata(data)["fleet.schema"] == "2"
    assert read(data, label).equals(some) and receipt(data, label, "s3://b/o") == written


def test_what_cannot_be_written_exactly_is_refused() -> None:
    label = Label(CANDLE_ROWS, BTC, FEBRUARY_MS)
    frame = february()
    for bad, sentence in [
        (frame.reverse(), "ascending"),
        (frame.with_columns(pl.col("open_ms") - 86_400_000), "within 2024-02"),
        (frame.with_columns(turnover=pl.lit(10**38).cast(pl.Int128)), "out of bounds"),
        (frame.with_columns(rev=pl.lit(None, pl.Int64)), "empty values"),
        (frame.drop("rev"), "expected those of candles"),
    ]:
        with pytest.raises(BadInput, match=sentence):
            encode(label, bad)
    trades = period(TRADE_ROWS).with_columns(side=pl.lit(3, pl.UInt8))
    with pytest.raises(BadInput, match="out of bounds"):
        encode(Label(TRADE_ROWS, BTC, FEBRUARY_MS), trades)
    with pytest.raises(BadInput, match="not the open of a UTC 1M"):
        CANDLE_ROWS.path("BTC", FEBRUARY_MS + 1)
