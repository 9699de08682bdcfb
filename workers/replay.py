"""Replaying files into one symbol: one process, one claim at a time, until the last trade is committed."""

from collections.abc import Callable
from dataclasses import dataclass, field

from common.clock import SystemClock
from common.errors import BadInput
from common.store.client import commit_client
from common.store.registry import Market, Registry
from common.store.symbol import Bounds, SymbolStore
from workers.claims import Claimer, Workplace
from workers.sources.base import Batch
from workers.sources.replay import Replay
from workers.term import Progress, TermSettings

KIND = "replay"


@dataclass(slots=True)
class Replayer:
    """`run` returns what the last term did. Interrupted by `stop`, it returns early with `ended` False."""

    url: str
    market: Market
    replay: Replay
    settings: TermSettings
    bounds: Bounds
    holder: str
    on_progress: Callable[[Progress, Batch], None] = lambda progress, batch: None
    ended: bool = False
    _claimer: Claimer | None = None
    _failure: Exception | None = None
    _progress: Progress = field(default_factory=Progress)

    async def run(self) -> Progress:
        client = commit_client(self.url)
        place = Workplace(
            holder=self.holder,
            clock=SystemClock(),
            settings=self.settings,
            stores=lambda symbol: SymbolStore(client, symbol, self.bounds),
            sources=lambda market: self.replay,
            on_progress=self._note,
            on_end=self._end,
        )
        try:
            await register(Registry(client), self.market)
            self._claimer = Claimer(self, place, frozenset([KIND]), most=1)
            await self._claimer.run()
        finally:
            await client.aclose()
        if self._failure:
            raise self._failure
        return self._progress

    async def symbols(self) -> dict[str, Market]:
        """The fleet this process serves: the one symbol."""
        return {self.market.symbol: self.market}

    def stop(self) -> None:
        if self._claimer:
            self._claimer.stop()

    def _note(self, progress: Progress, batch: Batch) -> None:
        self._progress = progress
        self.on_progress(progress, batch)

    def _end(self, symbol: str, error: Exception | None) -> None:
        self._failure, self.ended = error, error is None
        self.stop()


async def register(registry: Registry, market: Market) -> None:
    """Add the symbol, or see that it is one that files may be replayed into, in the same units."""
    if await registry.add_symbol(market):
        return
    found = await registry.market(market.symbol)
    if found is None or found.kind != KIND:
        kind = found.kind if found else "nothing"
        raise BadInput(f"symbol {market.symbol} is fed by {kind}: a replay needs a symbol of its own")
    if found.instrument != market.instrument:
        raise BadInput(f"symbol {market.symbol} exists as {found.instrument}, which differs from what was asked")
