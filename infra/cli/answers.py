"""What the feed would answer, worked out by a command of its own: of a store that runs, with a feed or without."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from common.archive.archive import Archive
from common.archive.objects import RetryPolicy
from common.settings import Settings
from common.store.client import commit_client
from feed.queries.endpoint import Endpoint, ask
from feed.queries.queries import Queries, SymbolQueries
from feed.wire.params import read_request


@asynccontextmanager
async def queries_of(settings: Settings, url: str) -> AsyncIterator[Queries]:
    archive = None
    if settings.archive_url:
        archive = Archive.open(settings.archive_url, settings.archive_s3_endpoint, RetryPolicy())
    client = commit_client(url)
    try:
        yield Queries(client, settings.lease_ttl_ms, archive=archive)
    finally:
        await client.aclose()


async def answered(
    settings: Settings, url: str, endpoint: Endpoint[SymbolQueries, Any], symbol: str, asked: Mapping[str, str]
) -> bytes:
    """Its answer, as JSON; parameters without a value are left out."""
    text = urlencode({name: value for name, value in asked.items() if value}).encode()
    async with queries_of(settings, url) as queries:
        market = await queries.market(symbol)
        query = read_request(text, endpoint.parameters, settings.query_limit_max, market.instrument)
        return bytes((await ask(endpoint, queries.of(market), query)).content)
