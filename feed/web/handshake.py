"""The handshake of a stream, refused in the form of every other error."""

from http import HTTPStatus

from websockets.http11 import Response
from websockets.server import ServerProtocol

from feed.web.raw import headers_of
from feed.wire.errors import INTERNAL, NO_PATH, ErrorAnswer

BAD_HANDSHAKE = ErrorAnswer(400, "bad_input", "this is no WebSocket handshake, or one of more than 128 headers of 8 kB")
_PREFIX = "Failed to open a WebSocket connection: "
# What a client sent may be in the sentence.
_SHOWN = 200


class Handshake(ServerProtocol):
    def reject(self, status: HTTPStatus | int, text: str) -> Response:
        failure = _failure(int(status), text)
        body = failure.json()
        response = super().reject(failure.status, body.decode())
        del response.headers["Content-Type"], response.headers["Content-Length"]
        for name, value in headers_of(failure):
            response.headers[name.decode()] = value.decode()
        return response


def _failure(status: int, text: str) -> ErrorAnswer:
    if status == HTTPStatus.FORBIDDEN and not text:
        # No route has it.
        return NO_PATH
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return INTERNAL
    sentence = text.partition("\n")[0].removeprefix(_PREFIX)[:_SHOWN]
    # Of any other version than HTTP/1.1 it says that it is our fault.
    return ErrorAnswer(min(status, 400) if status >= 500 else status, "bad_input", sentence)
