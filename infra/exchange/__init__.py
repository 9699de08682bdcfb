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
    Drop,
    Duplicate,
    Fault,
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
    SocketCut,
    Stall,
    StreamGap,
    Throttle,
)
from infra.exchange.listing import SimulatedListing, listing_of
from infra.exchange.market import ExchangeMarket
from infra.exchange.market_clock import MarketClock
from infra.exchange.recording import Recording
from infra.exchange.rules import Rules
from infra.exchange.server import Address, serving
from infra.exchange.simulation import Simulation

__all__ = [
    "Address",
    "Ban",
    "SocketCut",
    "Drop",
    "Duplicate",
    "Exchange",
    "Fault",
    "StreamGap",
    "Garbage",
    "Halt",
    "Injection",
    "SimulatedListing",
    "ExchangeMarket",
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
