"""The fleet as a whole: every symbol with its health, and what the store says of itself."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis

from common.errors import StoreUnavailable
from common.redact import redacted, redacted_url
from common.settings import Settings
from common.store.budget import Throttles, read_throttles
from common.store.health import (
    BACKFILLING,
    CLOSED,
    IDLE,
    LIVE,
    UNASSIGNED,
    HealthRules,
    Tally,
    Upkeep,
    mode_of,
    standing_of,
    upkeep_of,
)
from common.store.jobs import FailedJob, Jobs, JobsView
from common.store.presence import WORKER, processes, workers_wanted
from common.store.reads import View
from common.store.registry import Market, Registry
from common.store.server import ServerInfo, StoreWatch, Trouble
from common.store.wanted import WantedFleet
from feed.bars.frames import cover_of
from feed.metrics import WorkerCounts
from feed.queries.queries import Queries
from feed.wire import answers

# Symbols looked at side by side: a fleet of hundreds must not open hundreds of connections.
AT_ONCE = 16
# Failed jobs told of, the latest; all are counted.
FAILURES_TOLD = 20
SOUND = (LIVE, BACKFILLING, CLOSED, IDLE)

Look = tuple[Market, View]
Asked = TypeVar("Asked")
Found = TypeVar("Found")


async def look(queries: Queries) -> list[Look]:
    """Return every registered symbol with a view of it."""
    markets = list((await Registry(queries.client).symbols()).values())

    async def view(market: Market) -> Look:
        found = await queries.reader_of(market.symbol).view()
        return market.as_stored(found.state.data if found.state else None), found

    return await _some_at_once(view, markets)


async def upkeep(client: Redis, looks: Iterable[Look]) -> dict[str, Upkeep]:
    """Return what is kept of the past of each of these symbols."""
    symbols = [market.symbol for market, _ in looks]
    found = await _some_at_once(lambda symbol: upkeep_of(client, symbol), symbols)
    return dict(zip(symbols, found, strict=True))


async def _some_at_once(ask: Callable[[Asked], Awaitable[Found]], all_of: Iterable[Asked]) -> list[Found]:
    free = asyncio.Semaphore(AT_ONCE)

    async def one(asked: Asked) -> Found:
        async with free:
            return await ask(asked)

    return list(await asyncio.gather(*map(one, all_of)))


async def health(settings: Settings, queries: Queries, jobs: Jobs, watch: StoreWatch) -> dict[str, Any]:
    """The answer of `GET /v1/health`."""
    url = settings.archive_url
    # First the store: what is wrong with it is told of every symbol.
    server, queue = await asyncio.gather(watch.look(), queue_view(jobs))
    looks = await look(queries)
    symbols = {market.symbol: symbol_health(market, view, queries.rules) for market, view in looks}
    sound = not watch.troubles and all(found["mode"] in SOUND for found in symbols.values())
    sound = sound and queue is not None and not queue.failures
    return {
        "status": "ok" if sound else "degraded",
        "symbols": symbols,
        "store": _store(server, watch.troubles),
        "queue": queue and _queue(queue),
        "archive": {"on": url is not None, "where": url and redacted_url(url)},
    }


async def queue_view(jobs: Jobs) -> JobsView | None:
    """None while its Redis, which may be another than the store's, does not answer."""
    try:
        return await jobs.view()
    except StoreUnavailable:
        return None


def symbol_health(market: Market, view: View, rules: HealthRules) -> dict[str, Any]:
    """A symbol's health with its seq, what it refused, by reason, and how many of its minutes were found wrong."""
    state = view.state
    found = answers.health(market, view, cover_of(market, view), rules)
    refused: Mapping[str, int] = state.refused if state else {}
    return {**found, "seq": state.seq if state else 0, "refused": refused, **Tally.load(view.health).json()}


def symbols(looks: Iterable[Look], rules: HealthRules) -> dict[str, Any]:
    """The answer of `GET /v1/symbols`."""
    return {"symbols": [_symbol(market, standing_of(view, market, rules).mode) for market, view in looks]}


def _symbol(market: Market, mode: str) -> dict[str, Any]:
    instrument = market.instrument
    return {
        "symbol": market.symbol,
        "priceDecimals": instrument.price_decimals,
        "sizeDecimals": instrument.size_decimals,
        "ids": instrument.ids,
        "source": market.kind,
        "simulated": answers.simulated(market),
        "mode": mode,
    }


async def workers(client: Redis, looks: Sequence[Look], settings: Settings) -> WorkerCounts:
    """How many worker processes the symbols want, of those on demand the ones asked for; and how many there are."""
    wanted = {symbol for symbol, market in (await WantedFleet(client).symbols()).items() if market.is_fed}
    modes = {market.symbol: mode_of(view, market, settings.lease_ttl_ms) for market, view in looks}
    unassigned = sum(modes.get(symbol) in (UNASSIGNED, IDLE) for symbol in wanted)
    alive = sum(process.kind == WORKER for process in await processes(client))
    return WorkerCounts(workers_wanted(len(wanted), settings.symbols_per_worker, settings.spares), alive, unassigned)


async def budgets(client: Redis, looks: Iterable[Look]) -> dict[str, Throttles]:
    """What the venues of these symbols have refused."""
    names = sorted({str(market.source["venue"]) for market, _ in looks if "venue" in market.source})
    return dict(zip(names, await asyncio.gather(*(read_throttles(client, name) for name in names)), strict=True))


def _store(server: ServerInfo, troubles: Iterable[Trouble]) -> dict[str, Any]:
    return {
        "version": server.version,
        "persistence": server.persistence,
        "eviction": server.eviction,
        "writable": server.writable,
        "troubles": [{"what": trouble.what, "message": trouble.sentence} for trouble in troubles],
    }


def _queue(view: JobsView) -> dict[str, Any]:
    return {
        "queued": view.queued,
        "running": len(view.running),
        "workers": view.workers,
        "failures": len(view.failures),
        "failed": [_failure(each) for each in view.failures[:FAILURES_TOLD]],
    }


def _failure(found: FailedJob) -> dict[str, Any]:
    retry_ms, reason = None if found.refused else found.next_ms, redacted(found.reason)
    return {"job": found.job, "reason": reason, "at": found.at_ms, "times": found.times, "retryAt": retry_ms}
