"""What is measured beside ours is the same work: the same bars come out."""

from pathlib import Path

import fakeredis
import polars as pl
import pytest

from infra.bench.peers import duck, frames, nautilus, timeseries, work
from infra.bench.peers.absent import Absent, peer
from infra.bench.replay import write_trades

DAYS, TRADES = 2, 20_000


@pytest.fixture(scope="module")
def minutes() -> pl.DataFrame:
    return work.minutes(DAYS)


@pytest.fixture(scope="module")
def trades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peers") / "trades.parquet"
    write_trades(path, TRADES)
    return path


def test_duckdb_polars_and_redis_time_series_make_the_same_bars(minutes: pl.DataFrame) -> None:
    bars = frames.bars_of(minutes).collect()
    assert len(bars) == DAYS * 96
    with duck.minutes(minutes) as database:
        theirs = pl.from_arrow(duck.bars_of(database))
    assert isinstance(theirs, pl.DataFrame)
    assert theirs.cast(bars.schema).equals(bars)
    with fakeredis.FakeRedis() as client:
        timeseries.fill(client, minutes)
        found = timeseries.bars_of(client)
    wanted = bars.select("open_ticks", "high_ticks", "low_ticks", "close_ticks", "volume_lots").rows()
    assert [tuple(value for _, value in bar) for bar in found] == wanted


def test_trades_become_the_same_minutes(trades: Path) -> None:
    candles = frames.candles_of(trades).collect()
    with duck.taken_in(trades, ":memory:") as database:
        theirs = database.sql("FROM candles").pl()
        assert theirs.select("open_ms", "open", "high", "low", "close", "trades").equals(
            candles.select("open_ms", "open", "high", "low", "close", "trades").cast({"trades": pl.Int64})
        )
        assert len(database.sql("FROM footprints")) == len(frames.footprints_of(trades).collect())
    with fakeredis.FakeRedis() as client:
        timeseries.take_in(client, pl.read_parquet(trades))
        # The last minute is made by its first trade after it.
        highs = client.ts().range("high", "-", "+")
    assert [high for _, high in highs] == candles["high"].to_list()[: len(highs)]
    assert len(highs) >= len(candles) - 1


def test_nautilus_makes_a_bar_of_each_minute_that_is_over(trades: Path) -> None:
    pytest.importorskip("nautilus_trader", reason="nautilus_trader comes with the extra `peers`")
    assert nautilus.intake(trades, TRADES) > 0


def test_a_peer_that_is_not_there_is_named_with_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(timeseries.ADDRESS, raising=False)
    with pytest.raises(Absent, match="TIMESERIES_URL names no server"):
        timeseries.year(pl.DataFrame())
    with pytest.raises(Absent, match="pip install"):
        peer("a_peer_that_nobody_has")


def test_work_that_was_not_done_is_not_measured() -> None:
    with pytest.raises(AssertionError, match="1 bars, expected 2"):
        work.seconds_of(lambda: [0], 2)
