"""What is decided in a moment: who is told what while a snapshot is read, a writer changes, or too much waits."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import orjson
import pytest
from redis.asyncio import Redis

from common.market.builder.builder import candle_of
from common.market.candle import LIVE
from common.market.timeframes.timeframe import MINUTE
from common.market.trade import Trade, Trades
from common.store.reads import View
from common.store.registry import Market
from feed.bars.changes import BarChanges, Cursor
from feed.bars.live import At, BarGrid, Live, MinuteLive, ShownBar, Update
from feed.bars.minutes import MinuteSource
from feed.metrics import Metrics
from feed.queries.queries import Queries
from feed.reading.coverage import EMPTY, KnownCoverage
from feed.stream import client as feed_client
from feed.stream.channels.candles import CandleSeries
from feed.stream.client import Client, OpenRequest, Subscription
from feed.stream.opening import Opening, open_series
from feed.stream.series import LiveSeries, SeriesHost
from feed.stream.topic import Topic
from feed.wire import answers
from feed.wire.messages import BarMessage, Notice, StreamMessage
from tests.kit.served import Served, hear, say
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, Writer

GRID = BarGrid(INSTRUMENT, MINUTE)


def at(seq: int, token: str) -> At:
    return At(seq, token, 1_000 * seq, EMPTY, -1)


def live(seq: int, token: str) -> Live:
    return MinuteLive(GRID, at(seq, token), None, None)


@dataclass(slots=True)
class FakeSource:
    """Answers `live` and `changes` with what is set; None is a cursor that the store does not have."""

    now: Live
    found: BarChanges | None = None
    grid: BarGrid = GRID

    async def live(self) -> tuple[Live, View]:
        return self.now, cast(View, None)

    async def changes(self, cursor: Cursor, known: KnownCoverage | None = None) -> BarChanges | None:
        return self.found


@dataclass(eq=False, slots=True)
class FakeListener:
    seq: int
    token: str
    heard: list[str] = field(default_factory=list)

    def ready(self) -> None:
        self.heard.append("ready")

    def push(self, message: StreamMessage) -> None:
        self.heard.append(f"push {message.seq}")

    def restart(self) -> None:
        self.heard.append("restart")

    def move(self, series: LiveSeries[Any]) -> None:
        self.heard.append("move")

    def end(self, error: Exception) -> None:
        self.heard.append("end")


async def begun(source: FakeSource, *listeners: FakeListener) -> CandleSeries:
    symbol = Queries(cast(Redis, None), 6_000).of(Market(INSTRUMENT, {"kind": "inbox"}))
    host = SeriesHost(symbol, symbol.data(), Metrics(), lambda view: None, lambda: None)
    series = CandleSeries(host, Topic("candles", (("timeframe", "1m"),)), MINUTE)
    series.source = source
    series.read_again("began")
    await wait_until_async(lambda: series.live)
    series.listeners.update(listeners)
    return series


async def test_a_change_of_writer_restarts_only_who_may_hold_what_the_former_one_lost() -> None:
    source = FakeSource(live(8, "a"))
    behind, ahead, moved = FakeListener(8, "a"), FakeListener(10, "a"), FakeListener(10, "b")
    series = await begun(source, behind, ahead, moved)
    epoch = series.epoch
    source.found = BarChanges(live(11, "b"), [])
    series.read_again("missed")
    await wait_until_async(lambda: series.live is source.found.live)  # type: ignore[union-attr]
    assert [one.heard for one in (behind, ahead, moved)] == [[], ["restart"], []]
    # An opening that was being read meanwhile has to look again.
    assert series.epoch == epoch + 1


async def test_a_cursor_the_store_has_lost_restarts_everybody() -> None:
    source = FakeSource(live(8, "a"))
    listeners = [FakeListener(8, "a"), FakeListener(3, "b")]
    series = await begun(source, *listeners)
    source.now = live(5, "b")
    series.read_again("rewound")
    await wait_until_async(lambda: series.live is source.now)
    assert all(one.heard == ["restart"] for one in listeners)


def subscription() -> Subscription:
    client = SimpleNamespace(wake=lambda subscription: None, metrics=Metrics())
    made = Subscription(cast(Client, client), 500, OpenRequest())
    made.opened(Opening(1, "a", 1_000, []))
    return made


def bar_message(open_ms: int, end_ms: int) -> BarMessage:
    bar = ShownBar(candle_of(open_ms, Trades.of([Trade(open_ms, 1, 10_000, 1, 0)]), LIVE), is_final=True, partial=False)
    return BarMessage('"symbol":"A"', 2, open_ms, "2-a", Update(open_ms, end_ms, False, bar), INSTRUMENT)


def test_what_waits_is_in_the_order_of_the_commits_and_only_the_newest_of_a_bar() -> None:
    made = subscription()
    for key, seq in ((60, 2), (120, 3), (60, 4), (180, 5), (120, 6)):
        made.push(Notice("", seq, key, f"{seq}-t"))
    assert [(news.about, news.seq) for news in made.pending.values()] == [(60, 4), (180, 5), (120, 6)]


def test_what_the_opening_covers_is_not_told_again() -> None:
    made = subscription()
    made.push(Notice("", 1, 60, "1-t"))
    assert not made.pending


def test_a_bar_the_client_knows_as_final_is_amended_even_if_the_series_calls_it_new() -> None:
    made = subscription()
    made.push(bar_message(60, end_ms=1_000))
    made.push(bar_message(120, end_ms=1_001))
    assert [orjson.loads(news.text)["type"] for news in made.pending.values()] == ["amend", "candle"]


def test_a_message_is_written_once_for_all_who_are_sent_it(monkeypatch: pytest.MonkeyPatch) -> None:
    some, other = [subscription() for _ in range(5)], [subscription() for _ in range(5)]
    for one in other:
        one.watermark_ms = 999
    message = bar_message(60, end_ms=1_000)
    written = MagicMock(wraps=answers.written_bar)
    monkeypatch.setattr("feed.wire.messages.written_bar", written)
    for one in (*some, *other):
        one.push(message)
    assert not written.called
    texts = [one.pending[60].text for one in (*some, *other)]
    assert [orjson.loads(text)["type"] for text in texts] == ["amend"] * 5 + ["candle"] * 5
    # Once as either.
    assert written.call_count == 2


S = INSTRUMENT.symbol


@dataclass(slots=True)
class Interlude:
    """Takes the place of `open_series`: something happens between the reading of an opening and its use."""

    happening: Any
    openings: int = 0

    async def __call__(self, *args: Any, **kwargs: Any) -> Opening:
        opening = await open_series(*args, **kwargs)
        self.openings += 1
        return await self.happening(self.openings, opening) or opening


async def test_news_that_comes_while_the_snapshot_is_read_follows_it(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await writer.commit(writer.trade())

    async def commit(number: int, opening: Opening) -> None:
        await writer.commit(writer.trade(lots=9))
        await wait_until_async(lambda: newest(feed) == writer.seq)

    monkeypatch.setattr(feed_client, "open_series", Interlude(commit))
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1m")
        assert (await hear(socket))["seq"] == 1
        message = await hear(socket)
        assert (message["type"], message["seq"], message["bar"]["n"]) == ("candle", 2, 2)


async def test_an_opening_from_before_news_was_collected_is_not_used(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await writer.commit(writer.trade())
    old: list[Opening] = []

    async def stale_once(number: int, opening: Opening) -> Opening | None:
        old.append(opening)
        return old[0] if number == 2 else None

    interlude = Interlude(stale_once)
    monkeypatch.setattr(feed_client, "open_series", interlude)
    async with feed.connect() as one, feed.connect() as other:
        await say(one, action="subscribe", symbol=S, timeframe="1m")
        await hear(one, "snapshot")
        await writer.commit(writer.trade())
        await hear(one, "candle")
        await say(other, action="subscribe", symbol=S, timeframe="1m")
        assert (await hear(other))["seq"] == 2
        assert interlude.openings == 3


async def test_an_opening_read_while_the_store_went_back_is_not_used(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await writer.commit(writer.trade())
    saved = await writer.save()
    await writer.commit(writer.trade(lots=999))

    async def rewind_once(number: int, opening: Opening) -> None:
        if number == 1:
            await writer.rewind(saved)
            await writer.commit(writer.trade(lots=1))
            await wait_until_async(lambda: told_token(feed) == writer.token)

    monkeypatch.setattr(feed_client, "open_series", Interlude(rewind_once))
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1m")
        snapshot = await hear(socket)
        assert (snapshot["cursor"], snapshot["bars"][-1]["v"]) == (writer.cursor, 0.006)


async def test_an_opening_with_commits_that_the_series_never_saw_and_the_store_lost_is_not_used(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await writer.commit(writer.trade())
    saved = await writer.save()
    async with feed.connect() as one, feed.connect() as other:
        await say(one, action="subscribe", symbol=S, timeframe="1m")
        await hear(one, "snapshot")
        take = LiveSeries.take
        monkeypatch.setattr(LiveSeries, "take", lambda *message: None)
        await writer.commit(writer.trade(lots=999))

        async def rewind_once(number: int, opening: Opening) -> None:
            if number == 1:
                monkeypatch.setattr(LiveSeries, "take", take)
                await writer.rewind(saved)
                await writer.commit(writer.trade(lots=1))
                await wait_until_async(lambda: told_token(feed) == writer.token)

        monkeypatch.setattr(feed_client, "open_series", Interlude(rewind_once))
        await say(other, action="subscribe", symbol=S, timeframe="1m")
        snapshot = await hear(other)
        assert (snapshot["cursor"], snapshot["bars"][-1]["v"]) == (writer.cursor, 0.006)
        # Who was with the series all along needs no snapshot.
        assert (await hear(one))["bar"]["v"] == 0.006


def series_of(feed: Served) -> LiveSeries[Any]:
    (symbol,) = feed.services.hub.feeds
    (series,) = symbol.series.values()
    return series


def newest(feed: Served) -> int:
    known = series_of(feed).live
    return known.at.seq if known else 0


def told_token(feed: Served) -> str:
    known = series_of(feed).live
    return known.at.token if known else ""


async def test_more_messages_than_may_wait_are_made_up_for_by_reading(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.stream.series.BACKLOG", 3)
    await writer.commit(writer.trade())
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1m")
        await hear(socket, "snapshot")
        series = series_of(feed)
        reading = asyncio.Event()
        changes = MinuteSource.changes

        async def slow(self: MinuteSource, *args: Any) -> BarChanges | None:
            found = await changes(self, *args)
            await reading.wait()
            return found

        monkeypatch.setattr(MinuteSource, "changes", slow)
        series.read_again("missed")
        for _ in range(10):
            await writer.commit(writer.trade())
        reading.set()
        while (message := await hear(socket))["cursor"] != writer.cursor:
            pass
        assert message["bar"]["n"] == 11
