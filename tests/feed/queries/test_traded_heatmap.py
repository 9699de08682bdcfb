"""`GET /v1/heatmap/{symbol}?kind=traded`: what was traded at which price and when."""

import random
import struct
from collections import Counter
from decimal import Decimal
from functools import partial
from typing import Any

import polars as pl
import pytest

from common.frames.grid import GridFlags, GridFrame, TradedChannel
from common.market.depth.chunk import DepthChunk, PriceSpan, pack_chunk
from common.store.depth import DepthStore
from feed.bars.by_trade import TapeTogether
from feed.bars.together import ClosedTogether
from feed.reading.budget import QueryBudget
from tests.kit.flow_asked import answered, price, size, written
from tests.kit.served import Served
from tests.kit.traded_cells import PATH, cells, of_trades
from tests.kit.writer import INSTRUMENT, START_MS, Writer, some_trades

S = INSTRUMENT.symbol
T0 = START_MS - START_MS % 3_600_000 + 3_600_000
BUY, SELL, UNKNOWN = 0, 1, 2


async def trade_example(writer: Writer) -> None:
    """Two columns of a second; (0, row 3: 5 / 0), (1, row 3: 1 / 2), (1, row 4: 0 / 7), of rows of 5 ticks from 100."""
    for ts_ms, ticks, lots, side in (
        (0, 115, 5, BUY),
        (1_000, 119, 1, BUY),
        (1_900, 116, 2, SELL),
        (1_900, 120, 7, SELL),
    ):
        await writer.commit(writer.trade(T0 + ts_ms, ticks, lots, side))


EXAMPLE = {"start": T0, "end": T0 + 2_000, "bucket": "1s", "price_min": "1.00", "price_max": "1.39", "row": "0.05"}


async def test_the_example_of_the_documentation_byte_by_byte(feed: Served, writer: Writer) -> None:
    await trade_example(writer)
    response = await feed.get(PATH, kind="traded", channels="bv,sv", format="grid", **EXAMPLE)
    packed = response.content
    # As the documented frame of 168 bytes, and between header and cells the one span that says of what time it is.
    assert len(packed) == 168 + 32
    assert struct.unpack_from("<IHBBB", packed, 8) == (0, 0b11, 4, 2, 3)
    assert struct.unpack_from("<IqqIIIIQII", packed, 20) == (1_000, T0, 100, 2, 8, 5, 3, 1, 1, 0)
    assert struct.unpack_from("<QqQ", packed, 72) == (4, T0 + 1_900, 0)
    assert packed[96:112] == bytes.fromhex(writer.token)
    assert struct.unpack_from("<qqqq", packed, 112) == (T0, T0 + 1_901, -(1 << 63), (1 << 63) - 1)
    assert struct.unpack_from("<III4xHHH2x", packed, 144) == (0, 1, 3, 3, 3, 4)
    assert struct.unpack_from("<III4xIII4x", packed, 168) == (5, 1, 0, 0, 2, 7)


async def test_the_example_in_json_and_in_arrow(feed: Served, writer: Writer) -> None:
    await trade_example(writer)
    found = await answered(feed, PATH, kind="traded", **EXAMPLE)
    assert found["cells"] == {
        "col": [0, 1, 1], "row": [3, 3, 4], "bv": [size(5), size(1), 0], "sv": [0, size(2), size(7)],
        "uv": [0, 0, 0], "bn": [1, 1, 0], "sn": [0, 1, 1], "un": [0, 0, 0],
    }  # fmt: skip
    assert (found["bucket"], found["bucketMs"], found["cols"], found["p0"], found["rows"]) == ("1s", 1_000, 2, 1, 8)
    assert (found["knownTo"], found["cursor"], found["missing"], found["best"]) == (T0 + 1_900, writer.cursor, [], [])
    assert found["scale"] == {"p50": size(5), "p90": size(7), "p95": size(7), "p99": size(7), "max": size(7)}
    assert "partial" not in found
    table = pl.read_ipc_stream(
        (await feed.get(PATH, kind="traded", channels="bv,sn", format="arrow", **EXAMPLE)).content
    )
    assert table.columns == ["open_ms", "price_ticks", "buy_lots", "sell_trades"]
    assert table.rows() == [(T0, 115, 5, 0), (T0 + 1_000, 115, 1, 1), (T0 + 1_000, 120, 0, 1)]


