"""What routes and streams work with, made once per process (feed.app)."""

from dataclasses import dataclass

from redis.asyncio import Redis
from starlette.requests import HTTPConnection

from common.settings import Settings
from feed.access import Access
from feed.metrics import Metrics
from feed.queries.fleet import Fleet
from feed.queries.queries import Queries
from feed.stream.hub import Hub


@dataclass(frozen=True, slots=True)
class Services:
    """`client` is for reads that answer at once."""

    settings: Settings
    access: Access
    client: Redis
    queries: Queries
    fleet: Fleet
    hub: Hub
    metrics: Metrics


def services_of(connection: HTTPConnection) -> Services:
    services: Services = connection.app.state.services
    return services
