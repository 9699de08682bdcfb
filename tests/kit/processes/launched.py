"""`fleet up` as a process of its own, with a Procfile of tiny processes and the real store."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.local import embedded
from infra.paths import ROOT
from tests.kit.ports import reserved_port

# The command as installed, but with another folder for the Procfile, and a local exchange that is up at once, on a port
# of its own.
FLEET = """
import pathlib, sys
from infra import cli
from infra.local import launcher, local_exchange
launcher.ROOT = pathlib.Path(sys.argv.pop(1))
local_exchange.USUAL_PORT = int(sys.argv.pop(1))
local_exchange.HISTORY_HOURS = 0.05
cli.main()
"""

FEED = """
import http.server, os

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Ready).serve_forever()
"""

# Each worker leaves a mark in the store that it was given, at its start and at its end.
WORKER = """
import os, redis, signal, sys, time
store = redis.Redis.from_url(os.environ["REDIS_URL"])
def stop(*_):
    store.incr("stopped")
    sys.exit()
signal.signal(signal.SIGTERM, stop)
store.incr("started")
time.sleep(1000)
"""


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_port() as found:
        yield found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "feed.py").write_text(FEED)
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "Procfile").write_text("web: python feed.py\nworker: python worker.py\n")
    return tmp_path


@contextmanager
def fleet(project: Path, *arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    with reserved_port() as exchange_port:
        process = subprocess.Popen(
            [sys.executable, "-c", FLEET, str(project), str(exchange_port), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | environ,
            # As from a terminal, where Ctrl-C reaches the whole group.
            start_new_session=True,
            cwd=ROOT,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()
                embedded.stop(project / "data")


def ready_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    for line in process.stdout:
        if "Fleet ready" in line:
            return line.rstrip()
    raise AssertionError("it ended before it was ready")


def said_before(process: subprocess.Popen[str], last: str) -> list[str]:
    """The lines up to the one that contains `last`."""
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if last in line:
            return lines
    raise AssertionError(f"it ended before it said {last}: {lines}")


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    assert process.wait(timeout=5) == 0
