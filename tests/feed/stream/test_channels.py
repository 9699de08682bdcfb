"""Channels: what a client folds is what a fresh answer says, whatever happens in between."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from common.market.instrument import Instrument
from feed.wire.row_bars import RowBar
from tests.kit.channel_folds import RowsFolding, TradesFolding
from tests.kit.folding import all_leave
from tests.kit.served import Served, hear, say, served
from tests.kit.stalled import BUFFER_BYTES, stalled
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, START_MS, Saved, Writer, random_step, some_accident
from tests.scale import SCALE, scaled

# All but the range of a running delta, which a roll-up may find out without a commit.
FLOW = "v,bv,sv,uv,delta,deltaBp,buyBp,cvd,n,bn,sn,un,perTrade,range,poc,vah,val,buyImb,sellImb,vwap,up1,down1"
TIMEFRAMES = ("1m", "15m", "1h", "1d", "1s", "90s")

ChannelClient = RowsFolding | TradesFolding
Joining = Callable[[Served, str, random.Random], ChannelClient]


def footprint(feed: Served, symbol: str, rng: random.Random) -> RowsFolding:
    asked = rng.choice(({}, {"row": "0.5", "align": "floor"}, {"fields": "deltaBp,vah,val,imb,zeroPrints", "imb": 150}))
    return RowsFolding(feed, "footprint", symbol, rng.choice(TIMEFRAMES), rng.choice((2, 5_000)), **asked)


def orderflow(feed: Served, symbol: str, rng: random.Random) -> RowsFolding:
    asked = rng.choice(({"fields": "v,delta,bv"}, {"fields": FLOW, "row": "0.5"}, {"fields": "cvd", "anchor": "week"}))
    return RowsFolding(feed, "orderflow", symbol, rng.choice(TIMEFRAMES), rng.choice((2, 5_000)), **asked)


def trades(feed: Served, symbol: str, rng: random.Random) -> TradesFolding:
    return TradesFolding(feed, symbol, rng.choice((2, 5_000)))


# Some 6 s of `infra/test`; all of them in a run of everything.
SCHEDULES = 500 if SCALE >= 1 else scaled(12)
# And one in which a client comes back while the series it listens to is behind what its snapshot was of.
BEHIND = 222
KINDS: tuple[Joining, ...] = (footprint, orderflow, trades)


async def agree(clients: list[ChannelClient]) -> None:
    """Every client ends up with exactly what is answered."""
    for one in clients:
        if one.joined:
            await one.check(await one.expected())


async def come_and_go(feed: Served, symbol: str, rng: random.Random, clients: list[ChannelClient]) -> None:
    """Another client joins, or one leaves or comes back."""
    if not clients or rng.random() < 0.3:
        one = rng.choice(KINDS)(feed, symbol, rng)
        one.join()
        clients.append(one)
    else:
        await rng.choice(clients).come_or_go()


@pytest.mark.parametrize("seed", sorted({*range(SCHEDULES), BEHIND}))
async def test_folded_channels_equal_answers_whatever_happens(client: Redis, feed: Served, seed: int) -> None:
    rng = random.Random(seed)
    writer = Writer(client, Instrument("TEST:A", 2, 3, rng.choice(("contiguous", "unique"))))
    await writer.register()
    await writer.claim()
    clients: list[ChannelClient] = []
    saved: Saved | None = None
    for _ in range(30):
        for _ in range(rng.randint(1, 4)):
            await random_step(writer, rng)
        if rng.random() < 0.5:
            await come_and_go(feed, writer.instrument.symbol, rng, clients)
        if rng.random() < 0.08:
            saved = await writer.save()
        if rng.random() < 0.1:
            await some_accident(client, writer, rng, saved)
        if rng.random() < 0.3:
            await agree(clients)
    await agree(clients)
    await all_leave(clients)


S = INSTRUMENT.symbol


async def test_a_row_that_is_left_out_would_show(feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of what is folded above."""
    await writer.commit(writer.trade(ticks=10_000))
    one = RowsFolding(feed, "footprint", S, "1m", 5)
    one.join()
    await wait_until_async(lambda: one.cursor)
    monkeypatch.setattr(RowBar, "since", lambda bar, older: replace(bar, rows={}))
    await writer.commit(writer.trade(ticks=10_001))
    await wait_until_async(lambda: one.cursor == writer.cursor)
    assert one.differences(await one.expected())
    await one.leave()


