"""`GET /v1/heatmap/{symbol}`: what rested at which price and when."""

from typing import Any

import polars as pl
import pytest

from common.frames.grid import DepthChannel, GridFlags, GridFrame
from tests.kit.books import T0, example_chunk, put_chunks
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, Writer

S = INSTRUMENT.symbol
PATH = f"/v1/heatmap/{S}"
WINDOW = {"start": T0, "end": T0 + 1_000, "price_min": "1.00", "price_max": "1.03", "bucket": "1s", "row": "0.02"}


@pytest.mark.parametrize(
    ("until_ms", "cell", "bid", "ask"),
    [
        (1_000, "max", 0.01, 0.007),
        (1_000, "last", 0.002, 0.007),
        (1_000, "mean", 0.0056, 0.007),
        (600, "max", 0.01, 0.007),
        (600, "last", 0.01, 0.007),
        (600, "mean", 0.008, 0.007),
    ],
)
async def test_the_example_of_the_documentation(
    feed: Served, writer: Writer, until_ms: int, cell: str, bid: float, ask: float
) -> None:
    await put_chunks(writer, example_chunk(until_ms))
    found = await feed.json(PATH, **WINDOW, cell=cell)
    assert found["cells"] == {"col": [0, 0], "row": [0, 1], "bid": [bid, 0], "ask": [0, ask]}
    assert (found["t0"], found["bucketMs"], found["cols"], found["p0"], found["row"], found["rows"]) == (
        T0, 1_000, 1, 1, 0.02, 2,
    )  # fmt: skip
    assert found["spans"] == [[T0, T0 + until_ms, 0.98, 1.05]]
    assert found["best"] == [[1, 1.03, 1, 1.03]]
    assert found["scale"]["max"] == max(bid, ask)
    assert (found["knownTo"], found["resolutionMs"]) == (T0 + until_ms, 1)


@pytest.mark.parametrize(
    ("least", "expected"), [("0.003", [0.0048, 0]), ("0.004", [0.0036, 0]), ("0.005", [0.002, 0]), ("0.011", [])]
)
async def test_sizes_below_the_least_are_left_out_before_rows_are_summed(
    feed: Served, writer: Writer, least: str, expected: list[float]
) -> None:
    await put_chunks(writer, example_chunk())
    found = await feed.json(PATH, **WINDOW, cell="mean", min=least)
    assert found["cells"]["bid"] == expected


async def test_the_grid_frame_says_the_same(feed: Served, writer: Writer) -> None:
    await put_chunks(writer, example_chunk(600))
    response = await feed.get(PATH, **WINDOW, cell="mean", format="grid")
    assert response.headers["content-type"] == "application/vnd.fleet.grid"
    frame = GridFrame.unpack(response.content)
    assert (frame.head.t0_ms, frame.head.p0_ticks, frame.head.row_ticks, frame.head.known_ms) == (T0, 100, 2, T0 + 600)
    # Each of its two cells is there, so it is written as the shorter form.
    assert frame.head.flags == GridFlags.PARTIAL | GridFlags.DENSE
    sizes = {channel: (column * frame.head.lot_step).tolist() for channel, column in frame.values.items()}
    assert sizes[DepthChannel.BID_SIZE_MS] == [4_800, 0] and sizes[DepthChannel.ASK_SIZE_MS] == [0, 4_200]
    assert frame.values[DepthChannel.KNOWN_MS].tolist() == [600, 600]
    assert frame.spans.tolist() == [[T0, T0 + 600, 98, 105]] and frame.best.tolist() == [[100, 103, 100, 103]]


async def test_arrow_has_a_row_for_each_cell(feed: Served, writer: Writer) -> None:
    await put_chunks(writer, example_chunk())
    response = await feed.get(PATH, **WINDOW, cell="last", format="arrow")
    table = pl.read_ipc_stream(response.content)
    assert table.columns == ["open_ms", "price_ticks", "bid_size_lots", "ask_size_lots", "known_ms"]
    assert table.rows() == [(T0, 100, 2, 0, 1_000), (T0, 102, 0, 7, 1_000)]


async def test_a_window_is_widened_outwards_and_chosen_where_it_is_not_given(feed: Served, writer: Writer) -> None:
    await put_chunks(writer, example_chunk())
    asked = {
        "start": T0 + 130,
        "end": T0 + 301,
        "bucket": "100ms",
        "price_min": "1.01",
        "price_max": "1.02",
        "row": 0.1,
    }
    found = await feed.json(PATH, **asked)
    assert (found["t0"], found["cols"], found["p0"], found["rows"]) == (T0 + 100, 3, 1, 1)
    found = await feed.json(PATH)
    assert (found["t0"] + found["cols"] * found["bucketMs"], found["bucketMs"]) == (T0 + 1_000 + 4_000, 5_000)
    assert (found["p0"], found["rows"], found["row"]) == (0.98, 8, 0.01)
    found = await feed.json(PATH, max_rows=3, max_cols=10, start=T0, end=T0 + 1_000)
    assert (found["bucketMs"], found["row"], found["rows"]) == (100, 0.05, 3)


async def test_what_lies_beyond_is_unknown_and_not_empty(feed: Served, writer: Writer) -> None:
    await put_chunks(writer, example_chunk())
    frame = GridFrame.unpack((await feed.get(PATH, **{**WINDOW, "price_max": "1.09"}, format="grid")).content)
    assert GridFlags.PARTIAL in frame.head.flags
    inside = GridFrame.unpack((await feed.get(PATH, **WINDOW, format="grid")).content)
    assert inside.head.flags == GridFlags.DENSE


async def test_a_minute_that_has_grown_is_read_once_more(feed: Served, writer: Writer) -> None:
    await put_chunks(writer, example_chunk(300))
    assert (await feed.json(PATH, **WINDOW))["knownTo"] == T0 + 300
    await put_chunks(writer, example_chunk(1_000))
    assert (await feed.json(PATH, **WINDOW))["knownTo"] == T0 + 1_000


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"bucket": "1ms", "start": T0, "end": T0 + 3_600_000}, "a bucket of 1s would fit"),
        (
            {"bucket": "50ms", "start": T0, "end": T0 + 400_000, "price_min": 1, "price_max": 40, "row": 0.01},
            "a bucket of 1s would fit",
        ),
        ({"price_min": 1, "price_max": 100, "row": 0.01}, "9901 rows"),
        ({"bucket": "7s"}, "a part of a day"),
        ({"bucket": "1w"}, "a part of a day"),
        ({"start": T0, "end": T0}, "are not up to 366 days apart"),
        ({"start": 0, "end": T0}, "are not up to 366 days apart"),
        ({"price_min": 2, "price_max": 1}, "expected price_min <= price_max"),
        ({"price_min": "1.001"}, "a multiple of the tick 0.01"),
        ({"kind": "sold"}, "expected depth or traded"),
        ({"cell": "sum"}, "expected max or last or mean"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    feed: Served, writer: Writer, asked: dict[str, Any], message: str
) -> None:
    await put_chunks(writer, example_chunk())
    response = await feed.get(PATH, **asked)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


async def test_more_of_a_book_than_one_query_may_read_is_refused(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_chunks(writer, example_chunk())
    monkeypatch.setattr("feed.reading.depth_minutes.MAX_ROWS", 4)
    response = await feed.get(PATH, **WINDOW)
    assert response.status_code == 400
    assert "5 changes of the book, expected at most 4" in response.json()["error"]["message"]


async def test_a_symbol_without_a_history_of_its_book_is_404(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade())
    response = await feed.get(PATH)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "no_book")
