"""What requests about one symbol have in common: the symbol may be changed while they are answered."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from common.store.instrument import InstrumentChanged
from feed.services import services_of

Handler = Callable[[Request], Awaitable[Response]]

# A symbol is changed once in years: twice under one request is already more than there is.
ATTEMPTS = 3


def of_symbol(handler: Handler) -> Handler:
    """Answer anew, with the symbol as it is now, where it has been changed meanwhile."""

    async def handled(request: Request) -> Response:
        for _ in range(ATTEMPTS - 1):
            try:
                return await handler(request)
            except InstrumentChanged:
                services_of(request).queries.forget(request.path_params["symbol"])
        return await handler(request)

    return handled
