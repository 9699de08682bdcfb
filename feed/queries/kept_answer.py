"""An answer that all clients share for a moment: what many pages ask for again and again is worked out once."""

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from feed.reading.single_flight import SingleFlight
from feed.wire.answers import Written


@dataclass(slots=True)
class KeptAnswer:
    """Good for `kept_s` from when it was asked for."""

    kept_s: float
    monotonic_s: Callable[[], float] = time.monotonic
    _asked_at_s: float = 0.0
    _kept: Written | None = None
    _flights: SingleFlight[Written] = field(default_factory=SingleFlight)

    async def read(self, make: Callable[[], Coroutine[Any, Any, Written]]) -> Written:
        if self._kept and self.monotonic_s() - self._asked_at_s < self.kept_s:
            return self._kept
        return await self._flights.run("", lambda: self._made(make))

    async def _made(self, make: Callable[[], Coroutine[Any, Any, Written]]) -> Written:
        asked_at_s = self.monotonic_s()
        self._kept, self._asked_at_s = await make(), asked_at_s
        return self._kept
