"""What tools that know nothing of us read: DuckDB, Polars and Arrow."""

import random
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet
import pytest

from common.archive.archive import Archive
from common.archive.series import CANDLE_ROWS, SERIES, TRADE_ROWS
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS
from infra.paths import ROOT
from tests.kit.archive.rows import BTC, FEBRUARY_MS, MARCH_MS, february, period, write
from tests.kit.archive.s3 import KEYS, S3

ETH = Instrument("ETHUSDT", 3, 4)
RANGES = 1_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols over the end of a month."""
    root = tmp_path_factory.mktemp("outside") / "archive"
    archive = Archive.open(str(root))
    for instrument in (BTC, ETH):
        for seed, open_ms in enumerate((FEBRUARY_MS, MARCH_MS)):
            write(archive, CANDLE_ROWS, instrument, open_ms, period(CANDLE_ROWS, seed, 2_000, open_ms))
    return root


def ranges() -> pl.DataFrame:
    rng = random.Random(1)
    starts = [rng.randrange(FEBRUARY_MS, MARCH_MS + 30 * DAY_MS) // MINUTE_MS * MINUTE_MS for _ in range(RANGES)]
    ends = [start + rng.randrange(DAY_MS) // MINUTE_MS * MINUTE_MS for start in starts]
    return pl.DataFrame({"number": range(RANGES), "start_ms": starts, "end_ms": ends})


def sums(rows: pl.DataFrame) -> tuple[int, Decimal, Decimal]:
    """Count, volume and turnover of a CANDLES frame of BTC, by Python's own decimals."""
    volume, turnover = sum(rows["volume_lots"]), sum(rows["turnover"])
    return len(rows), Decimal(volume).scaleb(-8), Decimal(turnover).scaleb(-10)


def test_duckdb_and_polars_agree_with_us_on_random_ranges(root: Path) -> None:
    asked = ranges()
    archive = Archive.open(str(root))
    wanted = [
        sums(archive.read(CANDLE_ROWS, BTC, start_ms, end_ms, ["volume_lots", "turnover"]))
        for _, start_ms, end_ms in asked.rows()
    ]
    with duckdb.connect() as duck:
        duck.register("asked", asked.to_arrow())
        by_duckdb = duck.execute(f"""
            select count(open_time), coalesce(sum(volume), 0), coalesce(sum(turnover), 0)
            from asked left join
              (from '{root}/candles/symbol=BINANCE%3ABTCUSDT/*.parquet') on
              epoch_ms(open_time) >= start_ms and epoch_ms(open_time) < end_ms
            group by number order by number
        """).fetchall()
    assert by_duckdb == wanted
    candles = pl.read_parquet(f"{root}/candles/symbol=BINANCE%3ABTCUSDT/*.parquet")
    open_ms = pl.col("open_time").dt.epoch("ms")
    by_polars = [
        candles.filter(open_ms.is_between(start_ms, end_ms, closed="left"))
        .select(pl.len(), pl.sum("volume"), pl.sum("turnover"))
        .row(0)
        for _, start_ms, end_ms in asked.rows()
    ]
    assert by_polars == wanted


def test_true_prices_times_and_sides_without_our_code(tmp_path: Path) -> None:
    write(Archive.open(str(tmp_path)), TRADE_ROWS, BTC, FEBRUARY_MS, period(TRADE_ROWS))
    path = next(tmp_path.rglob("*.parquet"))
    (ts_ms, number, ticks, lots, side), *_ = period(TRADE_ROWS).rows()
    wanted = (
        ts_ms,
        number,
        Decimal(ticks).scaleb(-2),
        Decimal(lots).scaleb(-8),
        ("buy", "sell", "unknown")[side],
    )
    columns = "epoch_ms(trade_time), trade_id, price, size, side"
    assert duckdb.execute(f"select {columns} from '{path}' limit 1").fetchone() == wanted
    row = pyarrow.parquet.ParquetFile(path).read().slice(0, 1).to_pylist()[0]
    assert (round(row.pop("trade_time").timestamp() * 1_000), *row.values()) == wanted


def test_the_columns_and_metadata_are_the_documented_ones(tmp_path: Path) -> None:
    document = (ROOT / "docs" / "archive.md").read_text()
    for series in SERIES.values():
        write(Archive.open(str(tmp_path)), series, BTC, FEBRUARY_MS, period(series))
        path = tmp_path / series.path(BTC.symbol, FEBRUARY_MS)
        *columns, partition = duckdb.execute(
            f"select column_name, column_type from (describe from '{path}')"
        ).fetchall()
        for decimals, name in (("2", "price"), ("8", "size"), ("10", "both")):
            columns = [(column, kind.replace(f",{decimals})", f", {name})")) for column, kind in columns]
        table = document.partition(f"**{series.name}**")[2].partition("|---|---|---|\n")[2].partition("\n\n")[0]
        described = [tuple(cell.strip("` ") for cell in line.split("|")[1:3]) for line in table.splitlines()]
        assert columns == described and partition == ("symbol", "VARCHAR")
        metadata = pyarrow.parquet.ParquetFile(path).metadata.metadata
        assert all(f"`{key.decode()}`" in document for key in metadata if key != b"ARROW:schema")


def test_the_documented_examples_run_and_agree(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a symbol and a month that are there. As a user types them they are run by tests/docs."""
    document = (ROOT / "docs" / "archive.md").read_text().replace("DAYS%3ABTCUSD", "BINANCE%3ABTCUSDT")
    sql = document.partition('duckdb.sql("""')[2].partition('"""')[0].replace("2025-01-05", "2024-01-01")
    scan, _, rest = document.partition("\nminutes = ")[2].partition("\nprint(\n")
    monkeypatch.chdir(root.parent)
    by_duckdb = duckdb.execute(f"select epoch_ms(t), * exclude (t) from ({sql})").fetchall()
    query, _, _ = rest.partition("\n)\n")
    found = eval(f"({query})", {"pl": pl, "minutes": eval(scan, {"pl": pl})})
    by_polars = found.with_columns(pl.col("open_time").dt.epoch("ms"))
    assert len(by_duckdb) > 500 and by_duckdb == by_polars.rows()


def test_polars_reads_a_bucket(s3: S3) -> None:
    write(Archive(s3.bucket()), CANDLE_ROWS, BTC, FEBRUARY_MS, february())
    options = {name.lower(): value for name, value in KEYS.items()}
    options |= {"aws_endpoint_url": s3.endpoint, "aws_allow_http": "true"}
    url = "s3://market/fleet/a/candles/*/*.parquet"
    found = pl.scan_parquet(url, storage_options=options, credential_provider=None, hive_partitioning=True)
    rows = found.filter(symbol="BINANCE:BTCUSDT").select("open_time", "trades").collect()
    assert rows["trades"].to_list() == february()["trades"].to_list()


def test_symbols_of_different_decimals_in_one_query(root: Path) -> None:
    # Without union_by_name DuckDB rounds to the decimals of the first file: docs/archive.md warns of it.
    files = f"read_parquet('{root}/candles/*/*.parquet', union_by_name = true)"
    found = duckdb.execute(f"select symbol, max(high) from {files} group by symbol order by symbol").fetchall()
    archive = Archive.open(str(root))
    highs = [archive.read(CANDLE_ROWS, instrument, 0, 1 << 42)["high_ticks"].to_list() for instrument in (BTC, ETH)]
    assert found == [(BTC.symbol, Decimal(max(highs[0])).scaleb(-2)), (ETH.symbol, Decimal(max(highs[1])).scaleb(-3))]
