"""The embedded store: one Redis-compatible server per data folder, on a Unix socket, every commit on disk.

    <data_dir>/store/   s             the socket (in /tmp when this path is too long for one)
                        lock          held by the process that starts or stops the server
                        server.lock   held by the server itself, with its pid: locked as long as it lives
                        users.lock    shared by everybody at work; who leaves last stops the server
                        server.log, server.log.1, appendonlydir/

Two servers on one folder would both append to its files and nothing in them prevents it: hence server.lock.
Locks are flocks, which the kernel drops with their holder, so a crash leaves nothing stale behind. The short
socket is always in /tmp: following $TMPDIR would hide a running server from a shell that sets another one.
"""

import fcntl
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from common.errors import OperatorError
from infra import private, settings_file
from infra.local.server_binary import server_binary

# What a data folder holds: the store, the exchange of infra.local.local_exchange, and what infra.local.running records.
OURS = frozenset(("store", "exchange", "run", settings_file.NAME))

Durability = Literal["always", "everysec"]

# Bytes of a Unix socket's path that the kernel takes, without the closing zero.
MAX_SOCKET_PATH = 107 if sys.platform == "linux" else 103
# A server that answers PING later than this is alive, but not usable.
PROBE_TIMEOUT_S = 1.0
# A start takes 10 to 40 ms. While the server says LOADING (reads its data back) the limit starts again.
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 3.0
POLL_S = 0.01
# Width of the pid in server.lock: always overwritten as a whole.
PID_BYTES = 20

# Servers this process has started: kept so that a dead one is reaped.
_children: dict[Path, subprocess.Popen[bytes]] = {}


class StoreState(Enum):
    READY = "ready"
    LOADING = "reading its data"
    SILENT = "not answering"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where one embedded store lives. Making one touches nothing."""

    folder: Path
    socket: Path

    @classmethod
    def of(cls, data_dir: Path) -> "StorePlace":
        # Resolved: two names of one folder must mean one server.
        folder = data_dir.resolve() / "store"
        socket = folder / "s"
        if len(os.fsencode(socket)) > MAX_SOCKET_PATH:
            digest = hashlib.sha256(os.fsencode(socket)).hexdigest()[:16]
            socket = Path(f"/tmp/fleet-{os.getuid()}-{digest}/s")
        return cls(folder, socket)

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket))}"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def prepare(self) -> None:
        """Make the folders, or mend them, for us alone: they hold all data and the only way in."""
        with private.told(self.folder.parent):
            private.adopt(self.folder.parent, OURS.__contains__)
        private.mend(self.folder)
        private.make(self.socket.parent)


def ensure(data_dir: Path, durability: Durability = "always") -> str:
    """Return the URL of the folder's server, started unless it runs. Any number may call this at once."""
    place = StorePlace.of(data_dir)
    place.prepare()
    if _probe(place) is StoreState.ABSENT:
        with _locked(place.folder / "lock"):
            if _probe(place) is StoreState.ABSENT:
                _start(place, durability)
    _await_ready(place)
    _check_durability(place, durability)
    return place.url


def revive(data_dir: Path, durability: Durability = "always") -> str:
    """Start the folder's server if it has died, and return its last words then, else "".

    Unlike `ensure` it waits for nothing else: made to be called often.
    """
    place = StorePlace.of(data_dir)
    if _probe(place) is not StoreState.ABSENT:
        return ""
    words = _last_sentence(place)
    ensure(data_dir, durability)
    return f"{words} (see {place.log}.1)"


def locate(data_dir: Path) -> str | None:
    """Return the URL of the server that runs for the folder, or None. Starts and makes nothing."""
    place = StorePlace.of(data_dir)
    if _probe(place) is StoreState.ABSENT:
        return None
    _await_ready(place)
    return place.url


