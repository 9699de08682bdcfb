"""HTTP requests to a venue: each asks the budget first, and each failure is told by who must act."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson

from common.clock import Clock
from workers.venues.shared.base import Throttled, VenueError, VenueUnavailable
from workers.venues.shared.budget import RequestBudget

# It logs every request at the level of information; what matters of them is logged by those who ask.
logging.getLogger("httpx").setLevel(logging.WARNING)

# 429: over the limit. 418: banned for going on all the same.
THROTTLE_STATUSES = frozenset((418, 429))
TIMEOUT_S = 10.0
# A worker must stop within seconds, whatever a venue does.
CLOSE_S = 0.5
# No answer we ask for is longer (all of Binance's futures are 2 MB); one that is must not fill the memory.
MAX_BODY_BYTES = 1 << 24
# The longest ban any of these venues speaks of; a header that says more must not stop us for ever.
MAX_RETRY_MS = 3 * 86_400_000
# Of an answer we can't use, so much is put into the message.
_SHOWN = 200

Params = Mapping[str, str | int]
Loads = Callable[[bytes], Any]
# Status, headers and body.
Answer = tuple[int, Mapping[str, str], bytes]


class Rest:
    """One host. `headers` go with every request and are never logged: a key may be among them."""

    def __init__(
        self, base_url: str, budget: RequestBudget, clock: Clock, headers: Mapping[str, str] | None = None
    ) -> None:
        self._budget, self._clock = budget, clock
        self._client = httpx.AsyncClient(base_url=base_url, timeout=TIMEOUT_S, headers=dict(headers or {}))
        self._sending: set[asyncio.Future[Answer]] = set()

    async def get(
        self, path: str, params: Params, *, weight: int, endpoint: str, market: str = "", loads: Loads = orjson.loads
    ) -> Any:
        """The JSON of an answer. `endpoint` and `market` are what the budget and messages call it."""
        await self._budget.spend(endpoint, weight)
        sending = asyncio.ensure_future(self._send(path, params, endpoint))
        self._sending.add(sending)
        sending.add_done_callback(self._sent)
        # A cancelled caller leaves it to end by itself: cut off while it connects, it may leave a socket behind.
        status, headers, body = await asyncio.shield(sending)
        await self._budget.used(headers)
        if status in THROTTLE_STATUSES:
            retry_ms = retry_after_ms(headers, self._clock.now_ms())
            error = Throttled(f"{endpoint} answered {status}", retry_ms, status != 429, endpoint, market)
            raise await self.throttled(error)
        if status >= 400:
            kind = VenueError if status < 500 else VenueUnavailable
            raise kind(f"{endpoint} answered {status}: {body[:_SHOWN].decode(errors='replace')}")
        try:
            return loads(body)
        except ValueError as error:
            raise VenueUnavailable(f"{endpoint} answered no JSON: {body[:_SHOWN].decode(errors='replace')}") from error

    async def throttled(self, error: Throttled) -> Throttled:
        """Report a refusal to the budget before it is raised. For venues that refuse inside a good answer as well."""
        await self._budget.throttled(error)
        return error

    async def close(self) -> None:
        """What is under way is given a moment to end."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=CLOSE_S)
        for sending in tuple(self._sending):
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._client.aclose()

    def _sent(self, sending: "asyncio.Future[Answer]") -> None:
        self._sending.discard(sending)
        if not sending.cancelled():
            # Retrieved here as well: there may be no caller left that waits for it.
            sending.exception()

    async def _send(self, path: str, params: Params, endpoint: str) -> Answer:
        body = bytearray()
        try:
            async with self._client.stream("GET", path, params=dict(params)) as response:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise VenueUnavailable(f"{endpoint} answered more than {MAX_BODY_BYTES} bytes")
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise VenueUnavailable(f"{endpoint} gave no answer: {type(error).__name__} {error}") from error
        return response.status_code, response.headers, bytes(body)


def retry_after_ms(headers: Mapping[str, str], now_ms: int) -> int:
    """What Retry-After says, in seconds or as a date; 0 where it says nothing of use. Names are of any case."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:12]) * 1_000, MAX_RETRY_MS)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0
    # A date without a zone is meant in UTC.
    until_ms = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)
    return min(max(0, until_ms - now_ms), MAX_RETRY_MS)
