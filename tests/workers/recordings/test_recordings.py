"""Reading recorded trades: every form gives the same trades, and a bad line is named or counted."""

import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from common.errors import BadInput
from common.market.instrument import Instrument
from common.market.trade import BUY, SELL, UNKNOWN, Trade, Trades
from workers.recordings import TradeFile, parquet, text

INSTRUMENT = Instrument("TEST:X", 2, 4)
HEADER = "ts_ms,price,size,side,id\n"
ROWS = [
    Trade(1_000, 1, 10_050, 15_000, BUY),
    Trade(1_000, 2, 10_049, 1, SELL),
    Trade(61_000, 3, 10_000, 0, UNKNOWN),
]
CSV = HEADER + "1000,100.50,1.5,buy,1\n1000,100.49,0.0001,sell,2\n61000,1e2,0,unknown,3\n"


def read(path: Path, *, skip_bad: bool = False, first: int = 0) -> tuple[list[Trade], int]:
    chunks = list(TradeFile(path, INSTRUMENT, skip_bad).chunks(first))
    return [trade for chunk in chunks for trade in chunk.trades.rows()], sum(chunk.bad for chunk in chunks)


def written(path: Path, content: str) -> Path:
    path.write_text(content, "utf-8")
    return path


def frame(**columns: list[object]) -> pl.DataFrame:
    usual: dict[str, list[object]] = {
        "ts_ms": [1_000, 1_000, 61_000],
        "price": [100.50, 100.49, 100.0],
        "size": [1.5, 0.0001, 0.0],
        "side": ["buy", "sell", "unknown"],
        "id": [1, 2, 3],
    }
    return pl.DataFrame(usual | columns, strict=False)


def test_csv_is_read_exactly(tmp_path: Path) -> None:
    assert read(written(tmp_path / "t.csv", CSV)) == (ROWS, 0)


def test_columns_may_come_in_any_order_and_more_are_ignored(tmp_path: Path) -> None:
    content = "id,note,side,size,price,ts_ms\n1,hello,buy,1.5,100.50,1000\n"
    assert read(written(tmp_path / "t.csv", content)) == (ROWS[:1], 0)


def test_windows_line_ends_and_empty_lines_are_no_trouble(tmp_path: Path) -> None:
    assert read(written(tmp_path / "t.csv", CSV.replace("\n", "\r\n") + "\r\n")) == (ROWS, 0)


def test_a_gzipped_file_is_read_as_the_plain_one(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(CSV.encode()))
    assert read(path) == (ROWS, 0)


def test_a_gzipped_file_that_was_cut_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(CSV.encode() * 100)[:-20])
    with pytest.raises(BadInput, match="t.csv.gz is cut off or damaged"):
        read(path)


