"""`fleet export`: what comes out is what the feed shows, exactly, and can be imported again."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from infra.cli import app, export
from tests.workers.test_imports import INSTRUMENT, imported, replayed, rows, stored, written

S = INSTRUMENT.symbol


@pytest.fixture
def store(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("REDIS_URL", redis_url)
    # Several pages.
    monkeypatch.setattr(export, "PAGE_BARS", 300)
    yield redis_url


def fleet(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_exported_candles_are_those_that_are_stored_and_import_as_what_they_were(store: str, tmp_path: Path) -> None:
    asyncio.run(imported(store, [written(tmp_path / "a.csv", rows(4_000))]))
    out = tmp_path / "minutes.csv"
    assert "rows written" in fleet("export", "candles", S, "--out", str(out))
    found = asyncio.run(stored(store))
    frame = pl.read_csv(out, infer_schema=False)
    # The growing one is the last.
    assert frame["open_ms"].cast(pl.Int64).to_list()[:-1] == list(found.candles)
    assert frame["is_final"].to_list() == ["true"] * len(found.candles) + ["false"]
    numbers = ["--price-decimals", "2", "--size-decimals", "4"]
    assert f"{len(frame):,} candles imported" in fleet("import", "candles", str(out), "--symbol", "TEST:BACK", *numbers)
    back = tmp_path / "back.csv"
    fleet("export", "candles", "TEST:BACK", "--out", str(back))
    as_before = frame.drop("is_final", "partial")
    assert pl.read_csv(back, infer_schema=False).drop("is_final", "partial").equals(as_before)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_every_form_has_the_same_rows(store: str, tmp_path: Path, form: str) -> None:
    asyncio.run(imported(store, [written(tmp_path / "a.csv", rows(2_000))]))
    text, other = tmp_path / "a.csv", tmp_path / f"a.{form}"
    span = ["--timeframe", "1h", "--start", "2023-11-15T00:00:00Z", "--end", "2023-11-16T00:00:00Z"]
    fleet("export", "candles", S, "--out", str(text), *span)
    fleet("export", "candles", S, "--out", str(other), "--format", form, *span)
    frame = pl.read_parquet(other) if form == "parquet" else pl.read_ipc(other)
    assert len(frame) == 24 and frame.schema["close"] == pl.Decimal(38, 2)
    assert frame.write_csv() == text.read_text("utf-8")


def test_exported_trades_are_those_that_were_replayed(store: str, tmp_path: Path) -> None:
    asyncio.run(replayed(store, written(tmp_path / "a.csv", rows(500)), replace(INSTRUMENT, ids="unique")))
    fleet("export", "trades", S, "--out", str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text("utf-8") == (tmp_path / "a.csv").read_text("utf-8")


def test_nothing_to_export_is_said_and_no_file_is_left(store: str, tmp_path: Path) -> None:
    asyncio.run(imported(store, [written(tmp_path / "a.csv", rows(10))]))
    done = CliRunner().invoke(app, ["export", "candles", S, "--out", str(tmp_path / "b.csv"), "--end", "1000"])
    assert "has nothing to export" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
