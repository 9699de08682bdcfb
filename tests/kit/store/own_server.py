"""A store that is not as it should be: a server of our own with flags of the test's."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from infra.local import die_with_parent
from infra.local.server_binary import server_binary
from tests.kit.waiting import wait_until

CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class OwnServer:
    url: str
    socket: Path
    process: "subprocess.Popen[bytes]"

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, protocol=2)


@contextmanager
def own_server(*flags: str, folder: Path | None = None) -> Iterator[OwnServer]:
    """Flags as on the command line. Without any, it keeps nothing on disk and evicts nothing."""
    with tempfile.TemporaryDirectory(prefix="fleet-test-") as short:
        path = Path(short) / "s"
        where = str(folder or short)
        command = [server_binary(), "--port", "0", "--unixsocket", str(path), "--dir", where, "--save", ""]
        whole = [*_dying_with_us(), *command, "--logfile", f"{where}/server.log", *flags]
        process = subprocess.Popen(whole, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            found = OwnServer(f"unix://{path}", path, process)
            wait_until(lambda: _answers(found))
            yield found
        finally:
            process.kill()
            process.wait()


@contextmanager
def saying(upstream: Path, was: bytes, says: bytes) -> Iterator[str]:
    """The URL of the same store, in whose replies one text is another of the same length."""
    assert len(was) == len(says)
    with tempfile.TemporaryDirectory(prefix="fleet-test-") as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short}/s")
        listener.listen()
        threading.Thread(target=_accept, args=(listener, upstream, was, says), daemon=True).start()
        yield f"unix://{short}/s"
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, upstream: Path, was: bytes, says: bytes) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(upstream))
            for source, sink, text in ((client, server, b""), (server, client, was)):
                threading.Thread(target=_pass_on, args=(source, sink, text, says), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket, was: bytes, says: bytes) -> None:
    """Until one side ends. Each closes what it reads from: the other thread sees that."""
    with source:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                sink.sendall(data.replace(was, says) if was else data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


def _answers(server: OwnServer) -> bool:
    with suppress(redis.RedisError), server.client() as client:
        return bool(client.ping())
    return False


def _dying_with_us() -> list[str]:
    return [sys.executable, die_with_parent.__file__, str(os.getpid())]
