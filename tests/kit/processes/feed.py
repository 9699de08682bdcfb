"""A real feed, `python -m feed`, of which the log, the memory and the metrics can be looked at."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from common.settings import variable
from tests.kit.ports import reserved_port
from tests.kit.waiting import wait_until_async

_START_S = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    process: "subprocess.Popen[bytes]"
    port: int
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def memory_kb(self, field: str = "VmRSS") -> int:
        """Of the process alone: VmRSS, or VmHWM, the most it ever had."""
        return _status_kb(self.process.pid, field)

    def all_memory_kb(self, field: str) -> int:
        """Of the process and of all that it has started."""
        return sum(_status_kb(pid, field) for pid in (self.process.pid, *children(self.process.pid)))

    async def get(self, path: str, timeout_s: float = 30.0) -> httpx2.Response:
        async with httpx2.AsyncClient(timeout=timeout_s) as http:
            return await http.get(f"http://127.0.0.1:{self.port}{path}")

    async def metric(self, name: str) -> float:
        """One value of /metrics, by its name with labels; 0 if it is not there."""
        text = (await self.get("/metrics")).text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


@asynccontextmanager
async def running_feed(
    redis_url: str, folder: Path, *, command: tuple[str, ...] = (), **settings: object
) -> AsyncIterator[Running]:
    """`command`: what the feed is started by, such as `prlimit --nofile=256`."""
    with reserved_port() as port:
        running = _started(port, folder, command, {"redis_url": redis_url, "port": port, **settings})
        process = running.process
        try:
            await wait_until_async(lambda: _is_up(running), _START_S)
            yield running
        finally:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, 10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _started(port: int, folder: Path, command: tuple[str, ...], settings: dict[str, object]) -> Running:
    environment = {**os.environ, **{variable(name): str(value) for name, value in settings.items()}}
    with open(folder / "feed.log", "wb") as log:
        process = subprocess.Popen([*command, sys.executable, "-m", "feed"], env=environment, stderr=log)
    return Running(process, port, folder / "feed.log")


def children(pid: int) -> list[int]:
    """All processes that this one has started, and those that they have."""
    found = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [each for child in found for each in children(child)]


async def _is_up(running: Running) -> bool:
    assert running.process.poll() is None, running.log
    try:
        return (await running.get("/readyz")).status_code == 200
    except httpx2.TransportError:
        return False


def _status_kb(pid: int, field: str) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))
