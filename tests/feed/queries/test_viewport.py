"""`GET /v1/viewport/{symbol}`: each part as its own endpoint has it, as fine as can be seen."""

from typing import Any

import pytest

from common.frames.depth_minute import DepthMinute
from common.market.depth.chunk import DepthChunk, PriceSpan, pack_chunk
from common.market.orderflow.viewport import PriceRows, choose_timeframe
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe
from common.store.depth import DepthReader, DepthStore
from common.store.reads import SymbolReader
from feed.bars.by_trade import TapeTogether
from feed.bars.source import BarRows
from feed.bars.together import ClosedTogether
from feed.queries.viewport import Slots
from tests.kit.flow_asked import answered, written
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, START_MS, Writer

S = INSTRUMENT.symbol
PATH = f"/v1/viewport/{S}"
T0 = START_MS - START_MS % MINUTE_MS
PARTS = ("bars", "cursor", "coverage", "gaps")


async def trades(writer: Writer, minutes: int) -> None:
    for _ in range(minutes):
        await writer.commit(*(writer.trade(ticks=10_000 + at % 7) for at in range(5)))
        writer.now_ms += MINUTE_MS


async def book(writer: Writer, open_ms: int) -> None:
    bids, asks = [(10_000, 4, open_ms, open_ms + 60_000)], [(10_003, 7, open_ms, open_ms + 60_000)]
    chunk = DepthChunk(open_ms, open_ms + 60_000, [PriceSpan(open_ms, open_ms + 60_000, 9_990, 10_010)], bids, asks)
    store = DepthStore(writer.client, S, 60)
    await store.put(writer.token, {open_ms: pack_chunk(chunk, INSTRUMENT.scale)})


@pytest.mark.parametrize("timeframe", ["1s", "1m", "15m", "4h", "1d"])
async def test_its_parts_are_those_of_the_endpoints_of_candles_and_profiles(
    feed: Served, writer: Writer, timeframe: str
) -> None:
    await written(writer, seed=4)
    end_ms = writer.applied[-1].trade.ts_ms + 1
    start_ms = end_ms - (MINUTE_MS if timeframe == "1s" else 2 * DAY_MS)
    found = await answered(feed, PATH, timeStart=start_ms, timeEnd=end_ms, timeframe=timeframe, profile=1)
    edges = {"start": found["timeStart"], "end": found["timeEnd"]}
    assert edges["start"] <= start_ms and edges["end"] >= end_ms
    candles = await answered(feed, f"/v1/candles/{S}", timeframe=timeframe, **edges, limit=5_000)
    assert {name: found[name] for name in PARTS} == {name: candles[name] for name in PARTS}
    assert found["bars"] and found["cursor"] == writer.cursor
    assert (found["priceMin"], found["priceMax"]) == (
        min(bar["l"] for bar in found["bars"]),
        max(bar["h"] for bar in found["bars"]),
    )
    if timeframe != "1s":
        asked = {**edges, "kind": "range", "row": found["row"]}
        (profile,) = (await answered(feed, f"/v1/profile/{S}", **asked))["profiles"]
        ignored = ("from", "to")
        assert {k: v for k, v in found["profile"].items() if k not in ignored} == {
            k: v for k, v in profile.items() if k not in ignored
        }
    assert sum(row.get("bv", 0) + row.get("sv", 0) + row.get("uv", 0) for row in found["profile"]["rows"]) == sum(
        bar["v"] for bar in found["bars"]
    )


async def test_a_profile_tells_the_rows_that_are_seen_and_counts_all(feed: Served, writer: Writer) -> None:
    await written(writer, seed=5)
    asked = {"timeStart": START_MS - DAY_MS, "timeEnd": writer.now_ms + DAY_MS, "profile": 1}
    whole = await answered(feed, PATH, **asked)
    some = await answered(feed, PATH, **asked, priceMin="100.02", priceMax="100.05")
    assert [row["p"] for row in some["profile"]["rows"]] == [
        row["p"] for row in whole["profile"]["rows"] if some["priceMin"] <= row["p"] <= some["priceMax"]
    ]
    assert {k: v for k, v in some["profile"].items() if k != "rows"} == {
        k: v for k, v in whole["profile"].items() if k != "rows"
    }