async def test_messages_of_candles_are_what_they_were(feed: Served, writer: Writer) -> None:
    """Byte for byte, with the channel named or not."""
    await writer.commit(writer.trade(START_MS, ticks=10_000))
    for channel in ({}, {"channel": "candles"}):
        async with feed.connect() as socket:
            await say(socket, action="subscribe", symbol=S, timeframe="1min", limit=1, **channel)
            opening = str(await socket.recv())
            head = f'{{"type":"snapshot","symbol":"{S}","timeframe":"1m","seq":{writer.seq},"bars":[{{"t":1699999980000'
            assert opening.startswith(head)
            before = writer.cursor
            await writer.commit(writer.trade(START_MS - 60_000, ticks=9_900 + writer.seq), writer.trade(START_MS))
            told = [str(await socket.recv()) for _ in range(2)]
            names = f'"symbol":"{S}","timeframe":"1m","seq":{writer.seq}'
            assert told[0].startswith(f'{{"type":"amend",{names},"cursor":"{before}","bar":{{"t":1699999920000,')
            assert told[1].startswith(
                f'{{"type":"candle",{names},"cursor":"{writer.cursor}","bar":{{"t":1699999980000,'
            )
            await say(socket, action="list")
            assert await socket.recv() == (f'{{"type":"list","subscriptions":[{{"symbol":"{S}","timeframe":"1m"}}]}}')


async def test_a_subscription_is_named_by_all_its_parts(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade())
    parts: list[dict[str, Any]] = [
        {"symbol": S, "timeframe": "1m"},
        {"symbol": S, "channel": "trades"},
        {"symbol": S, "channel": "footprint", "timeframe": "1m"},
        {"symbol": S, "channel": "footprint", "timeframe": "1m", "row": "0.5", "fields": "imb", "imb": 200},
        {"symbol": S, "channel": "orderflow", "timeframe": "5m", "fields": "v,cvd"},
    ]
    async with feed.connect() as socket:
        for each in parts:
            await say(socket, action="subscribe", **each)
            snapshot = await hear(socket)
            assert (snapshot["type"], snapshot["cursor"]) == ("snapshot", writer.cursor), snapshot
        await say(socket, action="list")
        assert (await hear(socket))["subscriptions"] == parts
        for each in parts:
            await say(socket, action="unsubscribe", **each)
            assert await hear(socket) == {"type": "unsubscribed"} | each
            await say(socket, action="unsubscribe", **each)
            assert (await hear(socket))["message"].startswith(f"there is no subscription of '{S}' ")
        await say(socket, action="list")
        assert (await hear(socket))["subscriptions"] == []
    await wait_until_async(lambda: not feed.services.hub.feeds)


async def test_only_changed_rows_are_told_and_the_bar_with_them(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade(START_MS, ticks=10_000), writer.trade(START_MS, ticks=10_050))
    async with feed.connect() as socket:
        await say(socket, action="subscribe", channel="footprint", symbol=S, timeframe="1m", fields="deltaBp,vah,val")
        snapshot = await hear(socket)
        assert (snapshot["row"], len(snapshot["bars"][0]["rows"])) == (0.01, 2)
        for ticks in (10_050, 10_050):
            await writer.commit(writer.trade(START_MS, ticks=ticks, side=1))
            told = await hear(socket, "footprint")
        # What was told first was the whole bar: nothing of it had been told before.
        assert told["cursor"] == writer.cursor
        assert told["bar"]["rows"] == [{"p": 100.5, "bv": 0.005, "sv": 0.01, "bn": 1, "sn": 2}]
        assert (told["bar"]["delta"], told["bar"]["vah"]) == (0, 100.5)


async def test_a_gap_without_a_bar_of_its_own_shows_in_the_sums_after_it(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade(START_MS))
    missing = writer.trade(START_MS + 3 * 60_000)
    await writer.commit(writer.trade(START_MS + 10 * 60_000))
    await writer.commit(writer.trade(START_MS + 11 * 60_000))
    one = RowsFolding(feed, "orderflow", S, "1m", 1, fields="cvd")
    one.join()
    await wait_until_async(lambda: one.cursor)
    assert all(bar["anchorPartial"] for bar in one.bars.values())
    await writer.commit(missing)
    await agree([one])
    lost = writer.trade(START_MS + 12 * 60_000)
    await writer.commit(writer.trade(START_MS + 20 * 60_000))
    await agree([one])
    await writer.commit(lost)
    await agree([one])
    await one.leave()


