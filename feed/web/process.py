"""`/healthz`, `/readyz` and `/metrics`: for those who run the process."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from common.errors import StoreUnavailable
from common.store.server import ping
from feed.services import services_of


async def alive(request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def ready(request: Request) -> Response:
    """200 while the store answers; an error is answered with 503 like everywhere."""
    await ping(services_of(request).client)
    return PlainTextResponse("ready\n")


async def metrics(request: Request) -> Response:
    services = services_of(request)
    fleet = services.fleet
    queue = await fleet.queue()
    try:
        looks = await fleet.look()
        throttles = await fleet.throttles(looks)
        upkeep = await fleet.upkeep(looks)
        workers = await fleet.workers(looks)
    except StoreUnavailable:
        # Then what the process counts matters most.
        looks, throttles, upkeep, workers = [], {}, {}, None
    text = services.metrics.text(looks, throttles, queue, upkeep, workers, services.queries.rules)
    return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})
