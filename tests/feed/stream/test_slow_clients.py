"""A client that reads slowly delays nobody, misses nothing in the end, and costs a bounded amount."""

import pytest
from redis.asyncio import Redis
from websockets.exceptions import ConnectionClosed

from common.market.timeframes.timeframe import Timeframe
from feed.stream.client import MAX_PENDING
from tests.kit.bars_oracle import expected
from tests.kit.folding import Folding
from tests.kit.served import hear, served
from tests.kit.stalled import BUFFER_BYTES, stalled
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, Writer

S = INSTRUMENT.symbol


async def many_bars(writer: Writer, count: int) -> None:
    """Each trade in a bar of its own."""
    while count > 0:
        trades = []
        for _ in range(min(count, 50)):
            writer.now_ms += 250
            trades.append(writer.trade())
        await writer.commit(*trades)
        count -= 50


async def test_a_stalled_client_delays_nobody_and_gets_a_lag_notice_and_a_snapshot(
    redis_url: str, writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.web.unread.MAX_LOOKS", 1_000)
    async with served(redis_url, send_buffer_bytes=BUFFER_BYTES) as feed:
        await writer.commit(writer.trade())
        others = [Folding(feed, S, "250ms", 5_000) for _ in range(5)]
        for one in others:
            one.join()
        async with stalled(feed, timeframe="250ms") as slow:
            await wait_until_async(lambda: all(one.cursor for one in others))
            # All ends are in this one process: the others need their turn to read.
            for _ in range(20):
                await many_bars(writer, MAX_PENDING // 5)
                await wait_until_async(lambda: all(one.cursor == writer.cursor for one in others))
            bars = await expected(client, writer, Timeframe.parse("250ms"))
            assert not any(one.differences(bars) for one in others)
            assert all(one.heard.count("lag") == 0 for one in others)
            slow.transport.resume_reading()
            lag = await hear(slow, "lag")
            snapshot = await hear(slow)
            assert (snapshot["type"], snapshot["reset"], snapshot["cursor"]) == ("snapshot", True, writer.cursor)
            assert snapshot["seq"] == lag["seq"]
            assert snapshot["bars"] == [bars[max(bars)]]
        for one in others:
            await one.leave()


async def test_a_slow_client_gets_the_newest_state_of_a_bar_and_not_every_step(
    redis_url: str, writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two thousand commits take a busy machine longer than a client may leave everything unread.
    monkeypatch.setattr("feed.web.unread.MAX_LOOKS", 1_000)
    async with served(redis_url, send_buffer_bytes=BUFFER_BYTES) as feed:
        await writer.commit(writer.trade())
        async with stalled(feed, timeframe="1d") as slow:
            for _ in range(2_000):
                await writer.commit(writer.trade())
            slow.transport.resume_reading()
            count = 0
            while (message := await hear(slow))["cursor"] != writer.cursor:
                assert message["type"] == "candle"
                count += 1
            assert count < 1_000
            assert message["bar"]["n"] == 2_001


async def test_a_client_that_never_reads_is_cut_off(
    redis_url: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feed.web.unread.MAX_LOOKS", 1)
    async with served(redis_url, send_buffer_bytes=BUFFER_BYTES) as feed:
        await writer.commit(writer.trade())
        async with stalled(feed, timeframe="250ms") as slow:
            await many_bars(writer, 1_000)
            await wait_until_async(lambda: not feed.services.hub.feeds)
            slow.transport.resume_reading()
            with pytest.raises(ConnectionClosed):
                while True:
                    await hear(slow)
