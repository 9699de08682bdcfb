"""One WebSocket connection: frames in and out, and what may be done to them. What they mean is the hub's affair.

It speaks the protocol through websockets' sans-I/O layer, so that nothing is hidden: control frames are counted as the
venue counts them, a good frame is written once for all who get it, and a bad one can be written at all.
"""

import asyncio
import logging
import socket
import struct
from typing import Any, Protocol, cast

from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from infra.exchange.wire import MILLISECOND

# A close frame the client does not answer is followed by the end of TCP after this.
CLOSE_WITHIN_MS = 2_000
# Close code the venue gives for whatever the client did wrong.
POLICY, GOING_AWAY = 1008, 1001
# On reset the kernel drops what is unsent and sends RST.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_quiet = logging.getLogger(f"{__name__}.protocol")
_quiet.setLevel(logging.WARNING)


class ConnectionOwner(Protocol):
    """Who decides for the connection."""

    def arrived(self, connection: "ExchangeConnection", request: Request) -> int:
        """The HTTP status of the handshake; 101 lets the client in."""

    def received(self, connection: "ExchangeConnection", frame: Frame) -> None:
        """A whole text or binary message, a ping or a pong came in."""

    def unsent(self, connection: "ExchangeConnection", size_bytes: int) -> None:
        """So much waits to be sent."""

    def gone(self, connection: "ExchangeConnection") -> None:
        """The connection has ended."""


class ExchangeConnection(asyncio.Protocol):
    """`number` counts connections from 1. `trade_ids`: by symbol, the first and last trade id it was sent."""

    def __init__(self, owner: ConnectionOwner, number: int, registry: set[Any]) -> None:
        self.owner = owner
        self.number = number
        self.ip = ""
        self.path = ""
        self.opened_ms = 0
        self.cause = ""
        self.combined = False
        self.unit = MILLISECOND
        self.streams: dict[str, None] = {}
        self.trade_ids: dict[str, tuple[int, int]] = {}
        self.messages_sent = 0
        self.last_ping_ms = self.unanswered_since_ms = self.closing_since_ms = 0
        self.ping_payload = b""
        self.stalled_until_ms = 0
        self.loses = False
        self._registry = registry
        self._protocol = ServerProtocol(max_size=1 << 16, logger=_quiet)
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._partial = b""

    @property
    def is_open(self) -> bool:
        return self._protocol.state is State.OPEN and not self.closing_since_ms

    @property
    def is_stalled(self) -> bool:
        return self.stalled_until_ms > 0

    # What asyncio and uvicorn call.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.ip = self._transport.get_extra_info("peername")[0]
        self._registry.add(self)

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._arrive(event)
            elif isinstance(event, Frame):
                self._receive(event)
        self._write_protocol()

    def eof_received(self) -> None:
        self._protocol.receive_eof()

    def connection_lost(self, error: Exception | None) -> None:
        self._registry.discard(self)
        self._protocol.receive_eof()
        self.owner.gone(self)

    def shutdown(self) -> None:
        """uvicorn stops."""
        self.close(GOING_AWAY, "", "stopped", 0)

    def describe(self) -> dict[str, Any]:
        """For the records."""
        return {
            "number": self.number,
            "ip": self.ip,
            "path": self.path,
            "opened_ms": self.opened_ms,
            "streams": len(self.streams),
            "messages": self.messages_sent,
            "trade_ids": self.trade_ids,
            "cause": self.cause,
        }

    # What hub and keeper call.

    def send(self, frame: bytes) -> None:
        """Have a frame sent with the next flush."""
        self.messages_sent += 1
        self._out.append(frame)

    def flush(self) -> None:
        """Write what has gathered; one call of the kernel for all of it."""
        if not self._out or self._transport is None or self._transport.is_closing():
            return
        data = b"".join(self._out)
        self._out.clear()
        if self.is_stalled:
            self._hold(data)
        else:
            self._transport.write(data)
            self.owner.unsent(self, self._transport.get_write_buffer_size())

    def ping(self, payload: bytes) -> None:
        self.ping_payload = payload
        self._protocol.send_ping(payload)
        self._write_protocol()

    def close(self, code: int, reason: str, cause: str, now_ms: int) -> None:
        """Begin to close in order. `cause` is one word, for the records."""
        if not self.is_open:
            return
        self.cause, self.closing_since_ms = cause, now_ms or 1
        self._protocol.send_close(code, reason)
        self._write_protocol()

    def end(self) -> None:
        """The client was given time to close: enough."""
        if self._transport:
            self._transport.abort()

    def reset(self, cause: str) -> None:
        """Be gone without a word: the client sees a TCP reset."""
        self.cause, self.closing_since_ms = cause, 1
        if self._transport:
            raw = cast(socket.socket, self._transport.get_extra_info("socket"))
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()

    def stall(self, until_ms: int, loses: bool) -> None:
        """Say nothing until then; with `loses` what would have been said is never said."""
        self.stalled_until_ms, self.loses = until_ms, loses

    def resume(self) -> None:
        """Speak again, and say first what was held back."""
        self.stalled_until_ms, self.loses = 0, False
        held, self._held, self._held_bytes = b"".join(self._held), [], 0
        if held and self._transport:
            self._transport.write(held)

    def _arrive(self, request: Request) -> None:
        status = self.owner.arrived(self, request)
        if status == 101:
            response = self._protocol.accept(request)
        else:
            response = self._protocol.reject(status, "")
        self._protocol.send_response(response)

    def _receive(self, frame: Frame) -> None:
        """Put fragments together; what the protocol answers by itself it has answered."""
        if frame.opcode is Opcode.CLOSE:
            close = Close.parse(bytes(frame.data))
            self.cause = self.cause or f"client {close.code}"
        elif frame.opcode in (Opcode.PING, Opcode.PONG):
            self.owner.received(self, frame)
        else:
            self._partial += bytes(frame.data)
            if frame.fin:
                data, self._partial = self._partial, b""
                self.owner.received(self, Frame(Opcode.TEXT, data))

    def _write_protocol(self) -> None:
        """Write what the protocol wants to say, after what was to be sent before."""
        writes = self._protocol.data_to_send()
        self._out += [data for data in writes if data]
        self.flush()
        ended = b"" in writes or (self._protocol.close_expected() and self._protocol.close_rcvd is not None)
        if ended and self._transport and not self.is_stalled:
            self._transport.close()

    def _hold(self, data: bytes) -> None:
        if not self.loses:
            self._held.append(data)
            self._held_bytes += len(data)
            self.owner.unsent(self, self._held_bytes)
