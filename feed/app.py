"""The application: what there is, wired together once."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from common.archive.archive import Archive
from common.archive.objects import RetryPolicy
from common.errors import OperatorError
from common.settings import Settings
from common.store.client import blocking_client, commit_client
from common.store.jobs import Jobs
from common.store.older import OlderCache
from common.store.presence import WEB, present
from common.store.server import ServerInfo, StoreWatch, refuse_unfit
from feed.access import Access
from feed.bars.tail import Tails
from feed.metrics import Metrics
from feed.publishing.publisher import DerivedPublisher
from feed.queries.fleet import Fleet
from feed.queries.overview_reads import OverviewReads
from feed.queries.queries import Queries
from feed.reading.depth_minutes import DepthMinutes
from feed.reading.frame_cache import FrameCache
from feed.reading.lanes import Lanes
from feed.reading.memory import Shares
from feed.reading.tape import Tapes
from feed.reading.trade_archive import PackedDays
from feed.services import Services
from feed.stream import session
from feed.stream.hub import Hub
from feed.web.connections import Connections, room_for
from feed.web.doors import Hosts, Tokens
from feed.web.guard import Guard
from feed.web.places import ProxiedPlaces
from feed.web.routes import FEATURES, routes
from feed.wire import errors

# A client waits for the answer.
IMPATIENT = RetryPolicy(connect_s=2, request_s=10, retries=1, retry_s=5)

# What fits into one packet is not worth it. The quickest level takes 2 ms for 2,000 bars and leaves 30 % of them; the
# best one takes ten times as long and leaves 23 %.
MIN_GZIP_BYTES, GZIP_LEVEL = 1_400, 1

# How long a browser believes that it may ask.
CORS_MAX_AGE_S = 600


def _archive(settings: Settings) -> Archive | None:
    if settings.archive_url is None:
        return None
    return Archive.open(settings.archive_url, settings.archive_s3_endpoint, IMPATIENT)


def _cors(access: Access) -> list[Middleware]:
    """Pages of listed origins may read answers; with the token that they send along, but never with cookies."""
    if not access.origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=sorted(access.origins),
            allow_methods=["GET"],
            allow_headers=["Authorization", "If-None-Match"],
            expose_headers=["ETag", "Fleet-Cursor", "Fleet-Mode", "Server-Timing"],
            max_age=CORS_MAX_AGE_S,
        )
    ]


def create_app(settings: Settings) -> Starlette:
    """OperatorError where more could ask than the settings say."""
    metrics, access = Metrics(), Access.of(settings)
    connections = Connections(metrics, room_for(settings.connections_max))

    def refuse_at_first(info: ServerInfo) -> None:
        """The store was away when this process was started; else it would have been refused then (feed.__main__)."""
        try:
            if not settings.unsafe_store:
                refuse_unfit(info)
        except OperatorError as refusal:
            app.state.refusal = refusal
            signal.raise_signal(signal.SIGTERM)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        client, pubsub = commit_client(settings.store_url), blocking_client(settings.store_url)
        queue = commit_client(settings.queue_url)
        watch = StoreWatch(client, time.monotonic, refuse_at_first)
        shares = Shares.of(settings.memory_mb)
        queries = Queries(
            client,
            settings.lease_ttl_ms,
            tails=Tails(shares.tails_bytes),
            tapes=Tapes(shares.tapes_bytes),
            frame_cache=FrameCache(shares.frames_bytes),
            depth=DepthMinutes(shares.depth_bytes),
            packed=PackedDays(shares.packed_bytes),
            older=OlderCache(shares.older_bytes),
            answer_bytes=shares.answer_bytes,
            lanes=Lanes(shares.large_places, metrics.busy.inc, lambda: connections.unsent_bytes()),
            archive=_archive(settings),
            is_store_troubled=lambda: bool(watch.troubles),
        )
        hub = Hub(queries, pubsub, metrics, settings.demand_ms)
        fleet = Fleet(settings, queries, Jobs(queue), watch, FEATURES, OverviewReads.of(queries))
        app.state.services = Services(settings, access, client, queries, fleet, hub, metrics)
        runs = [hub.run(), watch.run()]
        if settings.publish_derived:
            runs.append(DerivedPublisher(queries, hub, metrics).run())
        running = [asyncio.create_task(run) for run in runs]
        try:
            async with present(client, WEB):
                yield
        finally:
            hub.close()
            queries.workers.close()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for each in (client, pubsub, queue):
                await each.aclose()

    app = Starlette(
        routes=[*routes, *session.routes],
        middleware=[
            Middleware(Guard, metrics=metrics),
            Middleware(ProxiedPlaces, access=access, connections=connections),
            Middleware(Hosts, access=access),
            *_cors(access),
            Middleware(Tokens, access=access),
            Middleware(GZipMiddleware, minimum_size=MIN_GZIP_BYTES, compresslevel=GZIP_LEVEL),
        ],
        exception_handlers={kind: errors.answer for kind in errors.HANDLED},
        lifespan=lifespan,
    )
    # A redirect would repeat the client's Host header.
    app.router.redirect_slashes = False
    app.state.access, app.state.connections, app.state.refusal = access, connections, None
    return app
