"""`heatmap`: the grid that a client holds is what a fresh answer says of it, whatever happens in between."""

import random
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection

from common.frames.grid import GridFrame
from common.frames.grid_columns import GridColumn
from common.market.instrument import Instrument
from feed.stream.channels import depth_grid, grid_series
from tests.kit.book_writer import BookWriter
from tests.kit.folding import all_leave
from tests.kit.grid_folds import GridFolding, HeldFrames, cells_of
from tests.kit.served import Served, hear, say, served
from tests.kit.stalled import BUFFER_BYTES, stalled
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, Saved, Writer, random_step, some_accident
from tests.scale import SCALE, scaled

# Some 20 s of `infra/test`; all of them in a run of everything.
SCHEDULES = 500 if SCALE >= 1 else scaled(6)
BUCKETS = ("1s", "250ms", "1m", "15m", "1h", "30s")


def traded(feed: Served, symbol: str, rng: random.Random) -> GridFolding:
    prices = rng.choice(({}, {"price_min": "95", "price_max": "104.99"}, {"rows": 2_500}))
    channels = rng.choice(({}, {"channels": "bv,sv"}))
    cols = {"cols": rng.choice((1, 7, 60))}
    row = {"row": rng.choice(("0.01", "0.5"))}
    return GridFolding(feed, symbol, kind="traded", bucket=rng.choice(BUCKETS), **row, **cols, **prices, **channels)


async def agree(clients: list[GridFolding]) -> None:
    """Every client ends up with exactly what is answered of what it holds then."""
    for one in clients:
        if one.joined:
            with suppress(AssertionError):
                await wait_until_async(partial(is_right, one), 5)
            assert await is_right(one), (one.request(), one.heard[-20:], one.differences(await one.expected()))


async def is_right(one: GridFolding) -> bool:
    return not one.differences(await one.expected())


@pytest.mark.parametrize("seed", range(SCHEDULES))
async def test_folded_traded_grids_equal_answers_whatever_happens(client: Redis, feed: Served, seed: int) -> None:
    rng = random.Random(seed)
    writer = Writer(client, Instrument("TEST:A", 2, 3, rng.choice(("contiguous", "unique"))))
    await writer.register()
    await writer.claim()
    clients: list[GridFolding] = []
    saved: Saved | None = None
    for _ in range(30):
        for _ in range(rng.randint(1, 4)):
            await random_step(writer, rng)
        if clients and rng.random() < 0.3:
            await rng.choice(clients).come_or_go()
        elif rng.random() < 0.4:
            one = traded(feed, "TEST:A", rng)
            one.join()
            clients.append(one)
        if rng.random() < 0.08:
            saved = await writer.save()
        if rng.random() < 0.1:
            await some_accident(client, writer, rng, saved)
        if rng.random() < 0.3:
            await agree(clients)
    await agree(clients)
    await all_leave(clients)


S = INSTRUMENT.symbol
ASKED: dict[str, Any] = {"kind": "traded", "bucket": "1s", "row": "0.01"}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"bucket": None}, "bucket is missing"),
    ({"row": None}, "row is missing"),
    ({"row": "auto"}, "row is 'auto', expected a height"),
    ({"row": "0.001"}, "row is '0.001', expected auto or a multiple"),
    ({"bucket": "7s"}, "bucket is 7s, expected a part of a day"),
    ({"bucket": "2d"}, "bucket is 2d, expected a part of a day"),
    ({"bucket": "soon"}, "timeframe 'soon'"),
    ({"kind": "sums"}, "kind is 'sums', expected depth or traded"),
    ({"cell": "min"}, "cell is 'min', expected max or last or mean"),
    ({"channels": "bv,cv"}, "channels has 'cv'"),
    ({"cols": 0}, "cols is 0, expected 1 to 8192"),
    ({"cols": "9"}, 'cols is "9", expected a whole number'),
    ({"rows": 4_097}, "rows is 4097, expected 1 to 4096"),
    ({"cols": 8_192, "rows": 4_096}, "that is 8192 columns of 4096 rows, expected at most"),
    ({"cols": 32, "bucket": "1d"}, "that is 32 columns of 1d, expected at most 31 days"),
    ({"kind": "depth", "cols": 8, "bucket": "1d"}, "that is 8 columns of 1d, expected at most 7 days"),
    ({"price_min": "1"}, "price_min and price_max are not both given"),
    ({"price_min": "2", "price_max": "1"}, "price_max 1 is below price_min"),
    ({"price_min": "1.001", "price_max": "2"}, "price_min is '1.001'"),
    ({"price_min": "1", "price_max": "100"}, "that is 9901 rows, expected at most 4096"),
    ({"limit": 5}, "'limit' is not known here"),
    ({"timeframe": "1m"}, "'timeframe' is not known here"),
    ({"cursor": "5"}, "cursor '5' is not one"),
    ({"cursor": "5-ab@x"}, "cursor '5-ab@x' is not one"),
]


