"""A symbol of the local exchange as a worker has it through the unmodified ccxt client of Binance."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import orjson
from redis.asyncio import Redis

from common.market.builder.builder import candle_of
from common.market.builder.recent_coverage import RecentCoverage
from common.market.builder.spans import IdSpan
from common.market.candle import LIVE, Candle
from common.market.coding.codec import unpack_candle
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS, minute_of
from common.market.trade import Trades
from common.store.client import commit_client
from infra.exchange import Exchange, Halt, MarketClock, serving
from tests.kit.venue_line import NAME, QUICK, SPEED, Line, bare
from tests.kit.waiting import wait_until_async
from workers.sources.venue.source import VenueSource
from workers.venues.ccxt.venue import CcxtVenue
from workers.venues.registry import fleet_budget
from workers.venues.shared.base import Listing

VENUE, UNIFIED = "CCXT.BINANCE", "BTC/USDT"
SYMBOL = f"{VENUE}:BTC-USDT"
# ccxt's Binance is futures as well; they are elsewhere.
OPTIONS = {"fetchMarkets": {"types": ["spot"]}, "defaultType": "spot"}


@dataclass
class CcxtLine(Line):
    @property
    def symbol(self) -> str:
        return SYMBOL

    @property
    def instrument(self) -> Instrument:
        return replace(super().instrument, symbol=SYMBOL, ids="unique")

    def _source(self) -> VenueSource:
        budget = fleet_budget(VENUE, self.client, self.clock)
        urls = {"rest_url": self.address.rest, "socket_url": self.address.ws}
        venue = CcxtVenue(self.clock, budget, VENUE, timing=QUICK, options=OPTIONS, **urls)
        listing = Listing(UNIFIED, self.instrument, 1, 1)
        return VenueSource(venue, listing, self.clock, budget, self.history_ms)

    @property
    def span(self) -> IdSpan | None:
        """The time that coverage knows."""
        checkpoint = self.model.tables.checkpoint
        rows = orjson.loads(checkpoint.coverage) if checkpoint else []
        return next(iter(RecentCoverage.load(rows, Trades()).spans()), None) if rows else None

    @property
    def is_whole(self) -> bool:
        """All is applied up to the newest trade, and nothing is known to be missing before."""
        rests = self.model.tables.position == "begun"
        return bool(rests and self.span and self.span.to_ms == self.market.trades().ts_ms[-1])

    def candles(self) -> dict[int, Candle]:
        return {open_ms: counted(unpack_candle(packed)) for open_ms, packed in self.model.tables.candles.items()}

    def truth(self) -> dict[int, Candle]:
        """Of the minutes that began after coverage did."""
        span, trades = self.span, self.market.trades()
        assert span is not None
        scale = 10 ** (8 - self.market.listing.instrument.size_decimals)
        trades.size_lots = [lots * scale for lots in trades.size_lots]
        minutes: dict[int, list[int]] = {}
        for at, ts_ms in enumerate(trades.ts_ms):
            minutes.setdefault(minute_of(ts_ms), []).append(at)
        return {
            open_ms: counted(candle_of(open_ms, trades.take(indices), LIVE))
            for open_ms, indices in minutes.items()
            if open_ms >= span.from_ms
        }

    def assert_candles_are_true(self) -> None:
        truth, found = self.truth(), self.candles()
        # The clock may have closed the newest one or not.
        newest = max(truth)
        for open_ms, candle in truth.items():
            assert open_ms in found or open_ms == newest, open_ms
            if open_ms in found:
                assert found[open_ms] == candle
        assert len(truth) > 2


def counted(candle: Candle) -> Candle:
    """Without what aggregates count otherwise."""
    return replace(bare(candle), trades=0)


@asynccontextmanager
async def ccxt_line(exchange: Exchange, redis_url: str, history_ms: int = 0) -> AsyncIterator[CcxtLine]:
    client: Redis = commit_client(redis_url)
    async with serving(exchange) as address:
        made = CcxtLine(exchange, address, MarketClock(exchange), client, history_ms)
        exchange.speed = SPEED
        try:
            yield made
        finally:
            await made.stop()
            await client.aclose()


async def come_to_rest(made: CcxtLine) -> None:
    """Let the market stand still, and wait until all of it is applied."""
    await wait_until_async(lambda: made.span, timeout_s=20)
    made.exchange.inject(Halt(NAME, ms=1_000 * MINUTE_MS))
    await wait_until_async(lambda: made.is_whole, timeout_s=30)