async def test_cells_are_those_of_the_heatmap(feed: Served, writer: Writer) -> None:
    await trades(writer, 2)
    await book(writer, T0)
    asked = {"timeStart": T0, "timeEnd": T0 + 120_000, "heatmap": "depth", "timeframe": "5s"}
    found = await answered(feed, PATH, **asked, priceMin="99.98", priceMax="100.05")
    cells = await answered(
        feed,
        f"/v1/heatmap/{S}",
        start=T0,
        end=T0 + 120_000,
        bucket="5s",
        price_min=found["priceMin"],
        price_max=found["priceMax"],
        row=found["row"],
    )
    assert found["heatmap"] == {k: v for k, v in cells.items() if k not in ("symbol", "cursor", "health")}
    assert found["heatmap"]["cells"]["col"]


OF_ALL = ("symbol", "cursor", "coverage", "gaps", "health")


@pytest.mark.parametrize("timeframe", ["1s", "1m", "15m", "4h", "1d", "1w"])
async def test_traded_cells_are_those_of_the_heatmap(feed: Served, writer: Writer, timeframe: str) -> None:
    await written(writer, seed=6)
    end_ms = writer.applied[-1].trade.ts_ms + 1
    asked = {"timeStart": end_ms - (MINUTE_MS if timeframe == "1s" else 2 * DAY_MS), "timeEnd": end_ms}
    found = await answered(feed, PATH, **asked, heatmap="traded", timeframe=timeframe, profile=1)
    bucket = "1d" if timeframe == "1w" else timeframe
    cells = await answered(
        feed,
        f"/v1/heatmap/{S}",
        kind="traded",
        start=found["timeStart"],
        end=found["timeEnd"],
        bucket=bucket,
        price_min=found["priceMin"],
        price_max=found["priceMax"],
        row=found["row"],
    )
    assert found["heatmap"] == {k: v for k, v in cells.items() if k not in OF_ALL}
    assert volume(found) == sum(bar["v"] for bar in found["bars"]) > 0


@pytest.mark.parametrize("timeframe", ["1s", "1m", "1h"])
async def test_traded_cells_are_of_the_commit_of_the_candles(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch, timeframe: str
) -> None:
    await trades(writer, 3)
    reads = list[str]()
    for together in (ClosedTogether, TapeTogether):
        read = together.read

        async def overtaken(self: Any, recipe: Any, bounds: Any, read: Any = read) -> BarRows:
            found: BarRows = await read(self, recipe, bounds)
            reads.append(found.view.state.token if found.view.state else "")
            # The first one amends a minute, too.
            await writer.commit(writer.trade(), *([writer.trade(T0)] if len(reads) == 1 else []))
            return found

        monkeypatch.setattr(together, "read", overtaken)
    edges = {"timeStart": T0, "timeEnd": T0 + 60 * MINUTE_MS, "priceMin": 1, "priceMax": 200}
    found = await answered(feed, PATH, **edges, heatmap="traded", profile=1, timeframe=timeframe)
    assert volume(found) == sum(bar["v"] for bar in found["bars"]) > 0
    assert len(reads) >= 3 and found["cursor"] != writer.cursor


async def test_traded_cells_go_back_as_far_as_a_heatmap_does(feed: Served, writer: Writer) -> None:
    await written(writer, seed=7)
    end_ms = T0 + 2_000 * DAY_MS
    asked = {"timeStart": T0 - 400 * DAY_MS, "timeEnd": end_ms, "heatmap": "traded", "priceMin": 1, "priceMax": 200}
    found = (await answered(feed, PATH, **asked, timeframe="1d"))["heatmap"]
    assert found["t0"] == end_ms // DAY_MS * DAY_MS + DAY_MS - 31 * DAY_MS and found["cols"] == 31


def volume(found: dict[str, Any]) -> Any:
    cells = found["heatmap"]["cells"]
    return sum(sum(cells[name]) for name in ("bv", "sv", "uv"))


async def test_a_market_without_a_book_has_no_cells_and_all_the_rest(feed: Served, writer: Writer) -> None:
    await trades(writer, 2)
    found = await answered(feed, PATH, heatmap="depth", profile=1)
    assert found["heatmap"] is None and found["bars"] and found["profile"]["rows"]


async def test_nothing_is_shown_of_a_market_without_trades(feed: Served, writer: Writer) -> None:
    for cells in ("depth", "traded"):
        found = await answered(feed, PATH, heatmap=cells, profile=1)
        assert (found["bars"], found["row"], found["heatmap"], found["profile"]) == ([], None, None, None)


async def test_the_timeframe_suits_the_width_and_stays_while_it_fits(feed: Served, writer: Writer) -> None:
    await trades(writer, 3)
    edges = {"timeStart": T0, "timeEnd": T0 + 4 * MINUTE_MS}
    assert (await answered(feed, PATH, **edges, width=60))["timeframe"] == "30s"
    assert (await answered(feed, PATH, **edges, width=60, current="1m"))["timeframe"] == "1m"
    assert (await answered(feed, PATH, **edges, width=60, current="15m"))["timeframe"] == "30s"
    assert (await answered(feed, PATH, **edges, width=60, timeframe="15m"))["timeframe"] == "15m"


