"""HTTP with bounds: a head, a body and an answer must come to their end, be it in bytes or in time."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from feed.web.bounded_socket import BoundedWebSocket
from feed.web.connections import Connections
from feed.web.raw import raw
from feed.web.unread import Unread
from feed.wire.errors import ErrorAnswer

# Address and headers of one request; uvicorn itself takes any number.
MAX_HEAD_BYTES = 32 << 10
# A connection that has not sent a whole head by then is closed; one that is refused gets less time.
HEAD_TIMEOUT_S = 10.0
REFUSED_TIMEOUT_S = 1.0
# No route wants a body, and a long one is refused (feed.web.guard). What is sent of it all the same must end.
MAX_BODY_BYTES = 1 << 20
BODY_TIMEOUT_S = 10.0
# Parsed at once: some 100 requests, if they come one behind the other. The rest waits until these are answered.
PIECE_BYTES = 4 << 10

BAD_REQUEST = ErrorAnswer(400, "bad_input", "this is no HTTP request, or its head is larger than 32 kB")


class BoundedHttp(HttpToolsProtocol):
    """`resumes` counts how often the client has read what waited for it (feed.web.unread)."""

    def __init__(self, crowd: Connections, **options: Any) -> None:
        super().__init__(**options)
        self.resumes = 0
        self.waiting: Unread | None = None
        self._crowd = crowd
        self._refusal: ErrorAnswer | None = None
        self._unparsed = bytearray()
        self._head_bytes = self._body_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._in_head = False

    @property
    def address(self) -> str | None:
        return self.client[0] if self.client else None

    @property
    def waiting_bytes(self) -> int:
        return self.transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._refusal = self._crowd.enter(self.address)
        if self._crowd.overrun:
            self.transport.abort()
        elif self._refusal:
            self._timer = self.loop.call_later(REFUSED_TIMEOUT_S, self.transport.abort)
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended()
        self._unparsed.clear()
        self._crowd.leave(self.address, self._refusal)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal:
            # Answered only now: what has not been read would make a reset of it.
            self.refuse(self._refusal)
        elif self._unparsed or self.pipeline or len(data) > PIECE_BYTES:
            self._unparsed += data
            self._parse_on()
        else:
            self._parse(data)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._unparsed:
            self._parse_on()

    def _parse_on(self) -> None:
        """Parse what has come, up to where a request has to wait for the answers to others."""
        while self._unparsed and not self.pipeline and not self.transport.is_closing():
            piece = bytes(self._unparsed[:PIECE_BYTES])
            del self._unparsed[:PIECE_BYTES]
            self._parse(piece)
        if self._unparsed:
            self.flow.pause_reading()

    def _parse(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._in_head:
            self._count_head(len(data))
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self._upgrade(data[int(upgrade.args[0]) :])
        except httptools.HttpParserError:
            self.refuse(BAD_REQUEST)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.refuse(BAD_REQUEST)

    def _upgrade(self, rest: bytes) -> None:
        """From here on it is a WebSocket's connection, and counted there."""
        self._ended()
        self.handle_websocket_upgrade()
        made = cast(BoundedWebSocket, self.transport.get_protocol())
        made.data_received(rest + bytes(self._unparsed))
        self._unparsed.clear()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._ended()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            # The parser reports it as an invalid request, which is answered with 400.
            raise ValueError(f"head of more than {MAX_HEAD_BYTES} bytes")
        if any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers):
            self._body_bytes = 0
            self._timer = self.loop.call_later(BODY_TIMEOUT_S, self._too_slow, "body")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES:
            self._cut("body", self.transport.close)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._ended()
        super().on_message_complete()

    def resume_writing(self) -> None:
        self.resumes += 1
        super().resume_writing()

    def refuse(self, failure: ErrorAnswer) -> None:
        """Answer what is no request to any route, and close."""
        self._ended()
        self._unparsed.clear()
        if not self.transport.is_closing():
            self.transport.write(raw(failure))
            self.transport.close()

    def unread(self) -> None:
        """The client has not read for too long."""
        self._cut("unread", self.transport.abort)

    def _await_head(self) -> None:
        if not self._in_head:
            self._ended()
            self._in_head = True
            self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self._too_slow, "head")

    def _count_head(self, more_bytes: int) -> None:
        before_bytes, self._head_bytes = self._head_bytes, self._head_bytes + more_bytes
        if not self._crowd.hold(before_bytes, self._head_bytes):
            self._cut("memory", self.transport.abort)

    def _ended(self) -> None:
        """What was waited for has come."""
        self._crowd.hold(self._head_bytes, 0)
        self._head_bytes, self._in_head = 0, False
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self, what: str) -> None:
        self._timer = None
        self._cut(what, self.transport.close)

    def _cut(self, why: str, end: Callable[[], None]) -> None:
        self._crowd.cut(why, self.address)
        end()
