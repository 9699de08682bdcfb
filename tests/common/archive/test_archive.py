"""The archive as a whole, in a folder and in a bucket: the same laws for both."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import polars as pl
import pytest

from common.archive.archive import Archive
from common.archive.names import NAMES
from common.archive.series import CANDLE_ROWS, FOOTPRINT_ROWS, SERIES, TRADE_ROWS
from common.errors import ArchiveDamaged, Superseded
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS
from tests.kit.archive.rows import BTC, FEBRUARY_MS, MARCH_MS, february, period, write
from tests.kit.archive.s3 import PROBE, S3, names

ETH = Instrument("ETHUSDT", 2, 8)
JANUARY_MS = FEBRUARY_MS - 31 * DAY_MS


def test_every_series_comes_back_and_is_verified(archive: Archive) -> None:
    for series in SERIES.values():
        frame = period(series)
        assert archive.verify(series, BTC, FEBRUARY_MS) is None
        written = write(archive, series, BTC, FEBRUARY_MS, frame)
        found = archive.read_period(series, BTC, FEBRUARY_MS)
        assert found is not None and found.equals(frame) and found.schema == series.schema
        assert archive.verify(series, BTC, FEBRUARY_MS) == written
        assert written.rows == len(frame)


def test_ranges_over_several_periods(archive: Archive) -> None:
    opens = (JANUARY_MS, FEBRUARY_MS, MARCH_MS)
    months = [period(CANDLE_ROWS, seed, open_ms=open_ms) for seed, open_ms in enumerate(opens)]
    for open_ms, month in zip(opens, months, strict=True):
        write(archive, CANDLE_ROWS, BTC, open_ms, month)
    whole = pl.concat(months)
    rng = random.Random(2)
    for _ in range(20):
        start_ms, end_ms = sorted(rng.randrange(JANUARY_MS - DAY_MS, MARCH_MS + 40 * DAY_MS) for _ in range(2))
        found = archive.read(CANDLE_ROWS, BTC, start_ms, end_ms, ["close_ticks", "open_ms"])
        wanted = whole.filter(pl.col("open_ms").is_between(start_ms, end_ms, closed="left"))
        assert found.equals(wanted.select("close_ticks", "open_ms"))
    assert archive.read(CANDLE_ROWS, BTC, 0, 1 << 42).equals(whole)


def test_nothing_archived_is_an_empty_answer(archive: Archive) -> None:
    assert archive.read(TRADE_ROWS, BTC, 0, 1 << 42).schema == TRADE_ROWS.schema
    assert archive.read_period(TRADE_ROWS, BTC, FEBRUARY_MS) is None
    assert archive.periods(TRADE_ROWS, BTC.symbol) == []
    archive.clear(TRADE_ROWS, BTC, FEBRUARY_MS)
    assert archive.periods(TRADE_ROWS, BTC.symbol) == []
    assert write(archive, TRADE_ROWS, BTC, FEBRUARY_MS, TRADE_ROWS.schema.to_frame()).rows == 0
    found = archive.read_period(TRADE_ROWS, BTC, FEBRUARY_MS)
    assert found is not None and found.is_empty() and found.schema == TRADE_ROWS.schema
    assert archive.periods(TRADE_ROWS, BTC.symbol) == [FEBRUARY_MS]


def test_periods_are_of_one_symbol_and_series(archive: Archive) -> None:
    for instrument, open_ms in ((BTC, MARCH_MS), (BTC, FEBRUARY_MS), (ETH, JANUARY_MS)):
        write(archive, FOOTPRINT_ROWS, instrument, open_ms, period(FOOTPRINT_ROWS, count=5, open_ms=open_ms))
    assert archive.periods(FOOTPRINT_ROWS, BTC.symbol) == [FEBRUARY_MS, MARCH_MS]
    assert archive.periods(CANDLE_ROWS, BTC.symbol) == []
    assert archive.periods(FOOTPRINT_ROWS, ETH.symbol) == [JANUARY_MS]


def test_a_reader_sees_the_old_rows_or_the_new_ones(archive: Archive) -> None:
    versions = [february(seed) for seed in range(2)]
    write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, versions[0])
    done = threading.Event()

    def read() -> set[int]:
        seen = set()
        while not done.is_set():
            found = archive.read_period(CANDLE_ROWS, BTC, FEBRUARY_MS)
            assert found is not None
            seen.add([found.equals(version) for version in versions].index(True))
        return seen

    with ThreadPoolExecutor() as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for turn in range(15):
                write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, versions[turn % 2])
        finally:
            done.set()
        assert set.union(*(reader.result() for reader in readers)) == {0, 1}


@pytest.mark.parametrize("before", [None, 0], ids=["new", "replaced"])
def test_of_writers_that_have_read_the_same_one_wins_and_the_others_are_told(
    archive: Archive, before: int | None
) -> None:
    if before is not None:
        write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february(before))
    read = archive.version(CANDLE_ROWS, BTC, FEBRUARY_MS)
    versions = [february(seed) for seed in range(1, 5)]

    def replaced(version: pl.DataFrame) -> bool:
        try:
            archive.replace(read, version)
            return True
        except Superseded:
            return False

    with ThreadPoolExecutor(len(versions)) as pool:
        won = list(pool.map(replaced, versions))
    assert sum(won) == 1
    found = archive.read_period(CANDLE_ROWS, BTC, FEBRUARY_MS)
    assert found is not None and found.equals(versions[won.index(True)])


def test_what_has_been_removed_since_it_was_read_is_not_replaced(tmp_path: Path, s3: S3) -> None:
    folder, bucket = Archive.open(str(tmp_path)), Archive(s3.bucket())
    for archive in (folder, bucket):
        write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february())
    read = [archive.version(CANDLE_ROWS, BTC, FEBRUARY_MS) for archive in (folder, bucket)]
    path = CANDLE_ROWS.path(BTC.symbol, FEBRUARY_MS)
    (tmp_path / path).unlink()
    obstore.delete(s3.raw(), path)
    for archive, version in zip((folder, bucket), read, strict=True):
        with pytest.raises(Superseded, match=path):
            archive.replace(version, february(1))
        assert archive.periods(CANDLE_ROWS, BTC.symbol) == []


def test_symbols_that_need_quoting_are_apart(archive: Archive) -> None:
    for number, symbol in enumerate(["A:B", "A.B", "A-B", "A_B", "A3AB", "600519", ".A", "A..B"]):
        instrument = Instrument(symbol, number, number)
        write(archive, TRADE_ROWS, instrument, FEBRUARY_MS, period(TRADE_ROWS, number, 3))
    for number, symbol in enumerate(["A:B", "A.B", "A-B", "A_B", "A3AB", "600519", ".A", "A..B"]):
        found = archive.read(TRADE_ROWS, Instrument(symbol, number, number), 0, FEBRUARY_MS + DAY_MS)
        assert found.equals(period(TRADE_ROWS, number, 3))


def test_the_layout_is_the_documented_one(tmp_path: Path, s3: S3) -> None:
    archives = Archive.open(str(tmp_path)), Archive.open("s3://market/fleet/a/", s3.endpoint)
    for archive in archives:
        for series in SERIES.values():
            write(archive, series, BTC, FEBRUARY_MS, period(series, count=5))
    wanted = [
        "candles/symbol=BINANCE%3ABTCUSDT/2024-02.parquet",
        "footprints/symbol=BINANCE%3ABTCUSDT/2024-02-01.parquet",
        "trades/symbol=BINANCE%3ABTCUSDT/2024-02-01.parquet",
    ]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == wanted
    assert names(s3.raw()) == sorted([*wanted, PROBE])


def test_a_damaged_object_is_named_and_can_be_replaced(tmp_path: Path) -> None:
    archive = Archive.open(str(tmp_path))
    frame = february()
    write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, frame)
    path = tmp_path / CANDLE_ROWS.path(BTC.symbol, FEBRUARY_MS)
    path.write_bytes(path.read_bytes()[:-100])
    (path.parent / "notes.txt").touch()
    for call in (archive.verify, archive.read_period, archive.version):
        with pytest.raises(ArchiveDamaged, match=str(path)):
            call(CANDLE_ROWS, BTC, FEBRUARY_MS)
    archive.clear(CANDLE_ROWS, BTC, FEBRUARY_MS)
    write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, frame)
    # What can be read is never cleared.
    archive.clear(CANDLE_ROWS, BTC, FEBRUARY_MS)
    assert archive.read(CANDLE_ROWS, BTC, FEBRUARY_MS, FEBRUARY_MS + MINUTE_MS).equals(
        frame.filter(pl.col("open_ms") == FEBRUARY_MS)
    )


def test_what_lists_the_archive_knows_the_same_series_as_what_reads_it() -> None:
    assert {name: (each.name, each.period) for name, each in NAMES.items()} == {
        name: (each.name, each.period) for name, each in SERIES.items()
    }
