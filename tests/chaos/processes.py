"""A fleet's processes, each kept running as its supervisor does, killed and stopped."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from infra.local import die_with_parent

WATCH_S = 0.05


@dataclass(slots=True, eq=False)
class Running:
    """`command`: of `python -m`. Some end by themselves, when all is done."""

    kind: str
    command: Sequence[str]
    environ: Mapping[str, str]
    log: Path
    ends: bool = False
    popen: "subprocess.Popen[bytes]" = field(init=False)

    def start(self) -> None:
        command = [sys.executable, die_with_parent.__file__, str(os.getpid()), sys.executable, "-m", *self.command]
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen(command, env=self.environ, stdout=subprocess.DEVNULL, stderr=log)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def is_done(self) -> bool:
        return self.ends and self.popen.poll() == 0


@dataclass(slots=True)
class Processes:
    """`ended`: kinds and exit codes of those that were not killed. Logs are in `<kind>.log` of the folder."""

    folder: Path
    environ: Mapping[str, str]
    all: list[Running] = field(default_factory=list)
    ended: Counter[tuple[str, int]] = field(default_factory=Counter)
    _resuming: "set[asyncio.Task[None]]" = field(default_factory=set)

    def start(self, kind: str, *command: str, count: int = 1, ends: bool = False, **environ: str) -> list[Running]:
        log, whole = self.folder / f"{kind}.log", {**self.environ, **environ}
        started = [Running(kind, command, whole, log, ends) for _ in range(count)]
        for each in started:
            each.start()
        self.all += started
        return started

    def of(self, kind: str) -> list[Running]:
        return [each for each in self.all if each.kind == kind]

    def kill(self, process: Running) -> None:
        """And start another in its place, once it is gone."""
        process.popen.kill()
        process.popen.wait()
        process.start()

    def stop(self, process: Running, seconds: float) -> None:
        """Not a step further for so long, if it is not killed meanwhile."""
        popen = process.popen
        self.stop_pid(popen.pid, seconds, lambda: popen.poll() is None)

    def stop_pid(self, pid: int, seconds: float, lives: Callable[[], bool]) -> None:
        with suppress(ProcessLookupError):
            if lives():
                os.kill(pid, signal.SIGSTOP)
            task = asyncio.create_task(_resume(pid, seconds, lives))
            self._resuming.add(task)
            task.add_done_callback(self._resuming.discard)

    async def all_go_on(self) -> None:
        await asyncio.gather(*self._resuming)

    async def watch(self) -> None:
        """Start again whoever ends by itself; until cancelled."""
        while True:
            for each in self.all:
                code = each.popen.poll()
                if code is not None and not each.is_done:
                    self.ended[each.kind, code] += 1
                    each.start()
            await asyncio.sleep(WATCH_S)

    def close(self) -> None:
        for each in self.all:
            each.popen.kill()
        for each in self.all:
            each.popen.wait()


async def _resume(pid: int, seconds: float, lives: Callable[[], bool]) -> None:
    await asyncio.sleep(seconds)
    # Its number may be another's, once it has been reaped.
    with suppress(ProcessLookupError):
        if lives():
            os.kill(pid, signal.SIGCONT)
