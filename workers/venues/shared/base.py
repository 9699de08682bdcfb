"""What every venue gives, in one set of words: live events from a socket, history and facts from REST.

A venue file has two halves. The parser is pure: a frame in, events out, nothing raised for a frame that is no good.
The client owns sockets, and knows nothing of Redis.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import NamedTuple, Protocol

from common.errors import FleetError, RetryableError
from common.market.candle import Candle
from common.market.instrument import Instrument
from common.market.trade import TradeRow, Trades


class VenueError(FleetError):
    """The venue said no for good: an unknown symbol, a malformed request."""


class VenueUnavailable(RetryableError):
    """The venue did not answer, or not usefully; try again after a pause."""


class Unserved(VenueError):
    """The venue does not give this out: too long ago, or not without a key. Its candles may still be had."""


class Throttled(VenueUnavailable):
    """429 or 418. `retry_after_ms` is the venue's own word, 0 where it gave none.

    `endpoint` and `market`: what was asked for, and of which market, by its name at the venue.
    """

    def __init__(
        self, message: str, retry_after_ms: int, banned: bool = False, endpoint: str = "", market: str = ""
    ) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
        self.banned = banned
        self.endpoint = endpoint
        self.market = market


class Listing(NamedTuple):
    """A market as its venue lists it. `name` is the venue's own symbol; steps are in ticks and lots.

    Sizes may have more decimals than their step: orders older than a coarser step keep theirs, and are in the book and
    in trades. Kraken's decimals are exactly those it prints: its checksums are of these digits.
    """

    name: str
    instrument: Instrument
    price_step_ticks: int
    size_step_lots: int


class TradesEvent(NamedTuple):
    """Trades of one market in the order of the frame: plain, for columns are made of all that wait for one commit."""

    name: str
    rows: Sequence[TradeRow]


class NoTrade(NamedTuple):
    """An id the venue spent on what is no trade of the market (Binance futures: insurance fund, deleveraging).

    There is nothing to apply, and nothing is missing either: without it the id would be a gap that never heals.
    """

    name: str
    ts_ms: int
    id: int


class DepthEvent(NamedTuple):
    """A change of the book, or all of it (`snapshot`). Levels are `(price_ticks, size_lots)`; size 0 removes one.

    A price may be there twice: the later level counts. `ts_ms`, `first_id..last_id` (the updates in it) and
    `previous_id` (the last one before) are -1 where the venue does not say. `checksum`: of the book after the event,
    where the venue gives one, else None. `whole`: of a snapshot, whether its bids and its asks are all there are.
    """

    name: str
    ts_ms: int
    first_id: int
    last_id: int
    previous_id: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    snapshot: bool = False
    checksum: int | None = None
    whole: tuple[bool, bool] = (True, True)


class QuoteEvent(NamedTuple):
    """Best bid and ask. `ts_ms` and `update_id` (the book's) are -1, sizes 0 where the venue does not say."""

    name: str
    ts_ms: int
    update_id: int
    bid_ticks: int
    bid_lots: int
    ask_ticks: int
    ask_lots: int


class Connected(NamedTuple):
    """A socket is open and subscribed since `at_ms` (our clock). Not said of one that takes over without a break."""

    at_ms: int


class Disconnected(NamedTuple):
    """The socket was lost at `at_ms` (our clock): what follows may lack something. `cause` is one word."""

    at_ms: int
    cause: str


class Closing(NamedTuple):
    """The venue is about to close this socket: the next one is to be opened now. Handled inside the stream."""


class Refused(NamedTuple):
    """A frame, or a part of it, or a row of an answer, that could not be used.

    `reason` is one word, `detail` a short sentence. `of_book`: it is a level of a book. `ts_ms`: the time of a trade,
    where that could be read, else -1.
    """

    reason: str
    detail: str
    of_book: bool = False
    ts_ms: int = -1


OnRefused = Callable[[Refused], None]


def unheard(refused: Refused) -> None:
    """Of a venue that is asked for other things than trades."""


Event = TradesEvent | NoTrade | DepthEvent | QuoteEvent | Connected | Disconnected | Refused


class Parser(Protocol):
    """Turns frames into events. It knows the listings of the markets it was made for, and keeps no other state."""

    def parse(self, frame: bytes | str) -> Sequence[Event | Closing]:
        """Never raises, whatever the frame: what is no good comes back as Refused.

        Heartbeats, answers to our own requests and events that are not read give nothing.
        """


class Venue(Protocol):
    """One venue. Every REST call spends its weight from the fleet's budget before it is sent."""

    name: str
    # Levels a side of a streamed book, beyond which it is to be cut after each event; None: the venue sends removals.
    book_levels: int | None
    # Fields of Candle that `candles` gives as the venue states them. The rest are 0 or estimates: not to be compared.
    candle_fields: frozenset[str]
    # Whether any page of trades by id costs one request; else the way to it is read from a time on.
    asked_by_id: bool
    # Told of each row of an answer that can't be used; the others of its page are.
    on_refused: OnRefused

    async def listing(self, name: str) -> Listing:
        """Decimals, steps and what the ids promise, from the venue."""

    def stream(self, listings: Sequence[Listing], *, depth: bool, quotes: bool) -> AsyncGenerator[Event, None]:
        """Events of the markets, for ever: reconnects by itself, and says so (Connected, Disconnected).

        A trade may come twice, from the old and the new socket at a renewal. Use with `contextlib.aclosing`.
        """

    async def trades_from_id(self, listing: Listing, first_id: int, limit: int, at_ms: int) -> Trades:
        """One page: trades with ids from `first_id` on, ascending, at most `limit`. Empty: there are none yet.

        `at_ms`: a time not after those trades (a hole's `from_ms`), for venues that can only be asked by time.
        An id that is missing inside the page does not exist at the venue, or can't be used (`on_refused`). Unserved
        where it gives no such trades.
        """

    async def trades_between(self, listing: Listing, from_ms: int, to_ms: int) -> Trades:
        """A page of trades of `[from_ms, to_ms]`, ascending from `from_ms`; a millisecond is never cut in two.

        Go on from the last one's id, or its time + 1. Empty: there are none. Unserved as above.
        """

    async def candles(self, listing: Listing, from_ms: int, to_ms: int) -> list[Candle]:
        """The venue's own closed 1-minute candles that open in `[from_ms, to_ms)`, without empty minutes."""

    async def depth(self, listing: Listing) -> DepthEvent:
        """A snapshot of the book."""

    async def server_time_ms(self) -> int: ...

    async def close(self) -> None: ...
