"""An answer as bytes, to what is refused before it is a request: the same as a route's. Then the connection ends."""

from http import HTTPStatus

from feed.web.guard import SECURITY_HEADERS
from feed.wire.errors import ErrorAnswer


def raw(failure: ErrorAnswer) -> bytes:
    head = f"HTTP/1.1 {failure.status} {HTTPStatus(failure.status).phrase}\r\n".encode()
    lines = [b"%s: %s\r\n" % pair for pair in (*headers_of(failure), (b"connection", b"close"))]
    return head + b"".join(lines) + b"\r\n" + failure.json()


def headers_of(failure: ErrorAnswer) -> list[tuple[bytes, bytes]]:
    return [*failure.response().raw_headers, *SECURITY_HEADERS]
