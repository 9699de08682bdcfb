"""`fleet watch` as a process: on a terminal of 80 columns, on one that can't be written over, and into a pipe."""

import asyncio
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve

from common.settings import Settings
from infra.cli import watch
from infra.local.running import recorded
from infra.paths import ROOT
from tests.kit.ports import reserved_port
from tests.kit.processes.terminal import Terminal, terminal
from tests.kit.waiting import wait_until_async
from tests.kit.watch import bar, snapshot

pytestmark = pytest.mark.process


async def feed(socket: ServerConnection) -> None:
    """Answers a subscription, and goes on for as long as it is listened to."""
    asked = orjson.loads(await socket.recv())
    assert (asked["symbol"], asked["timeframe"], asked["limit"]) == ("A:B", "1m", 20)
    told = snapshot(bar()) | {"symbol": "A:B"}
    await socket.send(orjson.dumps(told, default=float).decode())
    await socket.wait_closed()


def piped(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def shows(shown: Terminal, *texts: str) -> None:
    await wait_until_async(lambda: all(text in shown.text for text in texts), 15)


async def test_it_connects_shows_prices_says_when_the_feed_has_gone_and_ends_without_a_word() -> None:
    with ExitStack() as stack:
        port = stack.enter_context(reserved_port())
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "infra.cli", "watch", "A:B", "--url", url]
        usual = stack.enter_context(terminal(command))
        dumb = stack.enter_context(terminal(command, TERM="dumb"))
        pipe = stack.enter_context(piped(command))
        stack.callback(pipe.kill)
        assert pipe.stdout and pipe.stderr
        waiting = f"connecting to {url} (nothing listens there)"
        for shown in (usual, dumb):
            await shows(shown, waiting)
        assert pipe.stderr.readline() == f"fleet: {waiting}\n"
        async with serve(feed, "127.0.0.1", port, reuse_port=False):
            for shown in (usual, dumb):
                await shows(shown, "63933.41", "Live")
            # Off the event loop, which is to answer it.
            assert (await asyncio.to_thread(pipe.stdout.readline)).startswith('{"type":"snapshot"')
        # A reader that goes is no outage, and nothing to tell.
        pipe.stdout.close()
        for shown in (usual, dumb):
            await shows(shown, "feed gone since")
        async with serve(feed, "127.0.0.1", port):
            await wait_until_async(lambda: pipe.poll() is not None, 15)
        assert pipe.returncode == 0
        said = pipe.stderr.read()
        assert "feed gone since" in said and "Broken pipe" not in said and "Traceback" not in said
        for shown in (usual, dumb):
            shown.process.send_signal(signal.SIGINT)
            assert shown.process.wait(10) == 0
            assert "Traceback" not in shown.text
    assert f"A:B 1m: {waiting}\n" in dumb.text


INTERRUPTED = """
import os, signal, sys
interrupting = sys.argv.pop(1)
class Finder:
    def find_spec(name, *_):
        if name == interrupting:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder)
from infra.cli import main
main()
"""


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("typer", ["--help"]),
        ("infra.cli.commands", ["status"]),
        ("infra.cli.symbols", ["symbols", "list"]),
        ("websockets", ["watch", "A:B"]),
        ("polars", ["export", "candles", "A:B", "--out", "/dev/null"]),
        ("common.archive.names", ["archive", "list"]),
    ],
)
def test_an_early_ctrl_c_ends_a_command_without_a_traceback(module: str, command: list[str]) -> None:
    code = [sys.executable, "-c", INTERRUPTED, module, *command]
    environ = {"FLEET_ARCHIVE_URL": "/tmp", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(code, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert (done.returncode in (-signal.SIGINT, 130), done.stdout, done.stderr) == (True, "", "")


def test_the_feed_is_that_of_the_fleet_that_runs_for_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PORT", raising=False)
    usual = "http://127.0.0.1:8700"
    assert watch._feed_of(Settings(data_dir=tmp_path), None) == usual
    with recorded(tmp_path, "http://127.0.0.1:9000", "unix:///s"):
        assert watch._feed_of(Settings(data_dir=tmp_path), None) == "http://127.0.0.1:9000"
        assert watch._feed_of(Settings(data_dir=tmp_path / "other"), None) == usual
        # What is named counts.
        monkeypatch.setenv("PORT", "9001")
        assert watch._feed_of(Settings(data_dir=tmp_path), None) == "http://127.0.0.1:9001"
        assert watch._feed_of(Settings(), tmp_path) == "http://127.0.0.1:9000"
