"""A proxy in front of a real store: it swallows replies, and it hides a restart of the store from idle clients.

The second is what a load balancer or a sentinel's address does. Without it a client learns of a restart by its broken
connection, before the store's own checks can show what they are worth. A client that has subscribed to something
learns of it: a subscription can't be hidden, for it is gone.
"""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_MARK = b"$8\r\nreplayed\r\n"
_PING = b"*2\r\n$4\r\nPING\r\n" + _MARK
_SUBSCRIBE = b"SUBSCRIBE\r\n"
# What a client says of itself when it connects: to be said again to a store that has been started again.
_GREETINGS = (b"HELLO\r\n", b"CLIENT\r\n")
CHUNK_BYTES = 1 << 16


@dataclass(slots=True)
class Proxy:
    """From one Unix socket to another. `swallow`: so many replies are taken from the store and not passed on."""

    upstream: Path
    swallow: int = 0
    swallowed: int = 0
    _listener: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_UNIX))
    _links: "list[_Link]" = field(default_factory=list)

    def listen(self, path: Path) -> None:
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # A shutdown wakes accept(), a mere close does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for link in self._links:
            link.hang_up()

    def takes_reply(self) -> bool:
        if self.swallow == 0:
            return False
        self.swallow -= 1
        self.swallowed += 1
        return True

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                link = _Link(self, client)
                self._links.append(link)
                threading.Thread(target=link.run, daemon=True).start()


@dataclass(slots=True)
class _Link:
    """One client and its connection to the store, made when it has something to say."""

    proxy: Proxy
    client: socket.socket
    server: socket.socket | None = None
    greeting: bytes = b""
    # A request has been sent whose reply has not come, or there is a subscription: its client must learn that the store
    # is gone.
    waiting: bool = False
    subscribed: bool = False

    def hang_up(self) -> None:
        with suppress(OSError):
            self.client.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        with suppress(OSError), self.client:
            try:
                while self._pass_on():
                    pass
            finally:
                if self.server:
                    self.server.close()

    def _pass_on(self) -> bool:
        """Pass on what there is. False: the end."""
        with selectors.DefaultSelector() as selector:
            for end in filter(None, (self.client, self.server)):
                selector.register(end, selectors.EVENT_READ)
            ready = {key.fileobj for key, _ in selector.select()}
        if self.server in ready:
            return self._reply()
        return self._request()

    def _request(self) -> bool:
        request = self.client.recv(CHUNK_BYTES)
        if not request:
            return False
        if not self.server:
            self.server = socket.socket(socket.AF_UNIX)
            self._connect(self.server)
        if any(word in request[:32] for word in _GREETINGS):
            self.greeting += request
        self.subscribed |= _SUBSCRIBE in request
        self.waiting = True
        self.server.sendall(request)
        return True

    def _reply(self) -> bool:
        assert self.server
        reply = self.server.recv(CHUNK_BYTES)
        if reply and not self.proxy.takes_reply():
            self.client.sendall(reply)
            self.waiting = False
            return True
        if not reply:
            self.server.close()
            self.server = None
        return not (reply or self.waiting or self.subscribed)

    def _connect(self, server: socket.socket) -> None:
        server.connect(str(self.proxy.upstream))
        server.sendall(self.greeting + _PING)
        answer = b""
        while not answer.endswith(_MARK):
            more = server.recv(CHUNK_BYTES)
            answer += more
            if not more or b"-LOADING" in answer:
                raise ConnectionError("the store is not ready")


@contextmanager
def proxied(upstream: Path, path: Path) -> Iterator[Proxy]:
    """A proxy that listens on `path`."""
    proxy = Proxy(upstream)
    proxy.listen(path)
    try:
        yield proxy
    finally:
        proxy.close()
