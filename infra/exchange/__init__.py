"""A local exchange: Binance spot's REST and WebSocket format over real sockets, for tests and `fleet up --venue local`.

    exchange = Exchange([Market(Simulation(listing_of("BTCUSDT"), seed=7))], history_ms=60_000)
    async with serving(exchange) as address:          # address.rest, address.ws, address.admin, address.token
        exchange.advance(1_000)                       # one second of market time; or exchange.speed = 60
        injection = exchange.inject(Drop("BTCUSDT", count=3))
        exchange.market("BTCUSDT").trades()           # the truth, hidden trades included

The core is synchronous and knows no sockets: a market (tape, book, klines) that a driver makes happen, a publisher that
turns what happened into stream messages, faults that spoil them on command and write down what they did. Around it are
a hub of WebSocket connections, the REST routes, and an admin surface with the same powers as the Python objects.
"""

from infra.exchange.exchange import Exchange
from infra.exchange.faults import (
    Ban,
    Cut,
    Drop,
    Duplicate,
    Fault,
    Gap,
    Garbage,
    Halt,
    Injection,
    Refuse,
    Reorder,
    Reset,
    Retick,
    ServerError,
    Shutdown,
    Skew,
    Slow,
    Stall,
    Throttle,
)
from infra.exchange.listing import Listing, listing_of
from infra.exchange.market import Market
from infra.exchange.market_clock import MarketClock
from infra.exchange.recording import Recording
from infra.exchange.rules import Rules
from infra.exchange.server import Address, serving
from infra.exchange.simulation import Simulation

__all__ = [
    "Address",
    "Ban",
    "Cut",
    "Drop",
    "Duplicate",
    "Exchange",
    "Fault",
    "Gap",
    "Garbage",
    "Halt",
    "Injection",
    "Listing",
    "Market",
    "MarketClock",
    "Recording",
    "Refuse",
    "Reorder",
    "Reset",
    "Retick",
    "Rules",
    "ServerError",
    "Shutdown",
    "Simulation",
    "Skew",
    "Slow",
    "Stall",
    "Throttle",
    "listing_of",
    "serving",
]