def stop(data_dir: Path, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Stop the folder's server, if one runs, and return when it is gone. What it acknowledged is on disk."""
    place = StorePlace.of(data_dir)
    if not place.folder.is_dir():
        return
    with _locked(place.folder / "lock"):
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = _server_pid(place)
            if pid is None:
                return
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            if _await_gone(place, timeout_s):
                return
    raise OperatorError(f"the store in {place.folder} outlived SIGKILL: the disk below it may hang")


def release(data_dir: Path) -> bool:
    """Stop the folder's server unless a process works with it; whether there was one to stop."""
    place = StorePlace.of(data_dir)
    if _probe(place) is StoreState.ABSENT:
        return False
    with _opened(place.folder / "users.lock") as users:
        if not _try_lock(users):
            return False
        stop(data_dir)
    return True


@contextmanager
def session(data_dir: Path, durability: Durability = "always") -> Iterator[str]:
    """Keep a server for the length of the block and yield its URL. Who leaves last stops it.

    So a second launcher on the same folder is not robbed of its store, and a server left behind by a launcher
    that was killed is stopped by the next one.
    """
    place = StorePlace.of(data_dir)
    place.prepare()
    with _opened(place.folder / "users.lock") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield ensure(data_dir, durability)
        finally:
            if _try_lock(users):
                stop(data_dir)


def _start(place: StorePlace, durability: Durability) -> None:
    """Start a server that inherits server.lock. The caller holds `lock` and has seen no server."""
    with _opened(place.folder / "server.lock") as lock:
        if not _take_server_lock(place, lock):
            return
        if ended := _children.pop(place.folder, None):
            # A server of ours held the lock before: having given it up, it has ended or is about to.
            ended.wait()
        if place.log.exists():
            # One log per run and the one before: it stays small, and its last words are of this run.
            place.log.replace(place.log.with_suffix(".log.1"))
        child = subprocess.Popen(
            _command(place, durability),
            pass_fds=[lock],
            # The terminal's Ctrl-C must not reach it: it stops after the last worker.
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            umask=private.UMASK,
        )
        _children[place.folder] = child
        os.pwrite(lock, str(child.pid).ljust(PID_BYTES).encode(), 0)
    try:
        _await_ready(place, child)
    except BaseException:
        # An interrupted start must not leave half of one behind.
        child.kill()
        child.wait()
        _reap(place)
        raise


def _take_server_lock(place: StorePlace, lock: int) -> bool:
    """Wait for the lock of a server that is on its way out. False: the server answers after all."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not _try_lock(lock):
        if _probe(place) is not StoreState.ABSENT:
            return False
        if time.monotonic() > deadline_s:
            raise OperatorError(f"a server holds {place.folder} but does not answer on {place.socket}")
        time.sleep(POLL_S)
    return True


def _command(place: StorePlace, durability: Durability) -> list[str]:
    flags = {
        # No TCP port: the embedded builds have no TLS, so nothing but the socket may lead in.
        "port": "0",
        "unixsocket": str(place.socket),
        "unixsocketperm": "600",
        "dir": str(place.folder),
        "appendonly": "yes",
        "appendfsync": durability,
        # Else fsync pauses during a rewrite, and with it the promise of `always`.
        "no-appendfsync-on-rewrite": "no",
        # A rewrite forks: rare, and only when it halves the file. 240 MB of commits are read back in 0.7 s.
        "auto-aof-rewrite-percentage": "100",
        "auto-aof-rewrite-min-size": "256mb",
        "save": "",
        # A store that evicts loses data in silence.
        "maxmemory-policy": "noeviction",
        "logfile": str(place.log),
        "daemonize": "no",
    }
    return [server_binary(), *(part for name, value in flags.items() for part in (f"--{name}", value))]


def _client(place: StorePlace) -> redis.Redis:
    return redis.Redis(
        unix_socket_path=str(place.socket),
        socket_timeout=PROBE_TIMEOUT_S,
        socket_connect_timeout=PROBE_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


def _probe(place: StorePlace) -> StoreState:
    with _client(place) as client:
        try:
            client.ping()
        except redis.BusyLoadingError:
            return StoreState.LOADING
        except redis.TimeoutError:
            return StoreState.SILENT
        except redis.ConnectionError:
            return StoreState.ABSENT
    return StoreState.READY


def _await_ready(place: StorePlace, child: subprocess.Popen[bytes] | None = None) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while (state := _probe(place)) is not StoreState.READY:
        if state is StoreState.LOADING:
            deadline_s = time.monotonic() + START_TIMEOUT_S
        if child and child.poll() is not None:
            raise OperatorError(f"the store in {place.folder} did not start: {_last_words(place)}")
        if time.monotonic() > deadline_s:
            raise OperatorError(f"the store in {place.folder} is {state.value}: {_last_words(place)}")
        time.sleep(POLL_S)


def _await_gone(place: StorePlace, timeout_s: float) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while _server_pid(place) is not None:
        if time.monotonic() > deadline_s:
            return False
        time.sleep(POLL_S)
    return True


def _server_pid(place: StorePlace) -> int | None:
    """The running server's pid. The caller holds `lock`: no process is between starting one and writing its pid."""
    _reap(place)
    with _opened(place.folder / "server.lock") as lock:
        return None if _try_lock(lock) else int(os.pread(lock, PID_BYTES, 0))


def _reap(place: StorePlace) -> None:
    child = _children.get(place.folder)
    if child and child.poll() is not None:
        del _children[place.folder]


def _check_durability(place: StorePlace, durability: Durability) -> None:
    """Raise what a server that ran already was started with to what is wanted now; never lower it."""
    with _client(place) as client:
        try:
            found = client.config_get("appendonly", "appendfsync")
            if found["appendonly"] != "yes":
                client.config_set("appendonly", "yes")
            if found["appendfsync"] not in ("always", durability):
                client.config_set("appendfsync", durability)
        except redis.RedisError as error:
            raise OperatorError(f"the store in {place.folder} does not tell its durability: {error}") from None


def _last_words(place: StorePlace) -> str:
    return f"{_last_sentence(place)} (see {place.log})"


def _last_sentence(place: StorePlace) -> str:
    text = place.log.read_text(errors="replace").strip() if place.log.exists() else ""
    # Of "<pid>:<role> <date> <level> <message>" the message.
    words = re.sub(r"^\d+:\S+ .*? [.*#-] ", "", text.rpartition("\n")[2])
    return words or "it said nothing"


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with _opened(path) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
