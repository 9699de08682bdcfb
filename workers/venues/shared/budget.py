"""The budget of requests: what a venue client asks before each call, and what it reports back.

A venue counts by IP, so the real budget is the fleet's and lives in Redis. Connecting a socket spends as well.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from workers.venues.shared.base import Throttled

# The endpoint under which a socket's opening is spent, weight 1.
CONNECT = "connect"


class RequestBudget(Protocol):
    async def spend(self, endpoint: str, weight: int) -> None:
        """Wait until the request may be sent. Throttled, without waiting, where a ban outlasts all patience."""

    async def used(self, headers: Mapping[str, str]) -> None:
        """The headers of an answer, names in lower case: some venues say in them what has been used."""

    async def throttled(self, error: Throttled) -> None:
        """The venue refused a request for its rate: no process may ask again before the cooldown is over."""


@dataclass(slots=True)
class OpenBudget:
    """Lets everything pass and counts it: for tests and single processes. `refusals` are those reported."""

    spent: Counter[str] = field(default_factory=Counter)
    weight: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    refusals: list[Throttled] = field(default_factory=list)

    async def spend(self, endpoint: str, weight: int) -> None:
        self.spent[endpoint] += 1
        self.weight += weight

    async def used(self, headers: Mapping[str, str]) -> None:
        self.headers = dict(headers)

    async def throttled(self, error: Throttled) -> None:
        self.refusals.append(error)