async def test_what_it_does_not_take_is_refused_in_a_sentence(feed: Served, writer: Writer) -> None:
    async with feed.connect() as socket:
        for asked, sentence in WRONG:
            given = {name: value for name, value in (ASKED | asked).items() if value is not None}
            await say(socket, action="subscribe", channel="heatmap", symbol=S, **given)
            answer = await hear(socket)
            assert (answer["type"], answer["code"]) == ("error", "bad_input"), (asked, answer)
            assert answer["message"].startswith(sentence) and len(answer["message"]) < 200, answer
        await say(socket, action="list")
        assert (await hear(socket))["subscriptions"] == []


async def test_a_cursor_of_another_grid_gets_a_full_frame(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade())
    head = f"1-{writer.token}"
    for held in ("", "@1.1.1", "@9900.2.9999999999999", "@9900.1.5", "@9900.1", "@-.-.-", "@9900.1.1.1", "@9900.1.-5"):
        async with feed.connect() as socket:
            await say(socket, action="subscribe", channel="heatmap", symbol=S, **ASKED, cursor=head + held)
            message = await hear(socket)
            assert (message["type"], message["reset"]) == ("snapshot", True), held
            assert (await frame_of(socket)).head.p0_ticks == 9_900


async def test_a_frame_follows_what_names_it_and_a_subscription_its_parts(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade(ticks=10_000, lots=5), writer.trade(ticks=10_003, lots=7, side=1))
    async with feed.connect() as socket:
        parts = {"symbol": S, "channel": "heatmap", **ASKED, "cols": 4}
        await say(socket, action="subscribe", **parts, id=3)
        snapshot = await hear(socket)
        names = ("type", "id", "channel", "params", "seq", "kind", "cols", "p0", "row", "rows")
        assert [snapshot[name] for name in names] == [
            *("snapshot", 3, "heatmap", ASKED | {"cols": 4}, writer.seq),
            *("traded", 4, 99.03, 0.01, 200),
        ]
        full = await frame_of(socket)
        assert (full.head.seq, full.head.t0_ms, full.head.cols) == (writer.seq, snapshot["t0"], 4)
        assert sorted(cells_of(full).values()) == [(0, 7, 0, 0, 1, 0), (5, 0, 0, 1, 0, 0)]
        await writer.commit(writer.trade(ticks=10_000, lots=1))
        told = await hear(socket)
        assert (told["type"], told["after"], told["seq"]) == ("heatmap", snapshot["seq"], writer.seq)
        patch = await frame_of(socket)
        # Only what is another one, and all of it that is.
        assert list(cells_of(patch).values()) == [(6, 0, 0, 2, 0, 0)]
        await say(socket, action="list")
        assert (await hear(socket))["subscriptions"] == [parts]
        await say(socket, action="unsubscribe", **parts)
        assert await hear(socket) == {"type": "unsubscribed"} | parts
    await wait_until_async(lambda: not feed.services.hub.feeds)


async def test_where_the_price_leaves_the_rows_it_begins_again_around_it(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade(ticks=10_000))
    one = GridFolding(feed, S, **ASKED, rows=20)
    one.join()
    await wait_until_async(lambda: one.cursor)
    await writer.commit(writer.trade(ticks=10_009))
    await agree([one])
    assert one.heard == ["snapshot", "heatmap"]
    await writer.commit(writer.trade(ticks=10_010))
    await wait_until_async(lambda: one.heard[-1] == "snapshot")
    await agree([one])
    assert one.grid and one.grid.head.p0_ticks == 10_000
    await one.leave()


