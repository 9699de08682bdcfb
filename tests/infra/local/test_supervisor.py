"""The supervisor with tiny processes: how many run, and in which order they stop."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from common.errors import FleetError, OperatorError, StoreUnavailable
from infra.local import supervisor
from infra.local.child import Backoff
from infra.local.supervisor import Supervisor, SupervisorHooks
from tests.kit.processes.supervised import QUICK, Shown, is_alive
from tests.kit.waiting import wait_until_async

pytestmark = pytest.mark.process

# Takes a moment to stop, as a worker does that writes its last commit.
POLITE = "trap 'sleep 0.2; echo bye; exit 0' TERM; echo up $$; while :; do sleep 0.01; done"
DEAF = "trap '' TERM; echo up $$; while :; do sleep 0.01; done"


class Asked:
    """The answers to what the supervisor asks."""

    def __init__(self, workers: int = 1, ready: str | None = None) -> None:
        self.workers = workers
        self.ready = ready
        self.store_checks = 0
        self.complaint_checks = 0
        self.complaints: dict[str, str] = {}
        self.trouble: Exception | None = None
        self.stubborn = False
        self.asking = False
        self.prepared: asyncio.Event | None = None
        self.unprepared: Exception | None = None

    @property
    def hooks(self) -> SupervisorHooks:
        return SupervisorHooks(
            self._wanted_workers, self._ready_line, self._keep_store, self._prepare, self._complaints
        )

    async def _wanted_workers(self) -> int:
        if self.trouble:
            raise StoreUnavailable("the store is away")
        if self.stubborn:
            self.asking = True
            # As asyncio.wait_for may before Python 3.12.
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            self.stubborn = False
        return self.workers

    async def _prepare(self) -> None:
        if self.prepared:
            await self.prepared.wait()
        if self.unprepared:
            raise self.unprepared

    async def _ready_line(self) -> str | None:
        return self.ready

    async def _complaints(self) -> dict[str, str]:
        self.complaint_checks += 1
        return self.complaints

    async def _keep_store(self) -> None:
        self.store_checks += 1
        if self.trouble:
            raise self.trouble


def commands(tmp_path: Path, **texts: str) -> dict[str, str]:
    for kind, text in texts.items():
        (tmp_path / kind).write_text(text)
    return {kind: f"sh {tmp_path / kind}" for kind in texts}


@asynccontextmanager
async def running(
    commands: dict[str, str],
    asked: Asked,
    shown: Shown,
    backoff: Backoff = QUICK,
    helpers: dict[str, str] | None = None,
    counts: dict[str, int] | None = None,
    complain_again_s: float = 60,
) -> AsyncIterator[asyncio.Task[None]]:
    """Run a supervisor, and end it as a terminal does."""
    fleet = Supervisor(
        commands,
        os.environ,
        Path("."),
        shown.output,
        asked.hooks,
        helpers or {},
        counts or {},
        backoff=backoff,
        watch_s=0.02,
        complain_again_s=complain_again_s,
    )
    task = asyncio.create_task(fleet.run())
    await wait_until_async(lambda: signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)
    try:
        yield task
    finally:
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await task


def ups(shown: Shown, kind: str) -> list[str]:
    return [line for line in shown.lines if line.startswith(kind) and "| up" in line]


def pids(shown: Shown) -> list[int]:
    return [int(line.split()[-1]) for line in shown.lines if "| up" in line]


def line_of(shown: Shown, text: str) -> int:
    (found,) = [number for number, line in enumerate(shown.lines) if text in line]
    return found


async def test_one_of_each_kind_unless_another_number_is_wanted(tmp_path: Path) -> None:
    shown, asked = Shown(), Asked(workers=3, ready="Fleet ready")
    kinds = commands(tmp_path, web=POLITE, worker=POLITE, clock=POLITE, rollup=POLITE, other=POLITE)
    async with running(kinds, asked, shown, counts={"rollup": 2, "other": 0}):
        await wait_until_async(lambda: len(pids(shown)) == 7)
    names = sorted(line.split()[0] for line in shown.lines if "| up" in line)
    assert names == ["clock.1", "rollup.1", "rollup.2", "web.1", "worker.1", "worker.2", "worker.3"]


async def test_what_nobody_waits_for_is_started_after_the_feed_answers_or_when_it_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, asked = Shown(), Asked()
    async with running(commands(tmp_path, web=POLITE, worker=POLITE, clock=POLITE), asked, shown):
        await wait_until_async(lambda: len(pids(shown)) == 2)
        seen = asked.store_checks
        await wait_until_async(lambda: asked.store_checks > seen + 2)
        assert ups(shown, "clock") == []
        asked.ready = "Fleet ready"
        await wait_until_async(lambda: ups(shown, "clock"))
    assert line_of(shown, "Fleet ready") < line_of(shown, "clock.1  | up")
    monkeypatch.setattr(supervisor, "OTHERS_WAIT_S", 0.05)
    shown, asked = Shown(), Asked()
    async with running(commands(tmp_path, web=POLITE, clock=POLITE), asked, shown):
        await wait_until_async(lambda: ups(shown, "clock"))


async def test_workers_are_added_while_running_and_never_taken_away(tmp_path: Path) -> None:
    shown, asked = Shown(), Asked(workers=0)
    async with running(commands(tmp_path, web=POLITE, worker=POLITE), asked, shown):
        await wait_until_async(lambda: ups(shown, "web"))
        assert ups(shown, "worker") == []
        asked.workers = 2
        await wait_until_async(lambda: len(ups(shown, "worker")) == 2)
        asked.workers = 1
        seen = asked.store_checks
        await wait_until_async(lambda: asked.store_checks > seen + 2)
        assert "bye" not in shown.text


async def test_workers_stop_before_the_feed(tmp_path: Path) -> None:
    shown, asked = Shown(), Asked(workers=2)
    async with running(commands(tmp_path, web=POLITE, worker=POLITE), asked, shown):
        await wait_until_async(lambda: len(pids(shown)) == 3)
    feed = line_of(shown, "web.1    | bye")
    assert line_of(shown, "worker.1 | bye") < feed
    assert line_of(shown, "worker.2 | bye") < feed
    assert not any(map(is_alive, pids(shown)))


async def test_helpers_run_before_the_others_and_outlive_the_workers(tmp_path: Path) -> None:
    shown, asked = Shown(), Asked(workers=1)
    asked.prepared = asyncio.Event()
    others, helpers = commands(tmp_path, web=POLITE, worker=POLITE), commands(tmp_path, helper=POLITE)
    async with running(others, asked, shown, helpers=helpers):
        await wait_until_async(lambda: ups(shown, "helper"))
        assert len(pids(shown)) == 1
        asked.prepared.set()
        await wait_until_async(lambda: len(pids(shown)) == 3)
    assert line_of(shown, "worker.1 | bye") < line_of(shown, "helper.1 | bye")
    assert not any(map(is_alive, pids(shown)))


async def test_a_helper_that_dies_is_started_again(tmp_path: Path) -> None:
    shown = Shown()
    async with running({}, Asked(), shown, helpers=commands(tmp_path, helper=POLITE)):
        await wait_until_async(lambda: len(pids(shown)) == 1)
        os.kill(pids(shown)[0], signal.SIGKILL)
        await wait_until_async(lambda: len(pids(shown)) == 2)


async def test_what_cannot_be_prepared_ends_the_fleet_with_its_reason(tmp_path: Path) -> None:
    shown, asked = Shown(), Asked()
    asked.unprepared = OperatorError("the venue is away")
    helpers = commands(tmp_path, helper=POLITE)
    fleet = Supervisor(commands(tmp_path, web=POLITE), os.environ, Path("."), shown.output, asked.hooks, helpers)
    with pytest.raises(OperatorError, match="the venue is away"):
        await fleet.run()
    assert ups(shown, "web") == []
    assert not any(is_alive(pid) for pid in pids(shown))


async def test_a_stop_while_it_is_prepared_is_a_stop(tmp_path: Path) -> None:
    shown, asked = Shown(), Asked()
    asked.prepared = asyncio.Event()
    async with running(commands(tmp_path, web=POLITE), asked, shown, helpers=commands(tmp_path, helper=POLITE)):
        await wait_until_async(lambda: ups(shown, "helper"))
    assert ups(shown, "web") == []
    assert not any(is_alive(pid) for pid in pids(shown))


async def test_a_fleet_that_does_not_listen_is_stopped_within_five_seconds(tmp_path: Path) -> None:
    shown, asked = Shown(), Asked(workers=2)
    async with running(commands(tmp_path, web=DEAF, worker=DEAF), asked, shown):
        await wait_until_async(lambda: len(pids(shown)) == 3)
        asked_s = time.monotonic()
    assert time.monotonic() - asked_s < 5
    assert not any(map(is_alive, pids(shown)))


async def test_a_second_ctrl_c_kills_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "WRITERS_STOP_S", 1000)
    monkeypatch.setattr(supervisor, "WEB_STOP_S", 1000)
    shown, asked = Shown(), Asked(workers=2)
    async with running(commands(tmp_path, web=DEAF, worker=DEAF), asked, shown) as task:
        await wait_until_async(lambda: len(pids(shown)) == 3)
        os.kill(os.getpid(), signal.SIGINT)
        await wait_until_async(lambda: "stopping" in shown.text)
        os.kill(os.getpid(), signal.SIGINT)
        await wait_until_async(task.done)
    assert not any(map(is_alive, pids(shown)))


async def test_the_signals_are_given_back(tmp_path: Path) -> None:
    def handlers() -> list[object]:
        return [signal.getsignal(number) for number in supervisor.STOP_SIGNALS]

    before = handlers()
    async with running({}, Asked(), Shown()):
        assert handlers() != before
    assert handlers() == before


async def test_readiness_is_announced_once(tmp_path: Path) -> None:
    shown, asked = Shown(), Asked()
    async with running(commands(tmp_path, web=POLITE, worker=POLITE), asked, shown):
        await wait_until_async(lambda: len(pids(shown)) == 2)
        assert "Fleet ready" not in shown.text
        asked.ready = "Fleet ready: here"
        await wait_until_async(lambda: asked.ready in shown.lines)
        seen = asked.store_checks
        await wait_until_async(lambda: asked.store_checks > seen + 2)
    assert shown.lines.count("Fleet ready: here") == 1


@pytest.mark.parametrize(
    "trouble", [OperatorError("the disk is full"), StoreUnavailable("it is away"), KeyError("a bug")]
)
async def test_trouble_with_the_store_is_told_and_survived(tmp_path: Path, trouble: Exception) -> None:
    shown, asked = Shown(), Asked()
    async with running(commands(tmp_path, web=POLITE, worker=POLITE), asked, shown):
        await wait_until_async(lambda: len(pids(shown)) == 2)
        asked.trouble = trouble
        told = str(trouble) if isinstance(trouble, FleetError) else "KeyError: 'a bug'"
        await wait_until_async(lambda: f"fleet    | {told}" in shown.lines)
        await wait_until_async(lambda: "number of workers unknown, kept as it is" in shown.text)
        asked.trouble, asked.workers = None, 2
        await wait_until_async(lambda: len(ups(shown, "worker")) == 2)


async def test_a_complaint_is_said_once_and_again_after_a_while(tmp_path: Path) -> None:
    shown, asked = Shown(), Asked()
    async with running(commands(tmp_path, web=POLITE), asked, shown):
        asked.complaints = {"disk": "the disk is full"}
        await wait_until_async(lambda: "fleet    | the disk is full" in shown.lines)
        asked.complaints = {"disk": "the disk is full", "memory": "the memory is full"}
        await wait_until_async(lambda: "fleet    | the memory is full" in shown.lines)
        seen = asked.complaint_checks
        await wait_until_async(lambda: asked.complaint_checks > seen + 3)
        assert shown.lines.count("fleet    | the disk is full") == 1
    shown = Shown()
    async with running(commands(tmp_path, web=POLITE), asked, shown, complain_again_s=0.05):
        await wait_until_async(lambda: shown.lines.count("fleet    | the disk is full") == 3)


async def test_a_process_asked_to_stop_while_it_starts_does_stop(tmp_path: Path) -> None:
    shown = Shown()
    async with running(commands(tmp_path, web="sleep 1000", worker="sleep 1000"), Asked(), shown):
        pass  # at once
    assert "killed" not in shown.text


def test_handled_calls_the_handler_only_inside() -> None:
    got: list[int] = []
    # Under nohup it is ignored.
    before = signal.getsignal(signal.SIGHUP)
    with supervisor.handled([signal.SIGHUP], lambda number, _: got.append(number)):
        os.kill(os.getpid(), signal.SIGHUP)
    assert got == [signal.SIGHUP]
    assert signal.getsignal(signal.SIGHUP) is before


async def test_a_question_that_swallows_its_cancellation_does_not_keep_the_fleet_from_stopping(
    tmp_path: Path,
) -> None:
    asked, shown = Asked(), Shown()
    asked.stubborn = True
    async with running(commands(tmp_path, web=POLITE, worker=POLITE), asked, shown) as task:
        await wait_until_async(lambda: asked.asking and len(pids(shown)) == 1)
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await wait_until_async(task.done)
        except AssertionError:
            task.cancel()
            raise
    assert not any(is_alive(pid) for pid in pids(shown))
