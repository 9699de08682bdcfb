"""WebSocket with bounds: frames are taken a piece at a time, and none while the client does not read what it gets."""

import asyncio
from typing import Any, Literal, cast

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from feed.stream.rate import Rate
from feed.stream.session import ABORT, DRAINED, MAX_BYTES, POLICY_VIOLATION
from feed.web.connections import Connections
from feed.web.handshake import BAD_HANDSHAKE, Handshake
from feed.web.raw import raw
from feed.web.unread import Unread
from feed.wire.errors import STOPPING, ErrorAnswer

# Written to a socket but not yet sent. Beyond that a send waits, and news for that client is merged meanwhile.
WRITE_LIMIT_BYTES = 16 << 10
# A message beyond stream.MAX_BYTES is answered with an error; one beyond this ends the connection (1009).
MAX_FRAME_BYTES = 16 * MAX_BYTES
# Parsed at once: some hundred messages of a flood, and then others have their turn.
PIECE_BYTES = 8 << 10
# Pings, pongs and parts of messages: a client that sends more than that has nothing else in mind.
CONTROL_PER_S, CONTROL_BURST = 200.0, 1_000.0
# The close code for it.
INVALID_DATA = 1007
# After our close the client gets that long to read it. Closed at once, with its frames unread, it would see a reset.
LINGER_S = 2.0


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """`resumes` counts how often the client has read what waited for it (feed.web.unread)."""

    def __init__(self, crowd: Connections, **options: Any) -> None:
        super().__init__(**options)
        self.conn = Handshake(max_size=self.config.ws_max_size, logger=self.logger)
        self.resumes = 0
        self.waiting: Unread | None = None
        self._crowd = crowd
        self._unparsed = bytearray()
        self._unfinished_bytes = 0
        self._control = Rate(CONTROL_PER_S, CONTROL_BURST)
        self._over = False
        # A message in parts, so far. In one piece: a megabyte of single bytes would take forty.
        self._parts: bytearray | None = None

    @property
    def address(self) -> str | None:
        return self.client[0] if self.client else None

    @property
    def waiting_bytes(self) -> int:
        return self.transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=WRITE_LIMIT_BYTES)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unparsed.clear()
        self._crowd.hold(self._unfinished_bytes, 0)
        # The request that this began as has entered.
        self._crowd.leave(self.address, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._over:
            self._unparsed += data
            self._parse_on()

    def _parse_on(self) -> None:
        """Parse what has come, as far as the application and the client keep up with it."""
        while self._unparsed and not self._over and not self._busy:
            piece = bytes(self._unparsed[:PIECE_BYTES])
            del self._unparsed[:PIECE_BYTES]
            self._parse(piece)
        if self.transport.is_closing():
            return
        self._weigh()
        if self._unparsed or self._busy:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    @property
    def _busy(self) -> bool:
        return self.read_paused or not self.writable.is_set()

    def _parse(self, piece: bytes) -> None:
        super().data_received(piece)
        if self.conn.handshake_exc and not self.handshake_initiated:
            self._refuse(BAD_HANDSHAKE)

    def _refuse(self, failure: ErrorAnswer) -> None:
        self._over = True
        self.transport.write(raw(failure))
        self.transport.close()

    def shutdown(self) -> None:
        if self.handshake_complete or self.initial_response:
            super().shutdown()
        else:
            self._refuse(STOPPING)

    def _weigh(self) -> None:
        """Messages that are not whole yet: of one connection a megabyte, and of all as many as there is room for."""
        found = len(self._unparsed) + len(self.conn.reader.buffer) + len(self._parts or b"")
        before, self._unfinished_bytes = self._unfinished_bytes, found
        if not self._crowd.hold(before, found):
            self._cut("memory")

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            # The task that serves the scope has been made, but has not begun.
            extensions = cast(dict[str, Any], self.scope["extensions"])
            extensions[ABORT] = self.transport.abort
            extensions[DRAINED] = self.writable.wait

    def handle_text(self, event: Frame) -> None:
        self._begin("text", event)

    def handle_bytes(self, event: Frame) -> None:
        self._begin("bytes", event)

    def _begin(self, kind: Literal["text", "bytes"], event: Frame) -> None:
        self.curr_msg_data_type = kind
        if event.fin:
            self._received(event.data)
        elif self._controlled():
            self._parts = bytearray(event.data)

    def handle_cont(self, event: Frame) -> None:
        if not self._controlled():
            return
        assert self._parts is not None
        self._parts += event.data
        if event.fin:
            parts, self._parts = self._parts, None
            self._received(parts)

    def _received(self, data: bytes | bytearray | memoryview) -> None:
        """Hand a whole message over, unless it is not what it says."""
        if self._over:
            return
        self.frames = [bytes(data)]
        if self.curr_msg_data_type == "text" and not is_utf8(self.frames[0]):
            self._fail(INVALID_DATA, "text that is no UTF-8")
        else:
            self.send_receive_event_to_app()

    def handle_ping(self) -> None:
        if self._controlled():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        if self._controlled():
            super().handle_pong(event)

    def _controlled(self) -> bool:
        """Whether one more such frame may come now."""
        if not self._over and not self._control.take():
            self._crowd.cut("flood", self.address)
            self._fail(POLICY_VIOLATION, "too many frames")
        return not self._over

    def _fail(self, code: int, reason: str) -> None:
        if not self._over:
            self.conn.fail(code, reason)
            self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """Tell the client why, and give it time to read that."""
        closing = self.conn.close_sent or self.conn.close_rcvd
        code, reason = (closing.code, closing.reason) if closing else (1006, "")
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._linger()

    async def send(self, message: ASGISendEvent) -> None:
        await self.writable.wait()
        if self.close_sent and self.handshake_complete:
            # We have ended it, for want of pongs say, and the application is yet to learn of it.
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.close" and self.close_timer is not None:
            self._linger()

    def _linger(self) -> None:
        self.close_sent = self._over = True
        self._unparsed.clear()
        self._parts = None
        self.stop_keepalive()
        if self.close_timer is not None:
            self.close_timer.cancel()
        # While it is set, the end of the application's task does not close the connection.
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.abort)
        if not self.transport.is_closing():
            self.transport.resume_reading()
            self.transport.write_eof()

    async def receive(self) -> ASGIReceiveEvent:
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self._parse_on()
        return message

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.resumes += 1
        super().resume_writing()
        self._parse_on()

    def unread(self) -> None:
        """The client has not read for too long."""
        self._cut("unread")

    def _cut(self, why: str) -> None:
        self._crowd.cut(why, self.address)
        self.transport.abort()


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
