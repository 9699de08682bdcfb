"""Real trades, and what other tools made of them, as integers. The facts are in the README of the recordings.

Each recording gives `(Instrument, Trades)`, each expectation a frame with the columns that tool knows: candles
are named and measured as in common.frames.schema.
"""

import gzip
import io
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache

import orjson
import polars as pl

from common.frames.schema import CANDLES
from common.market.instrument import Instrument
from common.market.trade import BUY, SELL, SIDE_CODES, UNKNOWN, Trade, Trades
from tests.golden.data import folder

XRP_ETH = Instrument("BINANCE:XRPETH", price_decimals=8, size_decimals=0, ids="contiguous")
BTC_USDT = Instrument("BINANCE-UM:BTCUSDT", price_decimals=2, size_decimals=3, ids="contiguous")
GOLD = Instrument("COMEX:GCZ3", price_decimals=1, size_decimals=0, ids="contiguous")
ETH = Instrument("ETHUSDT", price_decimals=2, size_decimals=3, ids="unique")

Recording = tuple[Instrument, Trades]
# Times in the gold files are ms since midnight of this day, in the zone of the data: taken for UTC.
GOLD_DAY_MS = int(datetime(2013, 10, 7, tzinfo=UTC).timestamp()) * 1000


@cache
def xrp_eth() -> Recording:
    """12,477 trades of 2019-10-11 to 13, contiguous ids."""
    rows = pl.read_parquet(folder() / "binance_xrp_eth" / "trades.parquet")
    columns = rows.select("timestamp", "id", "price", "amount", "side").rows()
    return XRP_ETH, Trades.of(
        _trade(XRP_ETH, ts_ms, trade_id, repr(price), repr(amount), SIDE_CODES[side])
        for ts_ms, trade_id, price, amount, side in columns
    )


@cache
def xrp_eth_candles(timeframe: str) -> pl.DataFrame:
    """`1m` or `5m` candles of those trades, built by freqtrade."""
    rows = pl.read_ipc(folder() / "binance_xrp_eth" / f"{timeframe}.feather")
    times = rows["date"].dt.epoch("ms").to_list()
    numbers = rows.select(pl.exclude("date")).rows()
    return _ohlcv(XRP_ETH, ((ts_ms, *map(repr, row)) for ts_ms, row in zip(times, numbers, strict=True)))


@cache
def btc_usdt() -> Recording:
    """21,313 trades of the last 6 minutes of 2024-08-08 out of raw frames, contiguous ids."""
    with gzip.open(folder() / "binance_usdm_btcusdt" / "btcusdt_20240808.gz", "rb") as lines:
        frames = [orjson.loads(line.split(b" ", 1)[1])["data"] for line in lines if b"btcusdt@trade" in line]
    return BTC_USDT, Trades.of(
        # m: the buyer was the maker, so the aggressor sold.
        _trade(BTC_USDT, frame["T"], frame["t"], frame["p"], frame["q"], SELL if frame["m"] else BUY)
        for frame in frames
    )


@cache
def btc_usdt_klines() -> pl.DataFrame:
    """The exchange's own candles of the 5 minutes recorded in full, with `buy_turnover` (of aggressive buyers)."""
    rows = pl.read_csv(folder() / "binance_usdm_btcusdt" / "klines_1m.csv", infer_schema=False)
    _, recorded = btc_usdt()
    full = rows.filter(pl.col("open_time").cast(pl.Int64).is_between(min(recorded.ts_ms), max(recorded.ts_ms) - 59_000))
    candles = _ohlcv(BTC_USDT, full.select("open_time", "open", "high", "low", "close", "volume").rows())
    both = Instrument("TURNOVER", BTC_USDT.price_decimals + BTC_USDT.size_decimals, 0)
    more = {
        "turnover": [both.price_ticks(text) for text in full["quote_volume"]],
        "trades": [int(text) for text in full["count"]],
        "buy_lots": [BTC_USDT.size_lots(text) for text in full["taker_buy_volume"]],
        "buy_turnover": [both.price_ticks(text) for text in full["taker_buy_quote_volume"]],
    }
    types = {"turnover": pl.Int128, "buy_turnover": pl.Int128}
    return candles.with_columns(pl.Series(name, column, types.get(name, pl.Int64)) for name, column in more.items())


@cache
def gold() -> Recording:
    """Every trade of GCZ3, the front contract, on 2013-10-07, without sides. The id is the number of the row."""
    lines = _lines("tick_20131007_trade.zip", "20131007_gc_tick_trade_201312.csv")
    # The file repeats its last trade; without it the volumes are exact.
    assert lines[-1] == lines[-2]
    return GOLD, Trades.of(
        _trade(GOLD, GOLD_DAY_MS + int(after_ms), number, price, size, UNKNOWN)
        for number, (after_ms, price, size, *_) in enumerate(lines[:-1], start=1)
    )


@cache
def gold_candles() -> pl.DataFrame:
    """1m candles of GCZ3 from the same source."""
    lines = _lines("minute_20131007_trade.zip", "20131007_gc_minute_trade_201312.csv")
    return _ohlcv(GOLD, ((GOLD_DAY_MS + int(after_ms), *numbers) for after_ms, *numbers in lines))


@cache
def eth() -> Recording:
    """1,000 trades of 2023-02-02, 09:20:00 to 09:23:27, ids with gaps: the footprint of one 5m candle."""
    rows = pl.read_csv(folder() / "footprint_eth" / "public_trades_list.csv", infer_schema=False)
    columns = rows.select("timestamp", "id", "price", "amount", "side").rows()
    return ETH, Trades.of(
        _trade(ETH, int(ts_ms), int(trade_id), price, amount, SIDE_CODES[side])
        for ts_ms, trade_id, price, amount, side in columns
    )


def _trade(instrument: Instrument, ts_ms: int, trade_id: int | str, price: str, size: str, side: int) -> Trade:
    return Trade(ts_ms, int(trade_id), instrument.price_ticks(price), instrument.size_lots(size), side)


def _ohlcv(instrument: Instrument, rows: Iterable[tuple[int | str, ...]]) -> pl.DataFrame:
    """Rows of open time, open, high, low, close and volume as text."""
    integers = [
        (int(open_ms), *(instrument.price_ticks(str(text)) for text in ohlc), instrument.size_lots(str(volume)))
        for open_ms, *ohlc, volume in rows
    ]
    return pl.DataFrame(integers, schema={name: CANDLES[name] for name in OHLCV}, orient="row")


OHLCV = ("open_ms", "open_ticks", "high_ticks", "low_ticks", "close_ticks", "volume_lots")


def _lines(archive: str, member: str) -> list[list[str]]:
    with zipfile.ZipFile(folder() / "comex_gc" / archive) as files, files.open(member) as raw:
        return [line.rstrip("\r\n").split(",") for line in io.TextIOWrapper(raw, "ascii")]
