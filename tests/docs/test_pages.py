"""What README and docs tell a user to type is typed, in their order, into a fleet of its own; what they show is there.

A block of `sh` or `python` is run, and a block of `text` right behind it is what was printed, in its shape: numbers may
be others, and `…` stands for anything. What can't be run says why: ```` ```sh not run: needs the venues ````.
"""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from common.settings import FOREIGN_NAMES, PREFIX, variable
from infra.paths import ROOT
from tests.kit.ports import reserved_port
from tests.kit.store.own_server import own_server
from tests.kit.waiting import wait_until

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

PATIENCE_S = 30

# The page that moves the store comes last: it stops the fleet.
MOVING = "docs/operate.md"
PAGES = ("README.md", *sorted({f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} - {MOVING}), MOVING)
# Blocks that are not run, by the reason they give; of all other pages every one is.
LEFT_OUT = {
    "README.md": ["needs the venues", "takes a day that is over"],
    "docs/architecture.md": ["a sketch"] * 3,
    "docs/archive.md": ["Spark is not run here"],
    "docs/deploy.md": ["needs a feed that is open to others", "needs Heroku", "needs systemd"],
    "docs/venues.md": ["needs the venues"],
}
# As the pages name it; the test has a server of its own.
A_REDIS = "redis://10.0.0.5:6379/0"
# Lines that go on until Ctrl-C: they are stopped once they have said something.
ENDLESS = re.compile(r"^fleet (watch|store cli SUBSCRIBE)\b")
# What the fixture and CI run.
ELSEWHERE = re.compile(r"^(\w+=\S+ )*infra/(up|test)\b")
RUN = ("sh", "python")
INDENTED = re.compile(r"\n\n {4}\S.*")
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """`about`: what stands behind the language. `shown`: the output that the page shows for it, "" for none."""

    language: str
    about: str
    text: str
    shown: str = ""


def blocks(page: str) -> Iterator[Block]:
    text = (ROOT / page).read_text()
    found = list(_BLOCK.finditer(text))
    for at, one in enumerate(found):
        language, about, body = one.groups()
        following = found[at + 1] if at + 1 < len(found) else None
        is_shown = following and following[1] == "text" and not text[one.end() : following.start()].strip()
        if language in RUN:
            yield Block(language, about.strip(), body, following[3] if following and is_shown else "")


@dataclass(slots=True)
class User:
    """Somebody at a shell, in a folder of their own, with a fleet that runs. `redis_url`: of a server of their own."""

    home: Path
    port: int
    redis_url: str
    launcher: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """If it does not run: a page may have stopped it, and moved its store."""
        if self.launcher and self.launcher.poll() is None:
            return
        (self.home / ".fleet").mkdir(exist_ok=True)
        (self.home / ".fleet" / "fleet.env").write_text(f"FLEET_ARCHIVE_URL={self.home}/archive\n")
        command = ["fleet", "up", "--port", str(self.port)]
        with open(self.home / "fleet.log", "ab") as log:
            # A week of simulated minutes is of no use to a page, and takes seconds to make.
            environment = self.environment | {variable("simulated_days"): "0"}
            self.launcher = subprocess.Popen(command, cwd=self.home, env=environment, stdout=log, stderr=log)
        wait_until(lambda: has_book(self.port), 100)

    def stop(self) -> None:
        if self.launcher:
            self.launcher.terminate()
            self.launcher.wait(20)

    @property
    def environment(self) -> dict[str, str]:
        ours = {
            name: value for name, value in os.environ.items() if not name.startswith(PREFIX) or name in FOREIGN_NAMES
        }
        ours.pop("REDIS_URL", None)
        paths = os.pathsep.join([str(self.home / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        return {
            **ours,
            "HOME": str(self.home),
            "FLEET_DATA_DIR": str(self.home / ".fleet"),
            "PORT": str(self.port),
            "PATH": paths,
        }

    def typed(self, text: str) -> str:
        """As the page has it, but for the port of the feed, and a Redis."""
        return text.replace("127.0.0.1:8700", f"127.0.0.1:{self.port}").replace(A_REDIS, self.redis_url)

    def run(self, block: Block) -> str:
        """Run it line by line as a shell does; return all that it printed. A line that fails ends it."""
        if block.language == "python":
            return self._done([sys.executable, "-c", self.typed(block.text)])
        return "".join(self._line(line) for line in self.typed(block.text).splitlines() if line.strip())

    def _line(self, line: str) -> str:
        if ELSEWHERE.match(line):
            return ""
        return self._begun(line) if ENDLESS.match(line) else self._done(["bash", "-euo", "pipefail", "-c", line])

    def _done(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self.home, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _begun(self, line: str) -> str:
        process = subprocess.Popen(
            ["bash", "-c", line],
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout
        try:
            is_heard = select.select([process.stdout], [], [], PATIENCE_S)[0]
            return process.stdout.readline() if is_heard else pytest.fail(f"nothing was said by: {line}")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture(scope="module")
def household(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    if not shutil.which("curl"):
        pytest.skip("curl is not on PATH")
    home = tmp_path_factory.mktemp("home")
    # As in the checkout, where a user is.
    (home / "docs").symlink_to(ROOT / "docs")
    fleet = home / "bin" / "fleet"
    fleet.parent.mkdir()
    fleet.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m infra.cli "$@"\n')
    fleet.chmod(0o755)
    with reserved_port() as port, own_server("--appendonly", "yes") as server:
        found = User(home, port, server.url)
        try:
            yield found
        finally:
            found.stop()


@pytest.fixture
def user(household: User) -> User:
    household.start()
    return household


def has_book(port: int) -> bool:
    """A simulated market starts with trades of some hours; its book is recorded from when these are in."""
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/v1/heatmap/SIMULATED:BTCUSD?max_cols=4").is_success
    except httpx2.TransportError:
        return False


def missing(shown: str, printed: str) -> list[str]:
    """The lines of a page's output that what was printed has nothing of, in its order."""
    lines, lacking = iter(printed.splitlines()), []
    for wanted in shown.splitlines():
        shape = re.compile(
            r"[\d.]+".join(".*".join(map(re.escape, part.split("…"))) for part in re.split(r"\d[\d.]*", wanted))
        )
        if not any(shape.match(line) for line in lines):
            lacking.append(wanted)
            lines = iter(printed.splitlines())
    return lacking


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_says_can_be_typed_and_shows_what_it_shows(user: User, page: str) -> None:
    left_out = []
    for block in blocks(page):
        reason = block.about.removeprefix("not run: ")
        if reason != block.about:
            left_out.append(reason)
            continue
        printed = user.run(block)
        assert missing(block.shown, printed) == [], printed
    assert left_out == LEFT_OUT.get(page, [])


@pytest.mark.parametrize("page", PAGES)
def test_what_can_be_typed_is_fenced(page: str) -> None:
    outside = _BLOCK.sub("", (ROOT / page).read_text())
    assert INDENTED.findall(outside) == []


def test_what_is_not_printed_is_missed() -> None:
    assert missing("a 12 …z\nb", "a 3.5 yz\nb 1\n") == []
    assert missing("a 12\nc", "a 1\nb\n") == ["c"]
    assert missing('{"t":1,"o":…}', '{"t":17,"c":1}') == ['{"t":1,"o":…}']
