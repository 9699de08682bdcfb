"""A recorded market: trades of a CSV, Parquet or frames file, and its order book where the frames have one.

Trades are read by workers.recordings. Of frames the depth events are taken too, from the first REST snapshot in the
file on. Without them makers invent a book that every recorded trade agrees with.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

from common.errors import BadInput
from common.market.simulation.book import BookLog
from common.market.simulation.makers import Makers
from common.market.trade import BUY, SELL, UNKNOWN, Trade
from infra.exchange.depth_frames import Frame, depth_frames, from_first_snapshot, has_depth
from infra.exchange.listing import SimulatedListing
from infra.exchange.simulation import FIRST_UPDATE_ID
from workers.recordings import TradeFile

# Changes of an invented book for each recorded trade.
MOVES_PER_TRADE = 3


class TakerOrder(NamedTuple):
    """Trades of one time and side: what can be known of a taker order."""

    ts_ms: int
    trades: list[Trade]


@dataclass(slots=True)
class Recording:
    """`paths`: files of one market, in order of time."""

    listing: SimulatedListing
    paths: list[Path]
    seed: int = 1
    _events: Iterator[TakerOrder | Frame] = field(init=False)
    _next: TakerOrder | Frame | None = field(init=False)
    _makers: Makers | None = field(init=False)

    def __post_init__(self) -> None:
        framed = [path for path in self.paths if has_depth(path)]
        self._makers = None if framed else Makers(self.listing.instrument.size_decimals, random.Random(self.seed))
        frames = chain.from_iterable(depth_frames(path, self.listing) for path in framed)
        orders = chain.from_iterable(_orders(TradeFile(path, self.listing.instrument)) for path in self.paths)
        self._events = merge(from_first_snapshot(frames), orders, key=lambda event: event.ts_ms)
        self._next = next(self._events, None)
        if self._next is None:
            raise BadInput(f"{', '.join(map(str, self.paths))} holds no trade")

    @property
    def first_ms(self) -> int | None:
        return self._next.ts_ms if self._next else None

    @property
    def due_ms(self) -> int | None:
        return self._next.ts_ms if self._next else None

    def begin(self, book: BookLog, at_ms: int) -> None:
        if self._makers and isinstance(self._next, TakerOrder):
            self._makers.open(book, self._next.trades[0].price_ticks, FIRST_UPDATE_ID)

    def happen(self, book: BookLog) -> list[Trade]:
        event = self._next
        assert event is not None, "the recording has ended"
        self._next = next(self._events, None)
        if isinstance(event, TakerOrder):
            self._agree(book, event)
            return event.trades
        if event.snapshot:
            book.reset(event.last_id, event.bids, event.asks)
        elif event.last_id > book.last_id:
            book.apply(event.last_id, event.bids, event.asks)
        return []

    def _agree(self, book: BookLog, order: TakerOrder) -> None:
        if self._makers is None:
            return
        for trade in order.trades:
            self._makers.meet(book, trade.side == BUY, trade.price_ticks, trade.size_lots)
            for _ in range(MOVES_PER_TRADE):
                self._makers.move(book, trade.price_ticks)
            self._makers.fill_up(book, trade.price_ticks)


def _orders(file: TradeFile) -> Iterator[TakerOrder]:
    trades = chain.from_iterable(chunk.trades.rows() for chunk in file.chunks())
    for (ts_ms, _), group in groupby(map(_with_side, trades), key=lambda trade: (trade.ts_ms, trade.side)):
        yield TakerOrder(ts_ms, list(group))


def _with_side(trade: Trade) -> Trade:
    """The venue's format has no unknown side: such a trade counts as a sale."""
    return trade._replace(side=SELL) if trade.side == UNKNOWN else trade