@pytest.mark.parametrize(
    ("columns"),
    [
        {},
        {"price": [Decimal("100.50"), Decimal("100.49"), Decimal("100")]},
        {"price": ["100.50", "100.49", "100"], "size": ["1.5", "0.0001", "0"]},
        {"id": ["1", "2", "3"]},
        {"ts_ms": [datetime.fromtimestamp(s, UTC) for s in (1, 1, 61)]},
    ],
    ids=["floats", "decimals", "text", "text ids", "datetimes"],
)
def test_parquet_gives_the_same_trades_whatever_the_types(tmp_path: Path, columns: dict[str, list[object]]) -> None:
    frame(**columns).write_parquet(tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet") == (ROWS, 0)


def test_parquet_with_whole_prices(tmp_path: Path) -> None:
    frame(price=[100, 101, 102]).write_parquet(tmp_path / "t.parquet")
    assert [trade.price_ticks for trade in read(tmp_path / "t.parquet")[0]] == [10_000, 10_100, 10_200]


def test_recorded_frames_give_their_trades_and_skip_the_rest(tmp_path: Path) -> None:
    lines = (
        '17 {"stream":"x@bookTicker","data":{"u":1}}\n'
        '18 {"stream":"x@trade","data":{"e":"trade","s":"X","t":1,"p":"100.50","q":"1.5","T":1000,"m":false}}\n'
        '19 {"stream":"x@trade","data":{"e":"trade","s":"X","t":2,"p":"100.49","q":"0.0001","T":1000,"m":true}}\n'
    )
    assert read(written(tmp_path / "frames", lines)) == (ROWS[:2], 0)


def test_frames_of_two_markets_are_refused(tmp_path: Path) -> None:
    line = '17 {"stream":"x@trade","data":{"e":"trade","s":"%s","t":1,"p":"1","q":"1","T":1000,"m":false}}\n'
    with pytest.raises(BadInput, match="line 2: trades of X and Y, expected one market"):
        read(written(tmp_path / "frames", line % "X" + line % "Y"))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("x,1,1,buy,1", "line 2: ts_ms 'x', expected a whole number"),
        ("-5,1,1,buy,1", "line 2: ts_ms '-5', expected a whole number"),
        ("1,1,1,buy,", "line 2: id '', expected a whole number"),
        ("1,1,1,bid,1", "line 2: side 'bid', expected buy, sell or unknown"),
        ("1,abc,1,buy,1", "line 2: price: 'abc' is not a decimal number, expected a number of at most 2 decimals"),
        ("1,1.005,1,buy,1", "line 2: price: number '1.005' has more than 2 decimals"),
        ("1,1,nan,buy,1", "line 2: size: 'nan' is not a decimal number"),
        ("1,1,1e999,buy,1", "line 2: size: '1e999' is not a decimal number of usual size"),
        ("1,1,buy,1", "line 2: 4 fields, expected 5"),
    ],
)
def test_a_bad_line_is_named_with_its_value_or_counted(tmp_path: Path, line: str, problem: str) -> None:
    path = written(tmp_path / "t.csv", f"{HEADER}{line}\n1000,100.50,1.5,buy,1\n")
    with pytest.raises(BadInput) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path} {problem}")
    assert read(path, skip_bad=True) == (ROWS[:1], 1)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"price": [100.50, 100.495, 1.0]}, "row 2: price 100.495, expected a number of at most 2 decimals"),
        ({"price": ["100.50", "dear", "1"]}, "row 2: price 'dear', expected a number"),
        ({"price": [100.5, None, 1.0]}, "row 2: price None, expected a number"),
        ({"side": ["buy", "bid", "sell"]}, "row 2: side 'bid', expected buy, sell or unknown"),
        ({"id": ["1", "b", "3"]}, "row 2: id 'b', expected a whole number"),
    ],
)
def test_a_bad_row_of_parquet_is_named_or_counted(
    tmp_path: Path, columns: dict[str, list[object]], problem: str
) -> None:
    path = tmp_path / "t.parquet"
    frame(**columns).write_parquet(path)
    with pytest.raises(BadInput) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path} {problem}")
    trades, bad = read(path, skip_bad=True)
    assert (len(trades), bad) == (2, 1)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.csv", "time,price\n", "line 1: header 'time,price' lacks 'ts_ms', expected ts_ms,price,size,side,id"),
        ("t.csv", "", "line 1: header '' lacks 'ts_ms'"),
        ("t.parquet", "PAR1 and then nothing of the kind", "is not a Parquet file that can be read"),
    ],
)
def test_a_file_that_is_no_recording_is_named(tmp_path: Path, name: str, content: str, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(written(tmp_path / name, content))
    assert str(caught.value).startswith(f"{tmp_path / name} {problem}")


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere.csv cannot be read: No such file or directory"):
        read(tmp_path / "nowhere.csv")


def _csv(path: Path, rows: int) -> None:
    path.write_text(HEADER + "".join(f"{i},1,1,buy,{i}\n" for i in range(rows)), "utf-8")


def _parquet(path: Path, rows: int) -> None:
    columns = {"ts_ms": range(rows), "price": [1.0] * rows, "size": [1.0] * rows, "side": ["buy"] * rows}
    pl.DataFrame(columns | {"id": range(rows)}).write_parquet(path)


@pytest.mark.parametrize(("write", "module", "size"), [(_csv, text, "CHUNK_LINES"), (_parquet, parquet, "CHUNK_ROWS")])
def test_any_chunk_can_be_found_without_those_before_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path, int], None],
    module: object,
    size: str,
) -> None:
    monkeypatch.setattr(module, size, 7)
    write(tmp_path / "t", 40)
    whole = [list(chunk.trades.rows()) for chunk in TradeFile(tmp_path / "t", INSTRUMENT).chunks()]
    assert [len(chunk) for chunk in whole] == [7, 7, 7, 7, 7, 5]
    for first in range(len(whole)):
        found = list(TradeFile(tmp_path / "t", INSTRUMENT).chunks(first))
        assert [list(chunk.trades.rows()) for chunk in found] == whole[first:]
        assert found[-1].fraction == 1.0


def test_recordings_are_told_apart(tmp_path: Path) -> None:
    one, other = written(tmp_path / "a", CSV), written(tmp_path / "b", CSV.replace("1.5", "2.5"))
    assert TradeFile(one, INSTRUMENT).fingerprint() != TradeFile(other, INSTRUMENT).fingerprint()


def test_no_trades_is_an_empty_recording(tmp_path: Path) -> None:
    assert read(written(tmp_path / "t.csv", HEADER)) == ([], 0)
    assert not Trades.of([])
