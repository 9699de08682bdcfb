"""The sockets of a ccxt client: what happens to them is heard, and what they bring is read with care."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from common.clock import Clock
from workers.venues.ccxt.ids import Ids
from workers.venues.shared.base import Connected, Refused
from workers.venues.shared.fields import BAD_SHAPE, FieldScales
from workers.venues.shared.mailbox import Mailbox
from workers.venues.shared.stall import StallDetector


@dataclass(slots=True)
class Line:
    """The trades of one market, over all its connections. `is_fruitful`: this one has delivered."""

    market: FieldScales
    mailbox: Mailbox
    pace: StallDetector
    ids: Ids = field(default_factory=Ids)
    failures: int = 0
    is_connected: bool = False
    is_lost: bool = False
    is_fruitful: bool = False

    def connected(self, at_ms: int) -> None:
        if not self.is_connected:
            self.is_connected = True
            self.mailbox.put([Connected(at_ms)])


def listen(client: Any, line: Line, clock: Clock) -> None:
    """Note on the line when a socket of the client opens, and when it is lost."""
    opened, closed, failed = client.on_connected, client.on_close, client.on_error
    line.is_lost = False

    def on_connected(socket: Any, message: Any = None) -> None:
        opened(socket, message)
        line.connected(clock.now_ms())

    def on_close(socket: Any, code: Any) -> None:
        line.is_lost = True
        closed(socket, code)

    def on_error(socket: Any, error: Any) -> None:
        line.is_lost = True
        failed(socket, error)

    client.on_connected, client.on_close, client.on_error = on_connected, on_close, on_error
    guard(client, line.mailbox)


def guard(client: Any, mailbox: Mailbox) -> None:
    """Refuse messages that ccxt can't read: it would end its reading of the socket, and say nothing."""
    opened = client.on_connected

    def on_connected(socket: Any, message: Any = None) -> None:
        handle = socket.handle_message

        def handle_message(frame: Any) -> None:
            try:
                handle(frame)
            except Exception as error:
                # Of any kind: what a message of any content does in the code of a hundred exchanges.
                mailbox.put([Refused(BAD_SHAPE, f"{type(error).__name__}: {error}"[:100])])

        socket.handle_message = handle_message
        opened(socket, message)

    client.on_connected = on_connected


async def close(client: Any) -> None:
    """Of a socket that is broken already, closing may fail; and a silent one is not asked for its goodbye."""
    with suppress(Exception):
        if client.session is not None:
            await client.session.close()
    with suppress(Exception):
        await client.close()
