"""The exchange: markets that happen, told to those who listen, spoiled where a fault says so.

Market time moves by `advance`, or by itself at `speed` times the wall clock while the exchange is served. Limits, pings
and the like go by the wall clock.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import get_args

from common.clock import Clock, SystemClock
from common.errors import BadInput
from infra.exchange.faults import (
    Ban,
    ConnectionFault,
    Fault,
    FaultLog,
    Halt,
    Injection,
    Retick,
    Skew,
    StreamGap,
    Throttle,
)
from infra.exchange.hub import ExchangeHub
from infra.exchange.journal import SPAN_MS, Journal
from infra.exchange.keeper import SocketKeeper
from infra.exchange.limits import Limiter
from infra.exchange.market import ExchangeMarket, Happening
from infra.exchange.publisher import TICK_MS, Publisher
from infra.exchange.rest import RestContext
from infra.exchange.rest_faults import RestFaults
from infra.exchange.rules import Rules
from infra.exchange.stats import Stats

MAX_PLANNED = 10_000


@dataclass(frozen=True, order=True, slots=True)
class _Planned:
    at_ms: int
    number: int
    fault: Fault


class Exchange:
    """`start_ms`: where market time begins. Not given, it is where the recording begins, else `history_ms` ago.

    `history_ms` of market happen before anybody can connect. `speed` 0: time stands still until `advance`.
    With a `journal`, whose history is then the one that counts, simulated markets go on where they were left.
    """

    def __init__(
        self,
        markets: Sequence[ExchangeMarket],
        *,
        start_ms: int | None = None,
        history_ms: int = 0,
        speed: float = 0.0,
        rules: Rules | None = None,
        clock: Clock | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.rules = rules or Rules()
        self.clock = clock or SystemClock()
        self.speed = speed
        self.skew_ms = 0
        self.markets = {market.symbol: market for market in markets}
        self.stats = Stats()
        self.faults = FaultLog()
        self.limiter = Limiter(self.rules)
        self.rest_faults = RestFaults(self.faults)
        self.hub = ExchangeHub(self.rules, self.limiter, self.stats, self.faults, self.clock)
        self.keeper = SocketKeeper(self.hub)
        self._publishers = {market.symbol: Publisher(market, self.hub) for market in markets}
        self._planned: list[_Planned] = []
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._journal = journal
        if journal:
            self.now_ms = self._resume(journal)
            self.advance(max(0, self.clock.now_ms() - self.now_ms))
        else:
            self.now_ms = self._begin(start_ms, history_ms)
            self.advance(history_ms)

    @property
    def told_ms(self) -> int:
        """What the venue says the time is."""
        return self.now_ms + self.skew_ms

    def market(self, symbol: str) -> ExchangeMarket:
        if symbol not in self.markets:
            raise BadInput(f"symbol {symbol[:40]!r} is not traded here, expected one of {', '.join(self.markets)}")
        return self.markets[symbol]

    def missed(self, symbol: str) -> list[tuple[int, int]]:
        """Trade ids between the first and the last that went out on `@trade`, and that did not go out.

        What was sent need not have arrived: a reset loses what was on its way.
        """
        delivered = self.hub.delivered.get(symbol)
        return delivered.holes() if delivered else []

    def desk(self, unit: int) -> RestContext:
        return RestContext(self.markets, self.rules, self.now_ms, self.told_ms, unit)

    # Time.

    def advance(self, span_ms: int) -> None:
        """Let that much market time pass, and tell of it."""
        end_ms = self.now_ms + span_ms
        while self.now_ms < end_ms:
            self._step(min(end_ms, self.now_ms - self.now_ms % TICK_MS + TICK_MS))
        self.hub.flush()
        self._wake()

    def call_at(self, at_ms: int, wake: Callable[[], None]) -> None:
        """Have a function called when market time gets there."""
        heapq.heappush(self._waiting, (at_ms, next(self._order), wake))

    def _step(self, to_ms: int) -> None:
        """To the next tick at most; a planned fault acts at its time, between two happenings."""
        while self._planned and self._planned[0].at_ms <= to_ms:
            planned = heapq.heappop(self._planned)
            self._happen_until(max(self.now_ms, planned.at_ms))
            self.inject(planned.fault)
        self._happen_until(to_ms)
        if to_ms % TICK_MS == 0:
            for publisher in self._publishers.values():
                publisher.tick(to_ms, self.told_ms)
        if self._journal and to_ms % SPAN_MS == 0:
            for market in self.markets.values():
                self._journal.save(market, to_ms)

    def _happen_until(self, to_ms: int) -> None:
        for symbol, market in self.markets.items():
            publisher = self._publishers[symbol]
            while (due_ms := market.due_ms) is not None and due_ms <= to_ms:
                self.now_ms = max(self.now_ms, due_ms)
                publisher.happened(self._without_gap(market, market.happen()), due_ms + self.skew_ms)
        self.now_ms = to_ms

    def _begin(self, start_ms: int | None, history_ms: int) -> int:
        """Put all markets in time. Recordings keep their distance from each other."""
        begins = [first_ms for market in self.markets.values() if (first_ms := market.driver.first_ms) is not None]
        if start_ms is None:
            start_ms = min(begins) if begins else self.clock.now_ms() - history_ms
        for market in self.markets.values():
            market.begin(start_ms, start_ms - min(begins, default=start_ms))
        return start_ms

    def _resume(self, journal: Journal) -> int:
        markets = list(self.markets.values())
        start_ms = journal.start_ms(markets, self.clock.now_ms())
        for market in markets:
            journal.begin(market, start_ms)
        return start_ms

    def _wake(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.now_ms:
            heapq.heappop(self._waiting)[2]()

    # Faults.

    def inject(self, fault: Fault) -> Injection:
        """Inject now. What it returns goes on saying what the fault does."""
        symbol = getattr(fault, "symbol", None)
        if symbol is not None:
            self.market(symbol)
        if isinstance(fault, Retick):
            self.markets[fault.symbol].retick(fault.price_decimals)
        injection = self.faults.add(fault, self.now_ms, self.clock.now_ms())
        if isinstance(fault, get_args(ConnectionFault)):
            self.keeper.inject(injection, self.told_ms)
        elif isinstance(fault, Throttle | Ban):
            injection.until_ms = injection.wall_ms + fault.retry_after_s * 1_000
        elif isinstance(fault, Halt):
            market = self.markets[fault.symbol]
            market.halt(self.now_ms, fault.ms, fault.announce)
            self._turn(market)
            injection.until_ms, injection.done = market.halted_until_ms, True
        elif isinstance(fault, Retick):
            self._turn(self.markets[fault.symbol])
            injection.done = True
        elif isinstance(fault, Skew):
            self.skew_ms, injection.done = fault.ms, True
        return injection

    def _turn(self, market: ExchangeMarket) -> None:
        if self._journal:
            self._journal.turn(market, self.now_ms)

    def plan(self, fault: Fault, at_ms: int) -> None:
        """Inject when market time gets to `at_ms`."""
        if len(self._planned) >= MAX_PLANNED:
            raise BadInput(f"{MAX_PLANNED} faults are planned already: no more")
        heapq.heappush(self._planned, _Planned(at_ms, next(self._order), fault))

    def _without_gap(self, market: ExchangeMarket, happening: Happening) -> Happening:
        """Leave out trades that a gap swallows. It waits until a client would have got them."""
        if not happening.trades or not self._heard(market.symbol):
            return happening
        for injection in self.faults.active():
            fault = injection.fault
            if isinstance(fault, StreamGap) and fault.symbol == market.symbol:
                self._swallow(market, happening, injection, fault)
                return happening._replace(trades=[], aggregates=[])
        return happening

    def _swallow(self, market: ExchangeMarket, happening: Happening, injection: Injection, fault: StreamGap) -> None:
        trades = happening.trades
        for _ in trades:
            injection.used()
        injection.touched(market.symbol, trades[0].id, trades[-1].id)
        if fault.rest != "trades":
            market.hide(trades, klines=fault.rest == "nothing")

    def _heard(self, symbol: str) -> bool:
        prefix = symbol.lower()
        return self.hub.wants(f"{prefix}@trade") or self.hub.wants(f"{prefix}@aggTrade")
