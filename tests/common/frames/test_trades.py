"""Trades as JSON, CSV and Arrow: every number exact, the same in all forms."""

import io

import orjson
import polars as pl
from hypothesis import given

from common.frames.trades import trades_arrow, trades_csv, trades_json
from common.market.instrument import Instrument
from common.market.trade import BUY, SELL, SIDE_NAMES, UNKNOWN, Trade, Trades
from tests.kit.frames import trades_frame
from tests.kit.strategies import LAW, START_MS, instruments, trades

INSTRUMENT = Instrument("BTCUSDT", 2, 3)
THREE = Trades.of(
    [
        Trade(START_MS, 1, 1_234_500, 1, BUY),
        Trade(START_MS + 1, 2, 100, 0, SELL),
        Trade(START_MS + 2, 3, 7, 12_000, UNKNOWN),
    ]
)


def _texts(batch: Trades, instrument: Instrument) -> list[tuple[str, str, str, str, str]]:
    return [
        (
            str(ts_ms),
            instrument.price_text(ticks),
            instrument.size_text(lots),
            SIDE_NAMES[side],
            str(trade_id),
        )
        for ts_ms, trade_id, ticks, lots, side in batch.rows()
    ]


@LAW
@given(trades(), instruments())
def test_json_has_the_exact_text_of_every_number(batch: Trades, instrument: Instrument) -> None:
    rows = [
        f'{{"t":{ts_ms},"id":{trade_id},"p":{price},"q":{size},"side":"{side}"}}'
        for ts_ms, price, size, side, trade_id in _texts(batch, instrument)
    ]
    assert trades_json(trades_frame(batch), instrument).decode() == f"[{','.join(rows)}]"


@LAW
@given(trades(), instruments())
def test_csv_is_what_a_replay_reads(batch: Trades, instrument: Instrument) -> None:
    lines = [",".join(texts) for texts in _texts(batch, instrument)]
    assert trades_csv(trades_frame(batch), instrument).decode().splitlines() == ["ts_ms,price,size,side,id", *lines]


@LAW
@given(trades(), instruments())
def test_arrow_has_the_columns_of_the_csv_as_exact_numbers(batch: Trades, instrument: Instrument) -> None:
    table = pl.read_ipc_stream(io.BytesIO(trades_arrow(trades_frame(batch), instrument)))
    assert table.schema == pl.Schema(
        {
            "ts_ms": pl.Int64(),
            "price": pl.Decimal(38, instrument.price_decimals),
            "size": pl.Decimal(38, instrument.size_decimals),
            "side": pl.String(),
            "id": pl.Int64(),
        }
    )
    assert [
        (str(ts_ms), instrument.price_ticks(str(price)), instrument.size_lots(str(size)), side, str(trade_id))
        for ts_ms, price, size, side, trade_id in table.rows()
    ] == [
        (str(ts_ms), ticks, lots, SIDE_NAMES[side], str(trade_id))
        for ts_ms, trade_id, ticks, lots, side in batch.rows()
    ]


def test_an_example() -> None:
    frame = trades_frame(THREE)
    assert orjson.loads(trades_json(frame, INSTRUMENT)) == [
        {"t": START_MS, "id": 1, "p": 12_345, "q": 0.001, "side": "buy"},
        {"t": START_MS + 1, "id": 2, "p": 1, "q": 0, "side": "sell"},
        {"t": START_MS + 2, "id": 3, "p": 0.07, "q": 12, "side": "unknown"},
    ]
    assert trades_csv(frame, INSTRUMENT).decode().splitlines()[1] == f"{START_MS},12345,0.001,buy,1"
