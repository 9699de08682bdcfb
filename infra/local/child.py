"""One supervised process: started, listened to, started again when it ends, stopped."""

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from common.redact import redacted
from infra.local import die_with_parent

# A longer line is cut into pieces: a child that never ends its line must not fill our memory.
MAX_LINE = 64 * 1024
# How long after its end a process's last words may come. Longer only if a stray of its own holds the pipe open.
LAST_WORDS_S = 0.5


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait before a process is started again. Jitter keeps processes that fell together from rising together."""

    first_s: float = 0.5
    cap_s: float = 15.0
    # Up for this long, a process counts as healthy and its earlier failures are forgotten.
    healthy_s: float = 10.0

    def delay_s(self, failures: int) -> float:
        """The wait after `failures` (at least 1) in a row: half to whole of a doubling span."""
        span_s = min(self.cap_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return span_s * random.uniform(0.5, 1)


class Output:
    """Everything the launcher shows: whole lines, each behind the name of who said it."""

    # Room for worker.1 to worker.9; a longer name moves its own lines only.
    NAME_WIDTH = 8

    def __init__(self, stream: BinaryIO) -> None:
        self._stream: BinaryIO | None = stream

    def line(self, name: str, text: bytes) -> None:
        self._write(f"{name:<{self.NAME_WIDTH}} | ".encode() + _shown(text.rstrip(b"\r\n")) + b"\n")

    def plain(self, text: str) -> None:
        self._write(text.encode() + b"\n")

    def _write(self, line: bytes) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(line)
            self._stream.flush()
        except OSError:
            # The terminal or pipe is gone. That is no reason for the fleet to stop.
            self._stream = None


def _shown(line: bytes) -> bytes:
    """Without what is secret in a URL: a library of a child may have said it by itself."""
    return redacted(line.decode(errors="surrogateescape")).encode(errors="surrogateescape") if b"://" in line else line


class Child:
    """Keeps one command running, in a process group of its own, until `stop`."""

    def __init__(
        self,
        name: str,
        command: str,
        *,
        environ: Mapping[str, str],
        cwd: Path,
        output: Output,
        backoff: Backoff,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_change` is called whenever it has another pid, or none."""
        self.name = name
        self._command = command
        self._environ = environ
        self._cwd = cwd
        self._output = output
        self._backoff = backoff
        self._on_change = on_change
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_running(), name=self.name)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, then SIGKILL after `grace_s`. Returns when the process is gone."""
        if self._task is None:
            return
        self._stopping.set()
        self._signal(signal.SIGTERM)
        done, _ = await asyncio.wait({self._task}, timeout=grace_s)
        if not done:
            self._say(f"still there after {grace_s:.1f} s: killed")
            self.kill()
        await self._task

    def kill(self) -> None:
        self._stopping.set()
        self._signal(signal.SIGKILL)

    async def _keep_running(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._stopping.is_set():
            started_s = loop.time()
            ending = await self._run_once()
            if self._stopping.is_set():
                return
            healthy = loop.time() - started_s >= self._backoff.healthy_s
            failures = 1 if healthy else failures + 1
            delay_s = self._backoff.delay_s(failures)
            self._say(f"{ending}; starting again in {delay_s:.1f} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)

    async def _run_once(self) -> str:
        """Run the command to its end; return how it ended."""
        try:
            self._process, relay = await self._spawn()
        except OSError as error:
            return f"did not start ({error.strerror})"
        except Exception as error:
            return f"did not start ({type(error).__name__}: {error})"
        self._on_change()
        if self._stopping.is_set():
            # Asked to stop while it was being started: the signal came too early for it.
            self._signal(signal.SIGTERM)
        code = await self._process.wait()
        self._process = None
        self._on_change()
        await asyncio.wait({relay}, timeout=LAST_WORDS_S)
        relay.cancel()
        return f"ended with exit code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"

    async def _spawn(self) -> tuple[Process, asyncio.Task[None]]:
        # A pipe of our own: asyncio's would let wait() wait for every stray that still holds it.
        read_fd, write_fd = os.pipe()
        relay = asyncio.create_task(_relay(read_fd, lambda line: self._output.line(self.name, line)))
        try:
            process = await asyncio.create_subprocess_exec(
                *_dying_with_us("/bin/sh", "-c", f"exec {self._command}"),
                stdin=DEVNULL,
                stdout=write_fd,
                stderr=write_fd,
                env=self._environ,
                cwd=self._cwd,
                # The terminal's Ctrl-C goes to its foreground group: only the launcher is in it.
                process_group=0,
            )
        finally:
            # Also ends the relay when nothing was started.
            os.close(write_fd)
        return process, relay

    def _signal(self, number: signal.Signals) -> None:
        """Signal the whole group: what a command starts belongs to it."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _say(self, text: str) -> None:
        self._output.line("fleet", f"{self.name} {text}".encode())


async def run_to_its_end(
    command: Sequence[str], *, environ: Mapping[str, str], cwd: Path, emit: Callable[[bytes], None]
) -> int:
    """Run a command once, hand each line that it says to `emit`, and return its exit code. Cancelled, it is stopped."""
    process = await asyncio.create_subprocess_exec(
        *_dying_with_us(*command),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env=environ,
        cwd=cwd,
        process_group=0,
        limit=MAX_LINE,
    )
    assert process.stdout
    try:
        while line := await _read_line(process.stdout):
            emit(line)
        return await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


def _dying_with_us(*command: str) -> list[str]:
    # -I -S: nothing of the environment, no site-packages; it is up in 20 ms.
    return [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), *command]


async def _relay(read_fd: int, emit: Callable[[bytes], None]) -> None:
    """Hand each line written to the pipe to `emit`, until its other end is closed."""
    reader = asyncio.StreamReader(limit=MAX_LINE)
    pipe = os.fdopen(read_fd, "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        while line := await _read_line(reader):
            emit(line)
    finally:
        transport.close()


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    """The next line, or a piece of one that is too long; b"" at the end."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError:
        return await reader.read(MAX_LINE)
