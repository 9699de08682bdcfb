"""One market, and the truth of it: all its trades, its klines, its book at any update."""

from typing import Any, NamedTuple

from common.errors import BadInput
from common.market.simulation.book import ASK, BID, BookLog
from common.market.timeframes.timeframe import MINUTE_MS
from common.market.trade import MAX_ID, Trade, Trades
from infra.exchange.driver import Driver
from infra.exchange.klines import KlineMinutes
from infra.exchange.ranges import Ranges
from infra.exchange.rules import Rules
from infra.exchange.simulation import Simulation
from infra.exchange.tape import Aggregate, ExchangeTape


class Happening(NamedTuple):
    """One thing that happened: the book may have changed, and one taker order may have traded."""

    ts_ms: int
    trades: list[Trade]
    aggregates: list[Aggregate]


class ExchangeMarket:
    """`hidden_ids`: trades REST does not have; `hidden_minutes`: opens of minutes it has no kline of."""

    def __init__(self, driver: Driver, rules: Rules | None = None) -> None:
        rules = rules or Rules()
        self.listing = driver.listing
        self.symbol = driver.listing.symbol
        self.driver = driver
        self.tape = ExchangeTape(rules.keep_trades)
        self.book = BookLog(rules.keep_book_changes)
        self.minutes = KlineMinutes(rules.keep_minutes)
        self.hidden_ids = Ranges()
        self.hidden_minutes: set[int] = set()
        self.halted_until_ms = 0
        self.halt_announced = False
        # Market time minus the driver's: a recording put elsewhere in time, and the halts so far.
        self._shift_ms = 0

    def state(self) -> dict[str, Any]:
        """Everything that the rest follows from: of a simulated market only."""
        assert isinstance(self.driver, Simulation), "a recording begins again"
        return {
            "driver": self.driver.state(),
            "price_decimals": self.listing.instrument.price_decimals,
            "shift_ms": self._shift_ms,
            "aggregates": self.tape.aggregates_ever,
            "update_id": self.book.last_id,
            "bids": list(self.book.sides[BID].lots.items()),
            "asks": list(self.book.sides[ASK].lots.items()),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from there, in place of `begin`. What was before is forgotten; ids of all kinds go on."""
        assert isinstance(self.driver, Simulation), "a recording begins again"
        price_decimals = state.get("price_decimals", self.listing.instrument.price_decimals)
        if price_decimals > self.listing.instrument.price_decimals:
            self.listing = self.driver.listing = self.listing.finer(price_decimals)
        self.driver.resume(state["driver"])
        self._shift_ms = state["shift_ms"]
        self.tape = ExchangeTape(self.tape.keep, state["aggregates"])
        self.book.reset(state["update_id"], state["bids"], state["asks"])

    def begin(self, at_ms: int, shift_ms: int) -> None:
        """`shift_ms`: market time minus the driver's, where the driver has a time of its own."""
        self._shift_ms = 0 if self.driver.first_ms is None else shift_ms
        self.driver.begin(self.book, at_ms - self._shift_ms)

    @property
    def due_ms(self) -> int | None:
        """When the next thing happens; None: nothing will any more."""
        due_ms = self.driver.due_ms
        return None if due_ms is None else due_ms + self._shift_ms

    def happen(self) -> Happening:
        """Make the next thing happen."""
        ts_ms = self.due_ms
        assert ts_ms is not None, "the market has ended"
        trades = self.driver.happen(self.book)
        if self._shift_ms:
            trades = [trade._replace(ts_ms=trade.ts_ms + self._shift_ms) for trade in trades]
        aggregates = self.tape.append(trades)
        for trade in trades:
            self.minutes.add(trade)
        return Happening(ts_ms, trades, aggregates)

    def happen_until(self, end_ms: int) -> None:
        """Make all that is due by then happen, untold."""
        while (due_ms := self.due_ms) is not None and due_ms <= end_ms:
            self.happen()

    def halt(self, from_ms: int, span_ms: int, announced: bool) -> None:
        """Nothing happens for `span_ms` from then, or from the end of a halt under way; all comes later by as much."""
        self._shift_ms += span_ms
        self.halted_until_ms = max(from_ms, self.halted_until_ms) + span_ms
        self.halt_announced = announced

    def retick(self, price_decimals: int) -> None:
        """Prices have more decimals from now on."""
        if not isinstance(self.driver, Simulation):
            raise BadInput(f"{self.symbol} is a recording, whose prices have the decimals they were recorded with")
        finer = self.listing.finer(price_decimals)
        factor = 10 ** (price_decimals - self.listing.instrument.price_decimals)
        self.listing = finer
        self.driver.retick(finer, factor)
        for each in (self.tape, self.book, self.minutes):
            each.scale_prices(factor)

    def hide(self, trades: list[Trade], *, klines: bool) -> None:
        """Have REST deny the trades; with `klines` also the minutes they are in."""
        self.hidden_ids.add(trades[0].id, trades[-1].id)
        if klines:
            self.hidden_minutes.update(trade.ts_ms - trade.ts_ms % MINUTE_MS for trade in trades)
            # Those no longer kept need not be hidden.
            self.hidden_minutes = {open_ms for open_ms in self.hidden_minutes if open_ms >= self.minutes.opens[0]}

    def trades(self, first_id: int = 0, last_id: int = MAX_ID) -> Trades:
        """The truth: all trades kept with ids in `[first_id, last_id]`, also those that are not told."""
        return self.tape.columns(self.tape.at_id(first_id), self.tape.at_id(last_id + 1))