async def test_every_trade_is_told_in_the_order_in_which_it_was_applied(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade(START_MS), writer.trade(START_MS + 60_000, side=1))
    async with feed.connect() as socket:
        await say(socket, action="subscribe", channel="trades", symbol=S, limit=1, id=3)
        snapshot = await hear(socket)
        assert [trade["id"] for trade in snapshot["trades"]] == [2]
        assert (snapshot["id"], snapshot["complete"], snapshot["cursor"]) == (3, True, writer.cursor)
        late = await writer.commit(writer.trade(START_MS + 70_000), writer.trade(START_MS, ticks=7, lots=1))
        told = await hear(socket)
        assert (told["type"], told["cursor"], told["seq"]) == ("trades", late, writer.seq)
        assert told["trades"] == [
            {"t": START_MS + 70_000, "id": 3, "p": 100, "q": 0.005, "side": "buy"},
            {"t": START_MS, "id": 4, "p": 0.07, "q": 0.001, "side": "buy"},
        ]
        # The clock closes a minute: of trades there is nothing to tell.
        writer.now_ms += 600_000
        await writer.commit()
        await writer.commit(writer.trade())
        assert [trade["id"] for trade in (await hear(socket))["trades"]] == [5]
        await say(socket, action="subscribe", channel="trades", symbol=S, cursor=snapshot["cursor"])
        resumed, *again = [await hear(socket) for _ in range(3)]
        assert (resumed["type"], resumed["cursor"]) == ("resumed", snapshot["cursor"])
        assert [trade["id"] for message in again for trade in message["trades"]] == [3, 4, 5]


async def test_trades_are_never_conflated_and_too_many_of_them_are_a_lag(
    redis_url: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.stream.client.MAX_PENDING", 20)
    monkeypatch.setattr("feed.web.unread.MAX_LOOKS", 1_000)
    async with served(redis_url, send_buffer_bytes=BUFFER_BYTES) as feed:
        await writer.commit(writer.trade())
        async with stalled(feed, channel="trades", limit=3) as slow:
            while not feed.services.metrics.lags._value.get():
                await writer.commit(*(writer.trade() for _ in range(20)))
            slow.transport.resume_reading()
            ids: list[int] = []
            while (message := await hear(slow))["type"] == "trades":
                ids += [trade["id"] for trade in message["trades"]]
            assert message["type"] == "lag" and ids == list(range(2, 2 + len(ids)))
            snapshot = await hear(slow)
            assert (snapshot["type"], snapshot["reset"], snapshot["cursor"]) == ("snapshot", True, writer.cursor)
            assert [trade["id"] for trade in snapshot["trades"]] == [writer.next_id - at for at in (3, 2, 1)]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"channel": "footprints", "timeframe": "1m"}, 'channel is "footprints", expected candles, '),
    ({"channel": None, "timeframe": "1m"}, "channel is missing, expected candles, "),
    ({"channel": 5, "timeframe": "1m"}, "channel is 5, expected candles, "),
    ({"channel": ["trades"]}, 'channel is ["trades"], expected candles, '),
    ({"channel": "trades", "timeframe": "1m"}, "'timeframe' is not known here"),
    ({"channel": "trades", "limit": 10_001}, "limit is 10001, expected 1 to 10000"),
    ({"channel": "candles", "timeframe": "1m", "row": "1"}, "'row' is not known here"),
    ({"channel": "footprint"}, "timeframe is missing"),
    ({"channel": "footprint", "timeframe": "1m", "row": "auto"}, "row is 'auto', expected a height"),
    ({"channel": "footprint", "timeframe": "1m", "row": "0.001"}, "row is '0.001', expected auto or a multiple"),
    ({"channel": "footprint", "timeframe": "1m", "row": 1}, "row is 1, expected text"),
    ({"channel": "footprint", "timeframe": "1m", "fields": "zones"}, "fields has 'zones', expected some of deltaBp,"),
    ({"channel": "footprint", "timeframe": "1m", "imb": 200}, "imb is a rule of what was not asked for"),
    ({"channel": "footprint", "timeframe": "1m", "start": 1}, "'start' is not known here"),
    ({"channel": "orderflow", "timeframe": "1m"}, "row is missing, expected the height of a row"),
    ({"channel": "orderflow", "timeframe": "1m", "fields": "cvd", "anchor": "start"}, "anchor is 'start', expected"),
    ({"channel": "orderflow", "timeframe": "1m", "fields": "v", "format": "csv"}, "'format' is not known here"),
    ({"channel": "orderflow", "timeframe": "1m", "fields": ["v"]}, 'fields is ["v"], expected text'),
]


async def test_what_a_channel_does_not_take_is_refused_in_a_sentence(feed: Served, writer: Writer) -> None:
    async with feed.connect() as socket:
        for asked, sentence in WRONG:
            await say(socket, action="subscribe", symbol=S, **asked)
            answer = await hear(socket)
            assert (answer["type"], answer["code"]) == ("error", "bad_input"), asked
            assert answer["message"].startswith(sentence) and len(answer["message"]) < 200, answer
        await say(socket, action="list")
        assert (await hear(socket))["subscriptions"] == []
