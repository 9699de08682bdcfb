"""What venues share that have one REST address, and one socket for all that they stream."""

from collections.abc import AsyncGenerator, Iterable
from typing import ClassVar

from common.clock import Clock
from workers.venues.shared.base import Event, OnRefused, Parser, unheard
from workers.venues.shared.budget import RequestBudget
from workers.venues.shared.live import SocketFeed, Timing, follow
from workers.venues.shared.rest import Rest


class OneSocketVenue:
    """A venue is a subclass, which names its addresses; tests and our own exchange have others."""

    REST_URL: ClassVar[str]
    SOCKET_URL: ClassVar[str]

    def __init__(
        self,
        clock: Clock,
        budget: RequestBudget,
        *,
        rest_url: str = "",
        socket_url: str = "",
        timing: Timing | None = None,
    ) -> None:
        self._clock, self._budget, self._timing = clock, budget, timing
        self.on_refused: OnRefused = unheard
        self._socket_url = socket_url or self.SOCKET_URL
        self._rest = Rest(rest_url or self.REST_URL, budget, clock)

    async def close(self) -> None:
        await self._rest.close()

    def _follow(self, parser: Parser, hello: Iterable[bytes]) -> AsyncGenerator[Event, None]:
        """Events of the socket, for ever. `hello`: what to say when it opens."""
        feed = SocketFeed(self._socket_url, parser, tuple(text.decode() for text in hello))
        return follow([feed], self._clock, self._budget, self._timing)
