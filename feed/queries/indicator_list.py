"""`GET /v1/indicators`: which indicators there are, of the table that computes them."""

from feed.queries.endpoint import Endpoint
from feed.queries.fleet import Fleet
from feed.wire import shapes
from feed.wire.answers import Answer, JsonAnswer
from feed.wire.indicators import listed
from feed.wire.params import NOTHING


async def answer(fleet: Fleet, query: None) -> Answer:
    return JsonAnswer({"indicators": listed()})


ENDPOINT = Endpoint(
    "/v1/indicators", "The indicators there are, and how each is computed.", NOTHING, answer, shapes.INDICATOR_LIST
)
