"""The clients of ccxt: loaded where one is used, each request paid from the fleet's budget, errors in our words."""

import asyncio
import importlib
import importlib.util
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from common.clock import Clock
from common.errors import FleetError, OperatorError
from workers.venues.shared.base import Throttled, Unserved, VenueError, VenueUnavailable
from workers.venues.shared.budget import RequestBudget
from workers.venues.shared.fields import MISSHAPEN
from workers.venues.shared.rest import TIMEOUT_S, retry_after_ms

# ccxt says what a request costs as a share of `rateLimit` ms. The budget is of that time: so much of it in as long.
WINDOW_MS = 10_000
# What ccxt calls a refusal for going on all the same.
BAN_STATUS = " 418 "
# Trades ccxt keeps of a market, and the most that can wait to be read.
TRADES_KEPT = 5_000

# Streams of these give other ids than their REST: of Binance the raw trades, where REST by time gives aggregates.
_AGGREGATES = {"watchTrades": {"name": "aggTrade"}}
_OPTIONS: dict[str, dict[str, Any]] = dict.fromkeys(
    ("binance", "binanceus", "binanceusdm", "binancecoinm"), _AGGREGATES
)
# The same, and nothing to be done: their trades are read by REST. OKX gathers trades in its stream, not in REST.
POLLED = frozenset(("okx", "okxus", "myokx"))

_SHOWN = 200


def check_installed(venue: str) -> None:
    if importlib.util.find_spec("ccxt") is None:
        raise OperatorError(
            f"{venue} needs ccxt, which is not installed: in the project's folder, .venv/bin/pip install -e '.[ccxt]'"
        )


@dataclass(slots=True)
class Clients:
    """Makes clients of one exchange. They share the markets, which are loaded once.

    `rest_url`, `socket_url`: hosts to use in place of the exchange's own, whose paths stay. `options` are ccxt's.
    """

    venue: str
    exchange: str
    clock: Clock
    budget: RequestBudget
    rest_url: str = ""
    socket_url: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    _first: Any = None
    _errors: Any = None
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def first(self) -> Any:
        """The client for REST, with its markets."""
        async with self._loading:
            if self._first is None:
                made = await self._made()
                try:
                    async with self.telling(made, "load_markets"):
                        await made.load_markets()
                except BaseException:
                    await made.close()
                    raise
                self._first = made
        return self._first

    async def another(self) -> Any:
        """A client of its own, for the sockets of one connection. To be closed."""
        first, made = await self.first(), await self._made()
        made.set_markets_from_exchange(first)
        return made

    async def close(self) -> None:
        if self._first is not None:
            await self._first.close()

    @asynccontextmanager
    async def telling(self, client: Any, endpoint: str, market: str = "") -> AsyncIterator[None]:
        """Errors of ccxt become those of a venue, by who must act; the budget is told of refusals."""
        try:
            yield
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Not we are cancelled: ccxt cancels what waits for a socket that it closes.
            raise VenueUnavailable(f"{endpoint}: the socket was closed") from error
        except FleetError:
            raise
        except (self._errors.NotSupported, self._errors.AuthenticationError) as error:
            raise Unserved(_told(endpoint, error)) from error
        except (self._errors.RateLimitExceeded, self._errors.DDoSProtection) as error:
            headers = {name.title(): value for name, value in (client.last_response_headers or {}).items()}
            retry_ms = retry_after_ms(headers, self.clock.now_ms())
            throttled = Throttled(_told(endpoint, error), retry_ms, BAN_STATUS in str(error), endpoint, market)
            await self.budget.throttled(throttled)
            raise throttled from error
        except (self._errors.OperationFailed, OSError) as error:
            raise VenueUnavailable(_told(endpoint, error)) from error
        except self._errors.BaseError as error:
            raise VenueError(_told(endpoint, error)) from error
        except MISSHAPEN as error:
            # ccxt reads an answer of an unexpected shape without a look.
            raise VenueUnavailable(_told(endpoint, error)) from error

    async def _made(self) -> Any:
        # All of its exchanges are loaded with it: three seconds, in which the other symbols of the process go on.
        module = await asyncio.to_thread(importlib.import_module, "ccxt.pro")
        self._errors = await asyncio.to_thread(importlib.import_module, "ccxt.base.errors")
        plain = importlib.import_module("ccxt.async_support")
        kind = getattr(module if self.exchange in module.exchanges else plain, self.exchange, None)
        if kind is None or self.exchange not in plain.exchanges:
            raise VenueError(f"{self.venue} is of no exchange that ccxt knows")
        options = {"tradesLimit": TRADES_KEPT, **_OPTIONS.get(self.exchange, {}), **self.options}
        made = kind({"enableRateLimit": True, "timeout": int(TIMEOUT_S * 1_000), "options": options})
        made.urls["api"] = self._moved(made.urls["api"])
        self._have_pay(made)
        return made

    def _have_pay(self, client: Any) -> None:
        """Each request asks the fleet's budget, then ccxt's own throttle, which spreads those of this client."""
        own = client.throttle

        async def throttle(cost: float | None = None) -> None:
            spent_ms = math.ceil((1 if cost is None else cost) * client.rateLimit)
            await self.budget.spend("rest", min(max(1, spent_ms), WINDOW_MS))
            await own(cost)

        client.throttle = throttle

    def _moved(self, urls: Any) -> Any:
        if isinstance(urls, dict):
            return {name: self._moved(url) for name, url in urls.items()}
        if not isinstance(urls, str):
            return urls
        host = self.socket_url if urls.startswith("ws") else self.rest_url
        return host.rstrip("/") + urlsplit(urls).path if host else urls


def _told(endpoint: str, error: Exception) -> str:
    return f"{endpoint}: {type(error).__name__} {error}"[:_SHOWN]
