"""The `fleet` command as a user runs it, on the test's store: its exit code, and what it prints."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
import pytest
import redis

from infra import cli
from infra.paths import ROOT

# Nothing listens there: no test asks a venue on the internet.
NOWHERE = "http://127.0.0.1:1"
# Commands that neither handle signals nor change what this process knows: they are spared a Python of their own.
RUN_HERE = frozenset(
    ("move", "symbols", "archive", "rebuild", "jobs", "doctor", "calendars", "settings", "status", "down")
)


@dataclass
class Done:
    code: int
    out: str
    err: str


@dataclass
class Fleet:
    url: str
    data: Path
    # As wide a terminal it writes to.
    columns: int = 200

    def __call__(self, *arguments: str) -> Done:
        if arguments[0] in RUN_HERE or "--help" in arguments:
            # A thread of its own: the test may be in an event loop, and the command makes one.
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(self._run_here, arguments).result()
        done = subprocess.run(self.command(*arguments), env=self.environ, cwd=ROOT, capture_output=True, text=True)
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environ,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "infra.cli", *arguments]

    @property
    def environ(self) -> dict[str, str]:
        own = {"REDIS_URL": self.url, "FLEET_DATA_DIR": str(self.data), "COLUMNS": str(self.columns)}
        return {**os.environ, **own, "HTTPS_PROXY": NOWHERE}

    def market(self, symbol: str) -> Any:
        """A symbol's entry."""
        with redis.Redis.from_url(self.url) as client:
            return orjson.loads(client.hget("symbols", symbol))

    def symbols(self) -> set[str]:
        with redis.Redis.from_url(self.url) as client:
            return {name.decode() for name in client.hkeys("symbols")}

    def _run_here(self, arguments: tuple[str, ...]) -> Done:
        out, err = StringIO(), StringIO()
        with (
            mock.patch.dict(os.environ, self.environ),
            mock.patch.object(sys, "argv", ["fleet", *arguments]),
            _logging_as_it_was(),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            try:
                cli.main()
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
        return Done(code, out.getvalue(), err.getvalue())


@contextmanager
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path) -> Fleet:
    return Fleet(redis_url, tmp_path / "data")
