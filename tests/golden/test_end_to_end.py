"""The same truths through everything: a file, the worker, Redis, and the feed's HTTP, as a user would get them."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from common.market.instrument import Instrument
from common.market.trade import SIDE_NAMES, Trades
from infra.paths import ROOT
from tests.golden import recordings
from tests.golden.data import folder
from tests.golden.recordings import OHLCV, Recording
from tests.kit.ports import reserved_port
from tests.kit.waiting import wait_until

pytestmark = pytest.mark.process

OHLCV_KEYS = ("t", "o", "h", "l", "c", "v")
Bar = dict[str, Any]


@pytest.fixture
def feed(redis_url: str) -> Iterator[str]:
    """A feed of its own process on the test's store; yields its address."""
    with reserved_port() as port:
        environ = {"REDIS_URL": redis_url, "PORT": str(port), "PATH": ""}
        child = subprocess.Popen([sys.executable, "-m", "feed"], cwd=ROOT, env=environ, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: _answers(f"http://127.0.0.1:{port}/readyz"), timeout_s=20)
            yield f"http://127.0.0.1:{port}"
        finally:
            child.terminate()
            child.wait(10)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def replay(redis_url: str, path: Path, instrument: Instrument, *verb: str) -> None:
    command = [sys.executable, "-m", "infra.cli", *(verb or ["replay"]), str(path), "--symbol", instrument.symbol]
    command += ["--price-decimals", str(instrument.price_decimals), "--size-decimals", str(instrument.size_decimals)]
    environ = {"REDIS_URL": redis_url, "PATH": ""}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "refused" not in done.stdout


def replay_trades(redis_url: str, folder: Path, recording: Recording) -> None:
    instrument, _ = recording
    replay(redis_url, csv_of(folder, recording), instrument)


def csv_of(folder: Path, recording: Recording) -> Path:
    path = folder / "trades.csv"
    path.write_text("ts_ms,price,size,side,id\n" + "\n".join(_lines(*recording)) + "\n", "utf-8")
    return path


def _lines(instrument: Instrument, trades: Trades) -> Iterator[str]:
    for ts_ms, trade_id, ticks, lots, side in trades.rows():
        price, size = instrument.price_text(ticks), instrument.size_text(lots)
        yield f"{ts_ms},{price},{size},{SIDE_NAMES[side]},{trade_id}"


def bars(feed: str, what: str, instrument: Instrument, **query: object) -> list[Bar]:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    with urllib.request.urlopen(f"{feed}/v1/{what}/{instrument.symbol}?{text}") as answer:
        found: list[Bar] = json.loads(answer.read(), parse_float=Decimal)["bars"]
    return found


def integers(instrument: Instrument, bar: Bar) -> tuple[int, ...]:
    prices = (instrument.price_ticks(str(bar[key])) for key in ("o", "h", "l", "c"))
    return (bar["t"], *prices, instrument.size_lots(str(bar["v"])))


@pytest.mark.parametrize(("timeframe", "count"), [("1m", 2_469), ("5m", 706)])
def test_xrp_eth_candles(redis_url: str, feed: str, tmp_path: Path, timeframe: str, count: int) -> None:
    instrument, _ = recordings.xrp_eth()
    replay_trades(redis_url, tmp_path, recordings.xrp_eth())
    found = bars(feed, "candles", instrument, timeframe=timeframe, limit=5_000)
    assert len(found) == count
    assert [integers(instrument, bar) for bar in found] == recordings.xrp_eth_candles(timeframe).rows()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_xrp_eth_imported_in_bulk(redis_url: str, feed: str, tmp_path: Path, form: str) -> None:
    instrument, _ = recordings.xrp_eth()
    path = csv_of(tmp_path, recordings.xrp_eth())
    if form == "parquet":
        columns = pl.read_csv(path, schema_overrides={"price": pl.String, "size": pl.String})
        path = tmp_path / "trades.parquet"
        columns.write_parquet(path)
    replay(redis_url, path, instrument, "import", "trades")
    found = bars(feed, "candles", instrument, timeframe="1m", limit=5_000)
    assert len(found) == 2_469
    assert [integers(instrument, bar) for bar in found] == recordings.xrp_eth_candles("1m").rows()
    assert not any(bar.get("partial") for bar in found[1:])


def test_btc_usdt_candles_from_the_raw_frames_equal_the_klines_of_the_exchange(redis_url: str, feed: str) -> None:
    # As Binance lists it: the recording is replayed as it is, frame by frame.
    instrument = replace(recordings.BTC_USDT, symbol="BINANCE:BTC")
    path = folder() / "binance_usdm_btcusdt" / "btcusdt_20240808.gz"
    replay(redis_url, path, instrument)
    klines = recordings.btc_usdt_klines()
    opens = set(klines["open_ms"])
    found = [bar for bar in bars(feed, "candles", instrument, timeframe="1m") if bar["t"] in opens]
    both = instrument.price_decimals + instrument.size_decimals
    seen = [
        (
            *integers(instrument, bar),
            int(bar["q"].scaleb(both)),
            bar["n"],
            instrument.size_lots(str(bar["bv"])),
        )
        for bar in found
    ]
    assert len(seen) == 5
    assert seen == klines.select(*OHLCV, "turnover", "trades", "buy_lots").rows()
    levels = bars(feed, "footprint", instrument, timeframe="1m")
    paid = [sum(Decimal(row["p"]) * row["bv"] for row in bar["rows"]) for bar in levels if bar["t"] in opens]
    assert [int(value.scaleb(both)) for value in paid] == klines["buy_turnover"].to_list()


def test_gold_candles_of_the_front_contract(redis_url: str, feed: str, tmp_path: Path) -> None:
    instrument, _ = recordings.gold()
    replay_trades(redis_url, tmp_path, recordings.gold())
    found = bars(feed, "candles", instrument, timeframe="1m", limit=5_000)
    assert [integers(instrument, bar) for bar in found] == recordings.gold_candles().rows()
    assert all(bar["bv"] == 0 and bar.get("uv", 0) == bar["v"] for bar in found)


def test_eth_footprint_bins(redis_url: str, feed: str, tmp_path: Path) -> None:
    instrument, _ = recordings.eth()
    replay_trades(redis_url, tmp_path, recordings.eth())
    (fine,) = bars(feed, "footprint", instrument, timeframe="5m", row="0.05")
    assert len(fine["rows"]) == 23
    lowest, highest = fine["rows"][0], fine["rows"][-1]
    assert lowest == {
        "p": Decimal("1666.2"),
        "bv": Decimal("88.98"),
        "sv": Decimal("197.512"),
        "bn": 26,
        "sn": 32,
    }
    assert highest["p"] == Decimal("1667.3") and highest["bv"] - highest["sv"] == Decimal("57.551")
    (coarse,) = bars(feed, "footprint", instrument, timeframe="5m", row="1")
    assert len(coarse["rows"]) == 2
    assert coarse["rows"][0]["bv"] - coarse["rows"][0]["sv"] == Decimal("52.72")