async def test_a_frame_that_would_be_too_large_has_higher_rows_and_says_so(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid_series, "MAX_FRAME_BYTES", 2_000)
    await writer.commit(*(writer.trade(ticks=10_000 + at) for at in range(-90, 90)))
    async with feed.connect() as socket:
        await say(socket, action="subscribe", channel="heatmap", symbol=S, **ASKED, cols=3)
        snapshot = await hear(socket)
        found = await frame_of(socket)
        assert (snapshot["row"], snapshot["coarsened"]) == (0.02, True) and len(found.pack()) <= 2_000
        assert (found.head.row_ticks, found.head.p0_ticks, found.head.rows) == (2, 9_988, 101)
        assert sum(cell[0] for cell in cells_of(found).values()) == (10_090 - 9_988) * 5


async def test_a_client_that_reads_slowly_gets_the_newest_values_of_every_column(
    redis_url: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.web.unread.MAX_LOOKS", 1_000)
    async with served(redis_url, send_buffer_bytes=BUFFER_BYTES) as feed:
        await writer.commit(writer.trade())
        async with stalled(feed, channel="heatmap", limit=None, **ASKED, cols=50) as slow:
            held = HeldFrames(50, await frame_of(slow))
            other = GridFolding(feed, S, **ASKED, cols=50)
            other.join()
            slow.transport.pause_reading()
            for _ in range(60):
                writer.now_ms += 700
                await writer.commit(*(writer.trade(ticks=10_000 + at) for at in range(60)))
                await wait_until_async(lambda: (other.cursor or "0-").startswith(f"{writer.seq}-"))
            slow.transport.resume_reading()
            patches = 0
            while held.head.seq < writer.seq:
                await hear(slow, "heatmap")
                held.patch(await frame_of(slow))
                patches += 1
            assert patches < 60 and held.canonical() == other.bars
            await other.leave()


async def test_a_cell_that_is_left_out_would_show(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of what is folded above."""
    await writer.commit(writer.trade(ticks=10_000))
    one = GridFolding(feed, S, **ASKED)
    one.join()
    await wait_until_async(lambda: one.cursor)
    monkeypatch.setattr(GridColumn, "since", lambda column, older: replace(column, cells={}))
    await writer.commit(writer.trade(ticks=10_001))
    await wait_until_async(lambda: one.heard[-1] == "heatmap")
    assert not await is_right(one)
    await one.leave()


async def test_a_symbol_without_a_book_is_an_error_that_ends_the_subscription(feed: Served, writer: Writer) -> None:
    async with feed.connect() as socket:
        await say(socket, action="subscribe", channel="heatmap", symbol=S, bucket="1s", row="0.01")
        assert (await hear(socket))["code"] == "no_book"
        await say(socket, action="list")
        assert (await hear(socket))["subscriptions"] == []


async def frame_of(socket: ClientConnection) -> GridFrame:
    frame = await socket.recv()
    assert isinstance(frame, bytes)
    return GridFrame.unpack(frame)


def depth(feed: Served, rng: random.Random) -> GridFolding:
    prices = rng.choice(({"price_min": "99.5", "price_max": "100.49"}, {"rows": 30}, {"rows": 200}))
    asked = {
        "row": rng.choice(("0.01", "0.05")),
        "cols": rng.choice((1, 7, 60)),
        "cell": rng.choice(("max", "last", "mean")),
    }
    return GridFolding(feed, S, kind="depth", bucket=rng.choice(("100ms", "1s", "5s", "1m")), **asked, **prices)


@pytest.mark.parametrize("seed", range(SCHEDULES))
async def test_folded_grids_of_a_book_equal_answers_whatever_happens(
    client: Redis, feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(depth_grid, "LOOK_S", 0.01)
    rng = random.Random(seed)
    book = BookWriter(writer, rng)
    await book.begin()
    clients: list[GridFolding] = []
    for _ in range(30):
        for _ in range(rng.randint(1, 4)):
            await book.move()
        if clients and rng.random() < 0.3:
            await rng.choice(clients).come_or_go()
        elif rng.random() < 0.3:
            one = depth(feed, rng)
            one.join()
            clients.append(one)
        if rng.random() < 0.1:
            await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
        if rng.random() < 0.07:
            await book.take_over()
        if rng.random() < 0.3:
            await book.flush()
            await agree(clients)
    await book.flush()
    await agree(clients)
    await all_leave(clients)
