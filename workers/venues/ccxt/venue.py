"""Any exchange of ccxt as a venue: for all those that have no file of their own. Needs the extra `ccxt`.

The venue `CCXT.BITSTAMP` is the exchange `bitstamp` of ccxt, and the symbol `CCXT.BITSTAMP:BTC-USD` its market
`BTC/USD`: ccxt's name in capitals, with `-` for `/` (`BTC/USDT:USDT`, a perpetual, is `BTC-USDT:USDT`).

It is slower and knows less than a venue's own file. ccxt reads prices and sizes into floats, whose shortest text is the
number the exchange printed (for up to 15 digits). Ids are unique at best (ccxt_ids.py), so what is missing can only be
asked for by time; a trade that a stream leaves out while it is open is not missed. What ccxt makes of a field of the
wrong kind (it reads `true` as the price 1) is believed. Sizes are ccxt's amounts: contracts where those are traded.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from common.clock import Clock
from common.market.candle import Candle
from common.market.timeframes.timeframe import MINUTE_MS
from common.market.trade import Trade, Trades
from workers.venues.ccxt.client import POLLED, TRADES_KEPT, Clients, check_installed
from workers.venues.ccxt.ids import Ids
from workers.venues.ccxt.sockets import Line, close, guard, listen
from workers.venues.ccxt.wire import (
    OLDEST_MS,
    _text,
    candle_from,
    changed,
    depth_event,
    fleet_name,
    listing_of,
    trades_of,
)
from workers.venues.names import exchange_of
from workers.venues.shared.answers import (
    closed_before,
    opens_of,
    readable,
    reading,
    whole_millis,
    within,
)
from workers.venues.shared.base import (
    DepthEvent,
    Disconnected,
    Event,
    Listing,
    OnRefused,
    Refused,
    Throttled,
    TradesEvent,
    Unserved,
    VenueError,
    VenueUnavailable,
    unheard,
)
from workers.venues.shared.budget import CONNECT, RequestBudget
from workers.venues.shared.fields import BadField, FieldScales, refused
from workers.venues.shared.live import LOST, STALLED, THROTTLED, UNREACHABLE, Timing
from workers.venues.shared.mailbox import Mailbox
from workers.venues.shared.stall import StallDetector

log = logging.getLogger(__name__)

# Some exchanges look no further than this for trades and candles: a page without any says nothing of what comes later.
REACH_MS = 3_600_000
# How often trades are asked for where there is no stream of them.
POLL_MS = 2_000
# Events of a book at most so often, of so many levels a side: ccxt gives all of it each time.
BOOK_MS, BOOK_LEVELS = 250, 1_000


class CcxtVenue:
    """One exchange of ccxt. `options` are ccxt's own."""

    book_levels: int | None = None
    asked_by_id = False
    candle_fields = frozenset("open_ticks high_ticks low_ticks close_ticks volume_lots".split())

    def __init__(
        self,
        clock: Clock,
        budget: RequestBudget,
        venue: str,
        *,
        rest_url: str = "",
        socket_url: str = "",
        timing: Timing | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        exchange = exchange_of(venue)
        assert exchange is not None, f"{venue} is not of ccxt"
        check_installed(venue)
        self.name = venue
        self._clock, self._budget, self._timing = clock, budget, timing or Timing()
        self._clients = Clients(venue, exchange, clock, budget, rest_url, socket_url, options or {})
        self.on_refused: OnRefused = unheard

    async def listing(self, name: str) -> Listing:
        """`name`: ccxt's own, or as a symbol of the fleet says it."""
        client = await self._clients.first()
        found = [each for each in client.markets.values() if name in (each["symbol"], fleet_name(each["symbol"]))]
        if len(found) != 1:
            raise VenueError(f"{self.name} lists {len(found)} markets by the name of {name!r}, expected one")
        with reading("load_markets"):
            return listing_of(self.name, found[0], client.precisionMode)

    def stream(self, listings: Sequence[Listing], *, depth: bool, quotes: bool) -> AsyncGenerator[Event, None]:
        mailbox, name = Mailbox(), f"stream of {self.name}"
        keep = [self._keep_trades, *([self._keep_book] if depth else [])]
        return mailbox.events([(name, partial(each, listing, mailbox)) for each in keep for listing in listings])

    async def trades_from_id(self, listing: Listing, first_id: int, limit: int, at_ms: int) -> Trades:
        raise Unserved(f"{self.name} is asked for trades by time only")

    async def trades_between(self, listing: Listing, from_ms: int, to_ms: int) -> Trades:
        market = FieldScales(listing)

        async def page(since_ms: int) -> tuple[list[Trade], int | None]:
            while since_ms <= to_ms:
                rows = await self._rows(market, since_ms)
                if rows:
                    # Nothing after its first millisecond: this is all there is.
                    return rows, rows[-1].ts_ms if rows[-1].ts_ms > since_ms else None
                since_ms += REACH_MS
            return [], None

        found = await whole_millis(page, max(0, from_ms), from_ms, to_ms)
        return Trades.of(sorted(found.rows()))

    async def candles(self, listing: Listing, from_ms: int, to_ms: int) -> list[Candle]:
        market, candles = FieldScales(listing), list[Candle]()
        end_ms, since_ms = closed_before(to_ms, self._clock.now_ms()), from_ms
        while since_ms < end_ms:
            rows = await self._ask("fetch_ohlcv", listing.name, "1m", since_ms)
            candles += readable("fetch_ohlcv", rows, lambda row: candle_from(market, row), self.on_refused)
            last_ms = max(opens_of(rows), default=-1)
            since_ms = last_ms + MINUTE_MS if last_ms >= since_ms else since_ms + REACH_MS
        return within(candles, from_ms, end_ms)

    async def depth(self, listing: Listing) -> DepthEvent:
        found = await self._ask("fetch_order_book", listing.name)
        with reading("fetch_order_book"):
            bids, asks = (self._levels(FieldScales(listing), found[side]) for side in ("bids", "asks"))
            return depth_event(listing.name, found, bids, asks, snapshot=True)

    async def server_time_ms(self) -> int:
        return int(await self._ask("fetch_time"))

    async def close(self) -> None:
        await self._clients.close()

    # REST.

    async def _ask(self, method: str, market: str = "", *args: Any) -> Any:
        client = await self._clients.first()
        async with self._clients.telling(client, method, market):
            return await getattr(client, method)(*((market, *args) if market else ()))

    async def _rows(self, market: FieldScales, since_ms: int) -> list[Trade]:
        """A page from there on, ascending."""
        # As many as the exchange gives by itself: ccxt does not know how many it may be asked for.
        rows = await self._ask("fetch_trades", market.name, since_ms)
        with reading("fetch_trades"):
            trades, left_out = trades_of(market, rows, Ids())
        self._tell(left_out)
        return sorted(trade for trade in trades if trade.ts_ms >= since_ms)

    def _tell(self, left_out: list[Refused]) -> None:
        for each in left_out:
            self.on_refused(each)

    def _levels(self, market: FieldScales, rows: Any) -> dict[int, int]:
        left_out: list[Refused] = []
        levels = market.levels([[_text(row[0]), _text(row[1])] for row in rows[:BOOK_LEVELS]], left_out)
        self._tell(left_out)
        return {price: size for price, size in levels if size}

    # The stream.

    async def _keep_trades(self, listing: Listing, mailbox: Mailbox) -> None:
        """From one connection to the next, for ever."""
        line = Line(FieldScales(listing), mailbox, StallDetector.starting(self._clock.monotonic_ms()))
        while True:
            try:
                cause = await self._connection(line)
            except Throttled as error:
                cause, detail, retry_ms = THROTTLED, str(error), error.retry_after_ms
            except (VenueUnavailable, VenueError) as error:
                cause, detail, retry_ms = LOST if line.is_connected else UNREACHABLE, str(error), 0
            else:
                detail, retry_ms = "", 0
            line.failures = 0 if line.is_fruitful else line.failures + 1
            line.is_connected = line.is_fruitful = False
            log.warning(
                "stream lost", extra={"venue": self.name, "market": listing.name, "cause": cause, "error": detail}
            )
            mailbox.put([Disconnected(self._clock.now_ms(), cause)])
            await self._clock.sleep_ms(self._timing.pause_ms(line.failures, retry_ms))

    async def _connection(self, line: Line) -> str:
        """One connection until its end: why it was given up; errors are for the caller."""
        first = await self._clients.first()
        if first.id in POLLED or not first.has.get("watchTrades"):
            await self._poll(line)
        await self._budget.spend(CONNECT, 1)
        client = await self._clients.another()
        line.pace.wait_from(self._clock.monotonic_ms())
        listen(client, line, self._clock)
        pump = asyncio.create_task(self._pump(client, line))
        try:
            while not (pump.done() or line.is_lost):
                await asyncio.wait({pump}, timeout=self._timing.check_ms / 1_000)
                if line.mailbox.full:
                    line.pace.wait_from(self._clock.monotonic_ms())
                elif line.pace.stalled(self._clock.monotonic_ms(), self._timing.patience):
                    line.pace.suspect()
                    return STALLED
            if pump.done():
                pump.result()
            return LOST
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            await close(client)

    async def _pump(self, client: Any, line: Line) -> None:
        while True:
            async with self._clients.telling(client, "watch_trades"):
                rows = await client.watch_trades(line.market.name)
            # One that was subscribed to already has its socket.
            line.connected(self._clock.now_ms())
            line.pace.seen(self._clock.monotonic_ms())
            self._deliver(line, rows)
            if len(rows) >= TRADES_KEPT:
                raise VenueUnavailable("more trades came than ccxt keeps")
            await line.mailbox.room()

    async def _poll(self, line: Line) -> NoReturn:
        """The stream of an exchange that has none."""
        since_ms = self._clock.now_ms() - POLL_MS
        while True:
            found = await self._rows(line.market, since_ms)
            line.connected(self._clock.now_ms())
            line.is_fruitful = True
            if found:
                line.mailbox.put([TradesEvent(line.market.name, found)])
                since_ms = max(since_ms, found[-1].ts_ms)
            await line.mailbox.room()
            await self._clock.sleep_ms(POLL_MS)

    def _deliver(self, line: Line, rows: Any) -> None:
        trades, left_out = trades_of(line.market, rows, line.ids, self._clock.now_ms() - OLDEST_MS)
        line.mailbox.put(left_out)
        if trades:
            line.is_fruitful = True
            line.mailbox.put([TradesEvent(line.market.name, trades)])

    # The book.

    async def _keep_book(self, listing: Listing, mailbox: Mailbox) -> None:
        failures = 0
        while True:
            try:
                await self._follow_book(listing, mailbox)
            except (VenueUnavailable, VenueError) as error:
                log.warning("book lost", extra={"venue": self.name, "market": listing.name, "error": str(error)})
            failures += 1
            await self._clock.sleep_ms(self._timing.pause_ms(failures, 0))

    async def _follow_book(self, listing: Listing, mailbox: Mailbox) -> None:
        """All of it first, and then what has changed: a level's run is not broken where nothing happened to it."""
        first = await self._clients.first()
        if not first.has.get("watchOrderBook"):
            await self._poll_book(listing, mailbox)
        await self._budget.spend(CONNECT, 1)
        client, market = await self._clients.another(), FieldScales(listing)
        guard(client, mailbox)
        before: tuple[dict[int, int], dict[int, int]] | None = None
        try:
            while True:
                async with self._clients.telling(client, "watch_order_book"):
                    book = await client.watch_order_book(listing.name)
                    bids, asks = (self._levels(market, book[side]) for side in ("bids", "asks"))
                changes = (bids, asks) if before is None else (changed(before[0], bids), changed(before[1], asks))
                mailbox.put([depth_event(listing.name, book, *changes, snapshot=before is None)])
                before = bids, asks
                await mailbox.room()
                await self._clock.sleep_ms(BOOK_MS)
        except BadField as error:
            mailbox.put([refused(error)])
        finally:
            await close(client)

    async def _poll_book(self, listing: Listing, mailbox: Mailbox) -> NoReturn:
        while True:
            mailbox.put([await self.depth(listing)])
            await self._clock.sleep_ms(POLL_MS)
