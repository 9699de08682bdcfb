"""The supervisor: the Procfile's processes, each kept running, and all of them stopped in order.

It knows nothing of the store, symbols or HTTP: what it needs to know it asks the callables it was given.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import FrameType

from common.errors import FleetError
from infra.local.child import Backoff, Child, Output

# SIGHUP: the terminal was closed.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WEB, WORKER = "web", "worker"

# One stop takes at most their sum, last words, and the store's own 0.1 s: under the 5 s that are promised.
WRITERS_STOP_S = 2.5
WEB_STOP_S = 1.0

# How often the number of workers and the store are looked at.
WATCH_S = 1.0
# Changes of what runs are told together.
CHANGES_TOLD_S = 0.05
# A complaint that lasts is said again after this.
COMPLAIN_AGAIN_S = 60.0
# How often a feed that is still starting is asked; it takes about a second.
READY_POLL_S = 0.05
# The other kinds wait so long for the feed; one that does not answer must not keep them down.
OTHERS_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class SupervisorHooks:
    """What the supervisor asks and tells."""

    # How many workers there should be.
    wanted_workers: Callable[[], Awaitable[int]]
    # What to announce once the feed answers; None until then.
    ready_line: Callable[[], Awaitable[str | None]]
    # Start the store again if it has died; nothing to do when it is not ours.
    keep_store: Callable[[], Awaitable[None]]
    # What must be done before anything but the helpers is started. Its FleetError ends the fleet.
    prepare: Callable[[], Awaitable[None]] | None = None
    # What a person should know of as long as it is said: sentences by what they are about.
    complaints: Callable[[], Awaitable[Mapping[str, str]]] | None = None
    # Told of all that runs whenever that changes: pids by name.
    running: Callable[[Mapping[str, int]], None] = lambda pids: None


@dataclass(slots=True)
class Supervisor:
    commands: Mapping[str, str]
    environ: Mapping[str, str]
    cwd: Path
    output: Output
    hooks: SupervisorHooks
    # One of each runs, too; from before the others are started until after the writers have stopped.
    helpers: Mapping[str, str] = field(default_factory=dict)
    # How many of a kind run, where it is not one; of workers there are as many as the hook says.
    counts: Mapping[str, int] = field(default_factory=dict)
    backoff: Backoff = field(default_factory=Backoff)
    watch_s: float = WATCH_S
    complain_again_s: float = COMPLAIN_AGAIN_S
    _children: dict[str, list[Child]] = field(default_factory=dict)
    # Topic of a complaint to when it was said last.
    _said_s: dict[str, float] = field(default_factory=dict)
    _signals: int = 0
    _is_change_noted: bool = False
    _stop_asked: asyncio.Event = field(default_factory=asyncio.Event)
    _announced: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Run until SIGINT, SIGTERM or SIGHUP, then stop in order. A second signal kills at once."""
        loop = asyncio.get_running_loop()
        with handled(STOP_SIGNALS, lambda *_: loop.call_soon_threadsafe(self._on_signal)):
            try:
                await self._work()
            finally:
                await self._stop_all()

    async def _work(self) -> None:
        for kind in self.helpers:
            self._scale(kind, 1)
        if not await self._prepared():
            return
        if WEB in self.commands:
            self._scale(WEB, self.counts.get(WEB, 1))
        jobs = (self._announce(), self._grow(), self._start_others(), self._keep_store(), self._complain())
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
            await self._stop_asked.wait()
            # Only so that no caller waits for an answer: a library may swallow it, and then their loops see the stop.
            for task in tasks:
                task.cancel()

    async def _prepared(self) -> bool:
        """Run the hook; False if a stop is asked for meanwhile."""
        if self.hooks.prepare is None:
            return True
        preparing = asyncio.ensure_future(self.hooks.prepare())
        asked = asyncio.create_task(self._stop_asked.wait())
        await asyncio.wait((preparing, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not preparing.done():
            preparing.cancel()
            # Not for longer than a stop may take: a library may swallow it.
            await asyncio.wait((preparing,), timeout=WRITERS_STOP_S)
            return False
        await preparing
        return not self._stop_asked.is_set()

    def _scale(self, kind: str, count: int) -> None:
        """Start what is missing. Nothing is stopped: a worker too many is a spare."""
        command = self.helpers[kind] if kind in self.helpers else self.commands[kind]
        running = self._children.setdefault(kind, [])
        while len(running) < count:
            child = self._new_child(f"{kind}.{len(running) + 1}", command)
            running.append(child)
            child.start()

    def _new_child(self, name: str, command: str) -> Child:
        return Child(
            name,
            command,
            environ=self.environ,
            cwd=self.cwd,
            output=self.output,
            backoff=self.backoff,
            on_change=self._note_change,
        )

    def _note_change(self) -> None:
        """Tell what runs, soon: many are started at once."""
        if not self._is_change_noted:
            self._is_change_noted = True
            asyncio.get_running_loop().call_later(CHANGES_TOLD_S, self._tell_running)

    def _tell_running(self) -> None:
        self._is_change_noted = False
        self.hooks.running({child.name: pid for child in self._all() if (pid := child.pid)})

    async def _grow(self) -> None:
        while WORKER in self.commands and not self._stop_asked.is_set():
            try:
                self._scale(WORKER, await self.hooks.wanted_workers())
            except Exception as error:
                self._complain_of("workers", f"number of workers unknown, kept as it is: {_sentence(error)}")
            await self._pause(self.watch_s)

    async def _start_others(self) -> None:
        """What is not waited for is started once the feed answers: until then it would only take its time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(OTHERS_WAIT_S):
                await self._announced.wait()
        for kind in self.commands:
            if kind not in (WEB, WORKER) and not self._stop_asked.is_set():
                self._scale(kind, self.counts.get(kind, 1))

    async def _keep_store(self) -> None:
        failures = 0
        while not self._stop_asked.is_set():
            try:
                await self.hooks.keep_store()
                failures = 0
            except Exception as error:
                failures += 1
                self._complain_of("keep store", _sentence(error))
            await self._pause(self.backoff.delay_s(failures) if failures else self.watch_s)

    async def _complain(self) -> None:
        while self.hooks.complaints and not self._stop_asked.is_set():
            try:
                for topic, text in (await self.hooks.complaints()).items():
                    self._complain_of(topic, text)
            except FleetError:
                pass  # told by whom it hinders
            except Exception as error:
                self._complain_of("complaints", f"what is wrong is not known: {_sentence(error)}")
            await self._pause(self.watch_s)

    def _complain_of(self, topic: str, text: str) -> None:
        """Say it when it comes up, and again only after a while: it may come up every second."""
        now_s = asyncio.get_running_loop().time()
        if topic not in self._said_s or now_s - self._said_s[topic] >= self.complain_again_s:
            self._said_s[topic] = now_s
            self._say(text)

    async def _announce(self) -> None:
        line: str | None = None
        while line is None and not self._stop_asked.is_set():
            await self._pause(READY_POLL_S)
            try:
                line = await self.hooks.ready_line()
            except FleetError:
                pass  # nothing to tell: what hinders the start is said by whom it hinders
            except Exception as error:
                self._complain_of("ready", f"whether the feed answers is not known: {_sentence(error)}")
        if line is not None:
            self.output.plain(line)
            self._announced.set()

    async def _pause(self, seconds: float) -> None:
        """Wait, but not for longer than the fleet runs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop_asked.wait()

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self._say("stopping (once more kills at once)")
            self._stop_asked.set()
            return
        for child in self._all():
            child.kill()

    async def _stop_all(self) -> None:
        """Writers first, while their store, helpers and the feed's readers are there; then the feed and the helpers."""
        others = [child for kind in (WEB, *self.helpers) for child in self._children.get(kind, [])]
        writers = [child for child in self._all() if child not in others]
        await _stop(writers, WRITERS_STOP_S)
        await _stop(others, WEB_STOP_S)

    def _all(self) -> Iterable[Child]:
        return chain.from_iterable(self._children.values())

    def _say(self, text: str) -> None:
        self.output.line("fleet", text.encode())


def _sentence(error: Exception) -> str:
    """Of ours the sentence; of any other its kind too, for that is a bug."""
    return str(error) if isinstance(error, FleetError) else f"{type(error).__name__}: {error}"


@contextmanager
def handled(numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Handle the signals inside the block, and give them back as they were."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


async def _stop(children: Iterable[Child], grace_s: float) -> None:
    await asyncio.gather(*(child.stop(grace_s) for child in children))
