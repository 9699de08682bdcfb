"""`fleet status` and `fleet down`, beside a launcher that runs, and after one that was killed."""

import os
import re
import signal
import subprocess
from dataclasses import asdict
from pathlib import Path

import orjson
import pytest

from infra.local import embedded
from infra.local.running import Running, launches
from tests.kit.processes.command import Fleet
from tests.kit.processes.launched import fleet as launched
from tests.kit.processes.launched import port, project, ready_line
from tests.kit.waiting import wait_until

pytestmark = pytest.mark.process

__all__ = ["port", "project"]


def test_a_fleet_is_shown_as_long_as_it_runs_and_stopped_also_where_its_launcher_was_killed(
    project: Path, port: int
) -> None:
    data = project / "data"
    command = Fleet("", data)
    nothing = command("status")
    assert (nothing.code, "no fleet runs here" in nothing.out, "store  not running" in nothing.out) == (1, True, True)
    assert command("down").out == f"nothing runs for {data}\n"
    arguments = ("up", "--port", str(port), "--data", str(data), "--symbols", "XRPUSD")
    with launched(project, *arguments) as process:
        ready_line(process)
        wait_until(lambda: len(launches(data)[0][1].children) == 2)
        shown = command("status")
        assert shown.code == 0
        assert re.search(rf"feed   http://127.0.0.1:{port}, ready; up since .* \(launcher {process.pid}\)", shown.out)
        assert re.search(r"store  Valkey [\d.]+, fsync always, unix://", shown.out)
        assert re.search(r"worker.1 +\d+  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d +\d+(\.\d)? s\n", shown.out)
        assert re.search(r"SIMULATED:XRPUSD +UNASSIGNED +none yet +simulator", shown.out)
        down = command("down")
        assert (down.code, process.wait(5)) == (0, 0)
        assert down.out.splitlines() == [
            f"stopping the fleet at http://127.0.0.1:{port} (launcher {process.pid})",
            f"the fleet at http://127.0.0.1:{port} is stopped",
        ]
    with launched(project, *arguments) as process, subprocess.Popen(["sleep", "60"], process_group=0) as stray:
        ready_line(process)
        ((path, _),) = launches(data)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda: not launches(data)[0][1].left_behind)
        # Where the kernel does not end them with their launcher, processes are left, too.
        left = Running.of(stray.pid)
        assert left
        record = orjson.loads(path.read_bytes())
        record["children"]["worker.1"] = asdict(left)
        path.write_bytes(orjson.dumps(record))
        shown = command("status")
        assert (
            f"launcher {process.pid} was killed, and left worker.1, its store behind: fleet down cleans up" in shown.out
        )
        down = command("down")
        assert down.out.splitlines() == [
            f"stopped what launcher {process.pid} had left behind: worker.1",
            "the store is stopped",
        ]
        assert (down.code, stray.wait(5), embedded.locate(data), launches(data)) == (0, -signal.SIGTERM, None, [])


def test_a_store_that_something_works_with_is_not_stopped(tmp_path: Path) -> None:
    with embedded.session(tmp_path) as url:
        down = Fleet("", tmp_path)("down")
        assert (down.code, down.out) == (1, f"the store stays, for something works with it: {url}\n")
        assert embedded.locate(tmp_path) == url
    assert embedded.locate(tmp_path) is None
