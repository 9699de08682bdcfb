"""The examples of docs/examples do what they say, against a feed, a worker and a store."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from common.archive.archive import Archive
from common.archive.series import CANDLE_ROWS
from common.settings import variable
from infra.local import embedded
from infra.paths import ROOT
from tests.kit.archive.rows import BTC, FEBRUARY_MS, february, write
from tests.kit.ports import reserved_port
from tests.kit.processes.worker import start
from tests.kit.waiting import wait_until

pytestmark = pytest.mark.process

EXAMPLES = ROOT / "docs" / "examples"
SYMBOL, INBOX = "SIMULATED:BTCUSD", "MY:BTCUSD"
# `candle 1736690400000 8.12 8.18 8.10 8.15 1.5`
CLOSED = re.compile(r"(candle|amend) \d{13}( \d+(\.\d+)?){5}")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where a fleet is that has a simulated market and an inbox."""
    with ExitStack() as stack:
        url = stack.enter_context(embedded.session(tmp_path_factory.mktemp("examples")))
        port = stack.enter_context(reserved_port())
        fleet = {"REDIS_URL": url, "PORT": str(port), variable("symbols_per_worker"): "2"}
        for symbol in (SYMBOL, INBOX):
            added = command("symbols", "add", symbol, "--price-decimals", "2", "--size-decimals", "8", **fleet)
            assert added.returncode == 0, added.stdout + added.stderr
        for module in ("workers", "feed"):
            stack.enter_context(ended(start(module, **fleet)))
        feed = f"http://127.0.0.1:{port}"
        wait_until(lambda: has_bars(feed), 30)
        yield {"FEED": feed, "REDIS_URL": url}


