"""`/healthz`, `/readyz` and `/metrics`: for whoever runs the process."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from common.errors import StoreUnavailable
from common.store.server import ping
from feed.queries import fleet
from feed.services import services_of


async def alive(request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def ready(request: Request) -> Response:
    """200 while the store answers; an error is answered with 503 like everywhere."""
    await ping(services_of(request).client)
    return PlainTextResponse("ready\n")


async def metrics(request: Request) -> Response:
    services = services_of(request)
    queue = await fleet.queue_view(services.jobs)
    try:
        looks = await fleet.look(services.queries)
        throttles = await fleet.budgets(services.client, looks)
        upkeep = await fleet.upkeep(services.client, looks)
        workers = await fleet.workers(services.client, looks, services.settings)
    except StoreUnavailable:
        # Then what the process counts matters most.
        looks, throttles, upkeep, workers = [], {}, {}, None
    text = services.metrics.text(looks, throttles, queue, upkeep, workers, services.queries.rules)
    return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})


routes = [
    Route("/healthz", alive),
    Route("/readyz", ready),
    Route("/metrics", metrics),
]