async def test_cells_are_the_sums_of_the_trades_below_a_minute_and_above(feed: Served, writer: Writer) -> None:
    rng = random.Random(5)
    for _ in range(8):
        trades = [each._replace(price_ticks=10_000 + rng.randint(-9, 20)) for each in some_trades(writer, rng, 30)]
        await writer.commit(*trades)
    trades = [applied.trade for applied in writer.applied]
    first, end = min(trade.ts_ms for trade in trades), writer.builder.watermark_ms + 1
    for bucket, bucket_ms in (("1s", 1_000), ("30s", 30_000), ("1m", 60_000), ("1h", 3_600_000), ("1d", 86_400_000)):
        for row_ticks in (1, 7):
            start = max(first, end - 8_000 * bucket_ms)
            start -= start % bucket_ms
            expected = of_trades([trade for trade in trades if trade.ts_ms >= start], bucket_ms, row_ticks)
            assert await cells(feed, row_ticks, start=start, end=end, bucket=bucket) == expected, (bucket, row_ticks)
    start = end - 400_000
    for bucket, bucket_ms in (("50ms", 50), ("250ms", 250)):
        some = [trade for trade in trades if trade.ts_ms >= start // bucket_ms * bucket_ms]
        assert await cells(feed, start=start, end=end, bucket=bucket) == of_trades(some, bucket_ms, 1)


async def test_sealed_days_add_up_to_their_candles(feed: Served, writer: Writer) -> None:
    await written(writer, seed=3)
    window = {"start": START_MS, "end": writer.builder.watermark_ms + 1}
    bars = await answered(feed, f"/v1/candles/{S}", timeframe="1d", start=window["start"] // 86_400_000 * 86_400_000)
    sums = Counter[int]()
    for (open_ms, _), values in (await cells(feed, 3, bucket="1d", **window)).items():
        sums[open_ms] += sum(values[:3])
    assert {bar["t"]: int(Decimal(bar["v"]) * 1_000) for bar in bars["bars"]} == dict(sums)


async def test_sizes_below_the_least_are_left_out_before_rows_are_summed(feed: Served, writer: Writer) -> None:
    for ticks, lots in ((100, 4), (101, 6), (102, 3)):
        await writer.commit(writer.trade(T0, ticks, lots))
    window = {"start": T0, "end": T0 + 1_000, "bucket": "1s"}
    assert await cells(feed, 10, min=size(4), **window) == {(T0, 100): [10, 0, 0, 2, 0, 0]}
    assert await cells(feed, 10, min=size(7), **window) == {}


async def test_a_book_tells_the_best_prices(feed: Served, writer: Writer) -> None:
    await trade_example(writer)
    chunk = DepthChunk(
        T0, T0 + 1_500, [PriceSpan(T0, T0 + 1_500, 90, 130)], [(114, 4, T0, T0 + 1_500)], [(121, 7, T0, T0 + 1_500)]
    )
    await DepthStore(writer.client, S, 60).put(writer.token, {T0: pack_chunk(chunk, INSTRUMENT.scale)})
    best = (await answered(feed, PATH, kind="traded", best=1, **EXAMPLE))["best"]
    assert best == [[price(each) for each in (114, 121, 114, 121)]] * 2


async def test_older_than_trades_are_kept_it_is_of_minutes_and_says_so(feed: Served, client: Any) -> None:
    writer = Writer(client, trades_kept=5)
    await writer.register()
    await writer.claim()
    for at in range(30):
        await writer.commit(writer.trade(T0 + at * 20_000, 100 + at % 3))
    window = {"start": T0, "end": T0 + 60_000}
    found = await answered(feed, PATH, kind="traded", bucket="1s", row="0.01", **window)
    assert (found["bucket"], found["bucketMs"], found["cols"]) == ("1m", 60_000, 1)
    assert found["cells"]["bn"] == [1, 1, 1] and "partial" not in found
    kept = {"start": T0 + 580_000, "end": T0 + 590_000}
    assert (await answered(feed, PATH, kind="traded", bucket="1s", **kept))["bucket"] == "1s"


async def test_what_is_missing_is_told(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade(T0, 100))
    writer.next_id += 3
    await writer.commit(writer.trade(T0 + 5_000, 101))
    window = {"start": T0, "end": T0 + 10_000, "bucket": "1s", "row": "0.01"}
    found = await answered(feed, PATH, kind="traded", **window)
    assert found["partial"] is True and len(found["gaps"]) == 1
    frame = GridFrame.unpack((await feed.get(PATH, kind="traded", format="grid", **window)).content)
    assert GridFlags.PARTIAL in frame.head.flags
    assert [span[:2] for span in frame.spans.tolist()] == []
    assert set(frame.values) == set(TradedChannel)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"bucket": "1ms", "start": T0, "end": T0 + 3_600_000}, "a bucket of 1s would fit"),
        (
            {"bucket": "50ms", "start": T0, "end": T0 + 400_000, "price_min": 1, "price_max": 40, "row": 0.01},
            "a bucket of 1s would fit",
        ),
        ({"bucket": "1s", "start": T0, "end": T0 + 8_193_000}, "a bucket of 5s would fit"),
        ({"price_min": 1, "price_max": 100, "row": 0.01}, "9901 rows"),
        ({"bucket": "7s"}, "a part of a day"),
        ({"start": T0, "end": T0}, "are not up to 31 days apart"),
        ({"start": T0, "end": T0 + 31 * 86_400_000 + 1, "bucket": "1d"}, "are not up to 31 days apart"),
        ({"channels": "bv,cv"}, "channels has 'cv'"),
        ({"min": "-1"}, "expected 0 or a multiple"),
        ({"min": "0.0001"}, "expected 0 or a multiple"),
        ({"best": 2}, "expected 0 to 1"),
    ],
)
async def test_what_is_too_much_or_makes_no_sense_is_refused_before_anything_is_read(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], message: str
) -> None:
    await writer.commit(writer.trade(T0))
    reads = list[object]()

    async def counted(*given: object) -> None:
        reads.append(given)

    for together in (ClosedTogether, TapeTogether):
        monkeypatch.setattr(together, "read", counted)
    response = await feed.get(PATH, kind="traded", **asked)
    assert (response.status_code, reads) == (400, [])
    assert message in response.json()["error"]["message"]


async def test_more_than_one_request_may_read_is_refused(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(writer, seed=4)
    monkeypatch.setattr("feed.queries.queries.QueryBudget", partial(QueryBudget, max_rows=1))
    monkeypatch.setattr("feed.reading.budget.BAR_FACTOR", 1_000)
    for name in ("PART", "FOOTPRINT_PART", "CHUNK", "FOOTPRINT_CHUNK"):
        monkeypatch.setattr(f"feed.bars.recipe.{name}", 3)
    window = {"start": START_MS, "end": writer.builder.watermark_ms + 1}
    response = await feed.get(PATH, kind="traded", bucket="1m", **window)
    assert response.status_code == 400
    assert "one request may read: a shorter time" in response.json()["error"]["message"]


async def test_a_symbol_without_a_trade_has_an_empty_picture(feed: Served, writer: Writer) -> None:
    found = await answered(feed, PATH, kind="traded")
    assert (found["cells"]["col"], found["scale"], found["knownTo"]) == ([], None, -1)