def command(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    run = [sys.executable, "-m", "infra.cli", *arguments]
    return subprocess.run(run, env=os.environ | environment, capture_output=True, text=True, cwd=ROOT, check=False)


@contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def has_bars(feed: str) -> bool:
    try:
        return bool(httpx2.get(f"{feed}/v1/candles/{SYMBOL}").json().get("bars"))
    except httpx2.TransportError:
        return False


def output(environment: dict[str, str], *run: str) -> str:
    done = subprocess.run(
        run, env=os.environ | environment, capture_output=True, text=True, cwd=EXAMPLES, check=False, timeout=50
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lines(environment: dict[str, str], *run: str, count: int, cwd: Path = EXAMPLES) -> list[str]:
    """The first lines of one that never ends."""
    process = subprocess.Popen(run, env=os.environ | environment, stdout=subprocess.PIPE, text=True, cwd=cwd)
    with ended(process):
        assert process.stdout
        return [process.stdout.readline().rstrip("\n") for _ in range(count)]


@pytest.mark.parametrize("name", ["frame_polars.py", "frame_pandas.py"])
def test_a_frame_has_real_timestamps(environment: dict[str, str], name: str) -> None:
    # A minute of this year or later, and a price of the simulated market.
    assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d:00\b.* \d{5}\.\d", output(environment, sys.executable, name))


def test_the_notebook_runs_from_its_first_cell_to_its_last(environment: dict[str, str]) -> None:
    cells = json.loads((EXAMPLES / "bars.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert float(output(environment, sys.executable, "-c", "\n".join(code) + "\nprint(minutes['v'].sum())")) > 0


@pytest.mark.parametrize("program", ["python", "node", "go"])
def test_each_closed_bar_is_told(environment: dict[str, str], program: str) -> None:
    cwd = EXAMPLES / "closed_bars_go" if program == "go" else EXAMPLES
    found = lines(environment, *runner(program), SYMBOL, "1s", count=2, cwd=cwd)
    assert all(CLOSED.fullmatch(told) for told in found), found
    first, second = (int(told.split()[1]) for told in found)
    assert first <= second and first % 1_000 == 0


@pytest.mark.parametrize("program", ["python", "node"])
def test_each_column_of_a_live_heatmap_has_the_volume_of_its_second(environment: dict[str, str], program: str) -> None:
    found = lines(environment, *runner(program, "heatmap_live"), SYMBOL, "1s", count=3, cwd=EXAMPLES)
    bars = httpx2.get(f"{environment['FEED']}/v1/candles/{SYMBOL}?timeframe=1s&limit=100").json()["bars"]
    volumes = {bar["t"]: bar["v"] for bar in bars}
    for open_ms, volume in map(str.split, found):
        assert float(volume) == pytest.approx(volumes.get(int(open_ms), 0), abs=1e-8)


def runner(program: str, name: str = "closed_bars") -> list[str]:
    if program == "python":
        return [sys.executable, f"{name}.py"]
    if not shutil.which(program):
        pytest.skip(f"{program} is not on PATH")
    if program == "go":
        return ["go", "run", "."]
    version = int(
        subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout[1:].split(".")[0]
    )
    if version < 20:
        pytest.skip(f"node {version} has no WebSocket, expected 22 or newer")
    return ["node", *(["--experimental-websocket"] if version < 22 else []), f"{name}.mjs"]


@pytest.mark.parametrize("kind", ["depth", "traded"])
@pytest.mark.parametrize("program", ["python", "node"])
def test_the_cells_of_a_grid_frame_are_those_of_the_json(environment: dict[str, str], program: str, kind: str) -> None:
    asked = f"{environment['FEED']}/v1/heatmap/{SYMBOL}?kind={kind}&max_cols=60"
    wait_until(lambda: "cells" in httpx2.get(asked).text, 20)
    if program == "node" and not shutil.which(program):
        pytest.skip(f"{program} is not on PATH")
    reader = [sys.executable, "heatmap_grid.py"] if program == "python" else [program, "heatmap_grid.mjs"]

    def read_twice() -> tuple[list[list[str]], list[list[str]]]:
        """What rests may change between the two."""
        told = [line.split() for line in output(environment, *reader, SYMBOL, kind).splitlines()]
        return told, cells_of(httpx2.get(asked).json())

    def agree() -> bool:
        told, expected = read_twice()
        return bool(told) and told[0] == expected[0] and len(told) == len(expected)

    wait_until(agree, 30)


def cells_of(answer: dict[str, Any]) -> list[list[str]]:
    cells, found = answer["cells"], list[list[str]]()
    sides = ("bid", "ask") if answer["kind"] == "depth" else ("bv", "sv")
    for col, row, bid, ask in zip(cells["col"], cells["row"], *(cells[side] for side in sides), strict=True):
        at = answer["t0"] + col * answer["bucketMs"]
        found.append([str(at), f"{answer['p0'] + row * answer['row']:.2f}", f"{bid:.4f}", f"{ask:.4f}"])
    return found


@pytest.mark.parametrize("timeframe", ["1m", "15m", "2s"])
def test_redis_tells_bars_of_any_timeframe(environment: dict[str, str], timeframe: str) -> None:
    told = lines(environment, sys.executable, "redis_subscriber.py", SYMBOL, timeframe, count=5)
    form = r"(candle|amend) \d+ (open|closed) \d{13} \d+(\.\d+)? \d+(\.\d+)?"
    assert all(re.fullmatch(form, each) for each in told), told
    assert timeframe != "2s" or any(" closed " in each for each in told), told


def test_trades_that_are_pushed_are_in_the_bars(environment: dict[str, str]) -> None:
    assert output(environment, sys.executable, "push_trades.py", INBOX, "20") == f"20 trades pushed to {INBOX}\n"

    def counted() -> int:
        bars = httpx2.get(f"{environment['FEED']}/v1/candles/{INBOX}").json()["bars"]
        return sum(int(bar["n"]) for bar in bars)

    wait_until(lambda: counted() == 20, 20)


def test_duckdb_reads_hours_out_of_the_archive(tmp_path: Path) -> None:
    write(Archive.open(str(tmp_path)), CANDLE_ROWS, BTC, FEBRUARY_MS, february(1))
    printed = output({}, sys.executable, "archive_duckdb.py", str(tmp_path), BTC.symbol)
    assert re.search(r"2024-\d\d-\d\d \d\d:00:00", printed), printed


def test_prometheus_finds_metrics_where_the_example_says(environment: dict[str, str]) -> None:
    config = (EXAMPLES / "prometheus.yml").read_text()
    (path,) = re.findall(r"metrics_path: (\S+)", config)
    text = httpx2.get(environment["FEED"] + path).text
    assert "feed_connections" in {family.name for family in text_string_to_metric_families(text)}


def test_every_example_is_listed() -> None:
    named = (EXAMPLES / "README.md").read_text()
    assert [
        path.name for path in EXAMPLES.iterdir() if path.name != "README.md" and f"({path.name})" not in named
    ] == []
