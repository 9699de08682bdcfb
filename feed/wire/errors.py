"""Errors as everybody sees them: `{"error":{"code","message"}}`, one sentence, never an exception's text."""

import logging
from dataclasses import dataclass

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from common.errors import ArchiveDamaged, ArchiveUnavailable, BadInput, FleetError, NewerFormat, StoreUnavailable
from common.store.instrument import InstrumentChanged
from feed.reading.archived import Faulty
from feed.reading.lanes import Busy

log = logging.getLogger(__name__)

# The store is back within a second after most outages (restart, failover).
RETRY_AFTER_S = 1


class UnknownSymbol(FleetError):
    """The user must act: no such symbol is registered."""


class NoBook(FleetError):
    """The user must act: the symbol has no order book."""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What a client is told. `code` is for programs and never changes, `message` is one sentence for people."""

    status: int
    code: str
    message: str

    def json(self) -> bytes:
        return orjson.dumps({"error": {"code": self.code, "message": self.message}})

    def response(self) -> Response:
        return Response(self.json(), self.status, _HEADERS.get(self.status), media_type="application/json")


_RETRY = {"retry-after": str(RETRY_AFTER_S)}
_HEADERS = {401: {"www-authenticate": "Bearer"}, 405: {"allow": "GET, HEAD"}, 429: _RETRY, 503: _RETRY}

UNAUTHORIZED = ErrorAnswer(
    401, "unauthorized", "a token is missing or unknown, expected the header 'Authorization: Bearer TOKEN'"
)
FORBIDDEN_ROLE = ErrorAnswer(403, "forbidden", "the token does not allow this")
FORBIDDEN_ORIGIN = ErrorAnswer(
    403, "forbidden", "pages of this origin may not ask: FLEET_ALLOWED_ORIGINS names those that may"
)
UNKNOWN_HOST = ErrorAnswer(
    421, "unknown_host", "the feed is not reached by the host that was asked for: FLEET_ALLOWED_HOSTS names those it is"
)
UNAVAILABLE = ErrorAnswer(503, "store_unavailable", "the store does not answer, try again in a second")
ARCHIVE_UNAVAILABLE = ErrorAnswer(
    503, "archive_unavailable", "the archive does not answer, and what is asked for reaches back into it"
)
INTERNAL = ErrorAnswer(500, "internal", "the feed failed to answer, its log says why")
STOPPING = ErrorAnswer(503, "stopping", "the feed is about to stop, connect again in a second")
NO_PATH = ErrorAnswer(404, "not_found", "there is no such path, see docs/protocol.md")
_HTTP = {
    404: NO_PATH,
    405: ErrorAnswer(405, "method_not_allowed", "this path answers GET and HEAD only"),
    413: ErrorAnswer(413, "too_large", "the request's body is too large, expected none"),
}


def failure_of(error: Exception) -> ErrorAnswer:
    """Return what to tell a client. Unforeseen errors are logged here, and only here."""
    if isinstance(error, BadInput):
        return ErrorAnswer(400, "bad_input", str(error))
    if isinstance(error, UnknownSymbol):
        return ErrorAnswer(404, "unknown_symbol", str(error))
    if isinstance(error, NoBook):
        return ErrorAnswer(404, "no_book", str(error))
    if isinstance(error, Busy):
        return ErrorAnswer(429, "busy", str(error))
    if isinstance(error, NewerFormat):
        log.error("written by a later release", extra={"error": str(error)})
        return ErrorAnswer(503, "newer_format", str(error))
    if isinstance(error, StoreUnavailable | InstrumentChanged):
        log.warning("store unavailable", extra={"error": str(error)})
        return UNAVAILABLE
    if isinstance(error, Faulty):
        log.warning("archive damaged", extra={"error": str(error)})
        return ErrorAnswer(
            503, ARCHIVE_UNAVAILABLE.code, f"in the archive {error}, and what is asked for reaches into it"
        )
    if isinstance(error, ArchiveUnavailable | ArchiveDamaged):
        log.warning("archive does not answer", extra={"error": str(error)})
        return ARCHIVE_UNAVAILABLE
    if isinstance(error, HTTPException):
        return _HTTP.get(error.status_code, ErrorAnswer(error.status_code, "refused", "the request was refused"))
    log.error("unexpected error", exc_info=error)
    return INTERNAL


async def answer(request: Request, error: Exception) -> Response:
    """Exception handler of the application."""
    return failure_of(error).response()


HANDLED = (FleetError, HTTPException)
