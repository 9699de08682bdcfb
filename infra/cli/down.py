"""`fleet down`"""

import signal
from collections.abc import Collection
from pathlib import Path

import typer

from common.settings import load
from infra.cli.options import DataOption
from infra.local import embedded
from infra.local.running import Launch, Running, launches
from infra.paths import data_folder

# A launcher stops within 5 s; what it has left behind gets as long as a worker does, and is killed then.
LAUNCHER_STOP_S, STOP_S, KILL_S = 10.0, 3.0, 3.0


def down(data: DataOption = None) -> None:
    """Stop the fleet of a data folder, also what a killed launcher has left behind.

    A launcher that runs is asked to stop, in order and with nothing lost, as Ctrl-C does. Of one that was killed, the
    processes that it wrote down are stopped, and the store, unless an import or another command works with it. Only
    what is known by its pid and its birth, or by the lock it holds, is touched.

    Examples:

    - `fleet down`
    - `fleet down --data /tmp/second`
    """
    folder = data_folder(data or load().data_dir)
    found = launches(folder)
    said = [line for path, launch in found for line in _stop(path, launch)]
    if embedded.release(folder):
        said.append("the store is stopped")
    elif url := embedded.locate(folder):
        said.append(f"the store stays, for something works with it: {url}")
    for line in said or [f"nothing runs for {folder}"]:
        print(line)
    if embedded.locate(folder):
        raise typer.Exit(1)


def _stop(path: Path, launch: Launch) -> list[str]:
    """Stop a launch, and forget it. Return what was done."""
    said = []
    if launch.launcher.is_alive:
        print(f"stopping the fleet at {launch.feed} (launcher {launch.launcher.pid})", flush=True)
        launch.launcher.signal(signal.SIGTERM, group=False)
        if not launch.launcher.await_end(LAUNCHER_STOP_S):
            launch.launcher.signal(signal.SIGKILL, group=False)
            launch.launcher.await_end(KILL_S)
        said.append(f"the fleet at {launch.feed} is stopped")
    left = launch.left_behind
    if left:
        _stop_all(left.values())
        said.append(f"stopped what launcher {launch.launcher.pid} had left behind: {', '.join(left)}")
    path.unlink(missing_ok=True)
    return said


def _stop_all(running: Collection[Running]) -> None:
    for number, wait_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, KILL_S)):
        for each in running:
            each.signal(number, group=True)
        if all([each.await_end(wait_s) for each in running]):
            return