async def test_rows_suit_the_height_and_stay_while_they_fit(feed: Served, writer: Writer) -> None:
    await trades(writer, 3)
    asked = {"priceMin": 90, "priceMax": 110, "height": 400}
    assert float((await answered(feed, PATH, **asked))["row"]) == 0.2
    assert float((await answered(feed, PATH, **asked, currentRow="0.25"))["row"]) == 0.25
    assert float((await answered(feed, PATH, **asked, currentRow="0.01"))["row"]) == 0.2
    # A picture of so many bars has room for fewer rows.
    narrow = {**asked, "timeStart": T0, "timeEnd": T0 + 8_000_000, "timeframe": "1s", "height": 8_000}
    assert float((await answered(feed, PATH, **narrow))["row"]) > 0.2


async def test_minutes_are_shown_where_trades_are_not_kept_for_as_long(feed: Served, writer: Writer) -> None:
    writer.trades_kept = 10
    await trades(writer, 60)
    edges = {"timeStart": T0, "timeEnd": T0 + 60 * MINUTE_MS}
    found = await answered(feed, PATH, **edges)
    kept = await answered(feed, PATH, timeStart=writer.now_ms - 90_000, timeEnd=writer.now_ms)
    assert (found["timeframe"], len(found["bars"])) == ("1m", 60)
    assert Timeframe.parse(kept["timeframe"]).longest_ms < MINUTE_MS
    assert (await answered(feed, PATH, **edges, timeframe="30s"))["timeframe"] == "30s"


async def test_what_is_too_large_is_refused_before_anything_is_read(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trades(writer, 3)
    await book(writer, T0)
    edges = {"timeStart": T0, "timeEnd": T0 + 30 * DAY_MS}
    assert (await feed.get(PATH, **edges)).status_code == 200
    reads = list[str]()
    for place, name in ((SymbolReader, "view"), (SymbolReader, "views"), (DepthReader, "chunks"), (DepthMinute, "of")):
        monkeypatch.setattr(place, name, lambda *_, _name=name, **__: reads.append(_name))
    # 2.6 million columns of 300 rows.
    response = await feed.get(PATH, **edges, timeframe="1s", heatmap="depth", profile=1)
    assert (response.status_code, reads) == (400, [])
    assert "2592000 bars of 1s, expected at most 8192: 15m would fit, or auto" in response.json()["error"]["message"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"timeStart": T0, "timeEnd": T0}, "expected timeStart < timeEnd"),
    ({"timeStart": T0 + 1, "timeEnd": T0}, "expected timeStart <= timeEnd"),
    ({"priceMin": 2, "priceMax": 1}, "expected priceMin <= priceMax"),
    ({"priceMin": "1.001"}, "a multiple of the tick 0.01"),
    ({"timeframe": "soon"}, "timeframe"),
    ({"current": "auto"}, "timeframe"),
    ({"width": 0}, "expected 1 to 8192"),
    ({"height": 8_193}, "expected 1 to 8192"),
    ({"currentRow": "0.001"}, "a multiple of the tick 0.01"),
    ({"heatmap": "sums"}, "expected none or depth or traded"),
    ({"profile": 2}, "expected 0 or 1"),
    ({"timeStart": 0, "timeEnd": 8_000_000_000_000}, "expected a shorter time"),
]


async def test_what_makes_no_sense_is_refused(feed: Served, writer: Writer) -> None:
    for asked, message in REFUSED:
        response = await feed.get(PATH, **asked)
        assert response.status_code == 400
        assert message in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("span_ms", "expected"),
    [(10 * MINUTE_MS, "5s"), (2 * MINUTE_MS, "1s"), (30_000, "250ms"), (60 * MINUTE_MS, "30s"), (30 * DAY_MS, "4h")],
)
def test_the_timeframe_of_the_documentation(span_ms: int, expected: str) -> None:
    assert choose_timeframe(span_ms, 1_200).text == expected


def test_slots_and_rows_reach_outwards() -> None:
    slots = Slots.of(Timeframe.parse("5m"), 299_999, 600_001)
    assert (slots.from_ms, slots.to_ms, slots.count) == (0, 900_000, 3)
    rows = PriceRows.of(-7, 12, 5)
    assert (rows.low_ticks, rows.high_ticks, rows.row_ticks, rows.count) == (-10, 14, 5, 5)
