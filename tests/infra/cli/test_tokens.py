"""Tokens at the command line, and what refuses to start without a word about them."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import orjson
import pytest

from common.access import Role, Token, digest_of, parse_tokens, role_of
from common.settings import Settings
from common.store.client import commit_client
from infra.bench.base import free_port
from infra.local import launcher
from infra.paths import ROOT
from tests.kit.served import Served, served
from tests.kit.writer import INSTRUMENT, Writer

SECRET = "fleet_of_alice"
ALICE = Token("alice", Role.READ, digest_of(SECRET))
BEYOND = (
    "FLEET_HOST is 0.0.0.0, beyond this machine, and FLEET_API_TOKENS is not set:"
    " 'fleet token new NAME' prints one and the line to set; FLEET_API_TOKENS=none opens it to everybody\n"
)


def run(*command: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *command],
        env=os.environ | environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_token_is_printed_once_with_the_line_to_set() -> None:
    first = run("-m", "infra.cli", "token", "new", "alice", "--role", "trade")
    assert first.returncode == 0
    _, token, _, line = first.stdout.splitlines()
    name, _, value = line.partition("=")
    assert (name, token in line) == ("FLEET_API_TOKENS", False)
    assert role_of(token, parse_tokens(value)) is Role.TRADE
    # The next one joins it; and it is the value that the feed takes.
    second = run("-m", "infra.cli", "token", "new", "bob", FLEET_API_TOKENS=value)
    joined = second.stdout.splitlines()[-1].removeprefix("FLEET_API_TOKENS=")
    assert [(each.name, each.role) for each in parse_tokens(joined)] == [("alice", Role.TRADE), ("bob", Role.READ)]
    again = run("-m", "infra.cli", "token", "new", "alice", FLEET_API_TOKENS=joined)
    assert (again.returncode, again.stderr.startswith("fleet: name 'alice' has a token already")) == (2, True)


@pytest.mark.parametrize("command", [("-m", "feed"), ("-m", "infra.cli", "up", "--symbols", "none")])
def test_beyond_this_machine_nothing_starts_without_tokens(redis_url: str, command: tuple[str, ...]) -> None:
    done = run(*command, FLEET_HOST="0.0.0.0", PORT=str(free_port()), REDIS_URL=redis_url)
    assert (done.returncode, done.stderr.removeprefix("fleet: ")) == (1, BEYOND)


def test_a_feed_that_is_open_on_purpose_says_so(redis_url: str) -> None:
    environ = {"FLEET_HOST": "0.0.0.0", "FLEET_ALLOWED_HOSTS": "fleet.example.org", "FLEET_API_TOKENS": "none"}
    process = subprocess.Popen(
        [sys.executable, "-m", "feed"],
        env=os.environ | environ | {"PORT": str(free_port()), "REDIS_URL": redis_url},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        said = [process.stderr.readline() for _ in range(2)]
    finally:
        process.kill()
        process.communicate()
    assert "feed is open to everybody who reaches it: FLEET_API_TOKENS is none" in said[1]


@pytest.fixture
async def guarded(redis_url: str) -> AsyncIterator[Served]:
    async with commit_client(redis_url) as client:
        writer = await Writer.begun(client)
        await writer.commit(writer.trade())
        async with served(redis_url, api_tokens=str(ALICE)) as feed:
            yield feed


async def watch(feed: Served, lines: int, **environ: str) -> tuple[list[str], str, int]:
    """So many lines of `fleet watch`; what it complains of, and its exit code."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "infra.cli", "watch", INSTRUMENT.symbol, "--url", f"http://127.0.0.1:{feed.port}"),
        env=os.environ | environ,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout and process.stderr
    async with asyncio.timeout(30):
        shown = [(await process.stdout.readline()).decode() for _ in range(lines)]
        if lines:
            process.send_signal(signal.SIGINT)
        complaint = (await process.stderr.read()).decode()
        return shown, complaint, await process.wait()


async def test_watch_shows_the_token_it_was_given(guarded: Served) -> None:
    (line,), _, _ = await watch(guarded, 1, FLEET_TOKEN=SECRET)
    assert orjson.loads(line)["type"] == "snapshot"


async def test_watch_says_what_is_missing(guarded: Served) -> None:
    _, complaint, code = await watch(guarded, 0)
    assert (complaint, code) == ("fleet: the feed wants a token: set FLEET_TOKEN to one that it knows\n", 1)
    _, complaint, code = await watch(guarded, 0, FLEET_TOKEN="another")
    assert code == 1 and "refused: a token is missing or unknown" in complaint and "another" not in complaint


async def test_the_launcher_finds_its_feed_ready_and_shows_its_token(
    guarded: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_TOKEN", SECRET)
    assert await launcher.feed_is_ready("0.0.0.0", guarded.port)
    assert f"Host: 127.0.0.1:{guarded.port}\r\n" in launcher._look(f"127.0.0.1:{guarded.port}")
    assert f"Authorization: Bearer {SECRET}\r\n" in launcher._look("127.0.0.1")


def test_the_token_is_not_handed_to_the_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_TOKEN", SECRET)
    assert SECRET not in str(launcher.child_environ(Settings(), "unix:///s", text_logs=True))
