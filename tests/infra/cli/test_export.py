"""`fleet export`: what comes out is what the feed shows, exactly, and can be imported again."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from common.archive.archive import Archive
from common.errors import BadInput
from common.market.trade import Trade
from common.store.client import commit_client
from infra.cli import export
from infra.cli.commands import app
from tests.kit.archive.trades import archive_trades
from tests.kit.imports import INSTRUMENT, imported, replayed, rows, stored, written
from tests.kit.writer import INSTRUMENT as FED
from tests.kit.writer import Writer, random_step, some_trades

S = INSTRUMENT.symbol


@pytest.fixture
def url(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("REDIS_URL", redis_url)
    # Several pages.
    monkeypatch.setattr(export, "PAGE_BARS", 300)
    yield redis_url


def fleet(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_exported_candles_are_those_that_are_stored_and_import_as_what_they_were(url: str, tmp_path: Path) -> None:
    asyncio.run(imported(url, [written(tmp_path / "a.csv", rows(4_000))]))
    out = tmp_path / "minutes.csv"
    assert "rows written" in fleet("export", "candles", S, "--out", str(out))
    found = asyncio.run(stored(url))
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


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_exported_hours_are_not_imported_as_minutes(url: str, tmp_path: Path, form: str) -> None:
    asyncio.run(imported(url, [written(tmp_path / "a.csv", rows(2_000))]))
    out = tmp_path / f"hours.{form}"
    fleet("export", "candles", S, "--out", str(out), "--timeframe", "1h", "--format", form)
    numbers = ["--symbol", "TEST:BACK", "--price-decimals", "2", "--size-decimals", "4"]
    done = CliRunner().invoke(app, ["import", "candles", str(out), *numbers])
    assert done.exit_code != 0 and isinstance(done.exception, BadInput)
    assert "has candles that open 60 minutes apart: they are of 60 minutes" in str(done.exception)
    # Nor where they are said to be.
    again = CliRunner().invoke(app, ["import", "candles", str(out), "--minutes", *numbers])
    assert str(again.exception) == str(done.exception)
    assert "TEST:BACK" not in fleet("symbols", "list")


def test_an_import_says_what_becomes_of_days_that_are_older_than_what_is_kept(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, days in (("FLEET_CANDLE_DAYS", 4), ("FLEET_FOOTPRINT_DAYS", 2)):
        monkeypatch.setenv(name, str(days))
    path = str(written(tmp_path / "a.csv", rows(500, days=8)))
    numbers = ["--price-decimals", "2", "--size-decimals", "4"]
    within = fleet("import", "trades", path, "--symbol", "TEST:A", *numbers, "--within-retention")
    assert "TEST:A: candles before 2023-11-18, older than the 4 days kept, are left out" in within
    assert (
        "footprints before 2023-11-20, older than the 2 days kept, are left out, and candles are kept alone" in within
    )
    more = fleet("import", "trades", path, "--symbol", "TEST:B", *numbers)
    assert "TEST:B: candles before 2023-11-18, older than the 4 days kept, are kept all the same: for 8 days" in more
    monkeypatch.setenv("FLEET_ARCHIVE_URL", str(tmp_path / "archive"))
    alone = fleet("import", "trades", path, "--symbol", "TEST:C", *numbers)
    assert "TEST:C: candles before 2023-11-18, older than the 4 days kept, go into the archive alone" in alone


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_every_form_has_the_same_rows(url: str, tmp_path: Path, form: str) -> None:
    asyncio.run(imported(url, [written(tmp_path / "a.csv", rows(2_000))]))
    text, other = tmp_path / "a.csv", tmp_path / f"a.{form}"
    span = ["--timeframe", "1h", "--start", "2023-11-15T00:00:00Z", "--end", "2023-11-16T00:00:00Z"]
    fleet("export", "candles", S, "--out", str(text), *span)
    fleet("export", "candles", S, "--out", str(other), "--format", form, *span)
    frame = pl.read_parquet(other) if form == "parquet" else pl.read_ipc(other)
    assert len(frame) == 24 and frame.schema["close"] == pl.Decimal(38, 2)
    assert frame.write_csv() == text.read_text("utf-8")


def test_exported_trades_are_those_that_were_replayed(url: str, tmp_path: Path) -> None:
    asyncio.run(replayed(url, written(tmp_path / "a.csv", rows(500)), replace(INSTRUMENT, ids="unique")))
    fleet("export", "trades", S, "--out", str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text("utf-8") == (tmp_path / "a.csv").read_text("utf-8")


def test_exported_trades_reach_back_into_the_archive(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_ARCHIVE_URL", str(tmp_path / "archive"))
    monkeypatch.setattr(export, "PAGE_TRADES", 100)
    whole = asyncio.run(archived(url, tmp_path / "archive"))
    out, part = tmp_path / "all.csv", tmp_path / "part.csv"
    fleet("export", "trades", FED.symbol, "--out", str(out))
    assert pl.read_csv(out)["id"].to_list() == [trade.id for trade in whole]
    first, last = whole[len(whole) // 4], whole[-9]
    fleet("export", "trades", FED.symbol, "--out", str(part), "--start", str(first.ts_ms), "--end", str(last.ts_ms))
    inside = [trade.id for trade in whole if first.ts_ms <= trade.ts_ms < last.ts_ms]
    assert pl.read_csv(part)["id"].to_list() == inside


async def archived(url: str, folder: Path) -> list[Trade]:
    """All trades of a symbol, by time and id, of which the stream has the newest ten or so."""
    client, rng = commit_client(url), random.Random(3)
    writer = Writer(client)
    await writer.register()
    await writer.claim()
    for _ in range(40):
        await random_step(writer, rng)
    await archive_trades(client, Archive.open(str(folder)), FED)
    writer.trades_kept = 10
    for _ in range(3):
        await writer.commit(*some_trades(writer, rng, 4))
    await client.aclose()
    return sorted(one.trade for one in writer.applied)


def test_nothing_to_export_is_said_and_no_file_is_left(url: str, tmp_path: Path) -> None:
    asyncio.run(imported(url, [written(tmp_path / "a.csv", rows(10))]))
    done = CliRunner().invoke(app, ["export", "candles", S, "--out", str(tmp_path / "b.csv"), "--end", "1000"])
    assert "has nothing to export" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
