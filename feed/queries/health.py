"""`GET /v1/health`: every symbol's health, and what the store, its queue and the archive say of themselves."""

import asyncio
from collections.abc import Iterable
from typing import Any

from common.redact import redacted, redacted_url
from common.store.health import DEGRADED, LIVE, standing_of
from common.store.jobs import FailedJob, JobsView
from common.store.server import ServerInfo, Trouble
from feed.queries.endpoint import Endpoint
from feed.queries.fleet import Fleet
from feed.queries.symbol_health import symbol_health
from feed.wire import fleet_shapes
from feed.wire.answers import JsonAnswer
from feed.wire.params import NOTHING

# Failed jobs told of, the latest; all are counted.
FAILURES_TOLD = 20


async def answer(fleet: Fleet, query: None) -> JsonAnswer:
    url, watch = fleet.settings.archive_url, fleet.watch
    # First the store: what is wrong with it is told of every symbol.
    server, queue = await asyncio.gather(watch.look(), fleet.queue())
    looks = await fleet.look()
    rules = fleet.queries.rules
    symbols = {market.symbol: symbol_health(market, view, rules) for market, view in looks}
    sound = not watch.troubles and all(standing_of(view, market, rules).is_sound for market, view in looks)
    sound = sound and queue is not None and not queue.failures and not (url and queue.archive_trouble)
    return JsonAnswer(
        {
            "status": "ok" if sound else "degraded",
            "symbols": symbols,
            "store": _store(server, watch.troubles),
            "queue": queue and _queue(queue),
            "archive": _archive(url, queue),
        }
    )


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


def _archive(url: str | None, view: JobsView | None) -> dict[str, Any]:
    """`mode`: None where there is no archive, or the queue, which knows, doesn't answer."""
    trouble = view.archive_trouble if url and view else ""
    mode = (DEGRADED if trouble else LIVE) if url and view else None
    return {"on": url is not None, "where": url and redacted_url(url), "mode": mode, "reason": trouble or None}


def _failure(found: FailedJob) -> dict[str, Any]:
    retry_ms, reason = None if found.refused else found.next_ms, redacted(found.reason)
    return {"job": found.job, "reason": reason, "at": found.at_ms, "times": found.times, "retryAt": retry_ms}


ENDPOINT = Endpoint(
    "/v1/health",
    "Every symbol's health, and the store's, its queue's and the archive's.",
    NOTHING,
    answer,
    fleet_shapes.FLEET_HEALTH,
)
