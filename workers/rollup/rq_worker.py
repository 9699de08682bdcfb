"""RQ's worker as we run it: our functions only, failures in our ledger, no strays."""

import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from redis import Redis
from rq import Queue
from rq.exceptions import ShutDownImminentException
from rq.executions import Execution, ExecutionRegistry
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import HerokuWorker

from common.errors import ArchiveUnavailable, FleetError
from common.redact import redacted
from common.store.jobs import ARCHIVE_TROUBLE_S, MAX_FAILURES, QUEUE, FailedJob, failure
from common.store.keys import ARCHIVE_TROUBLE, FAILURES
from workers.rollup.rq_queue import FAILURE_TTL_S, MONITORING_S, worker_name
from workers.rollup.work import ARCHIVE

log = logging.getLogger(__name__)
# RQ tells each failure with its traceback, which `_failed` does where it is a bug, and once.
_TOLD_BY_RQ = "exception raised while executing"
logging.getLogger("rq.worker").addFilter(lambda record: _TOLD_BY_RQ not in str(record.msg))

# An idle worker blocks for this less 15 s, then gives a sign of life. RQ's default makes a dead one look alive for
# eight minutes.
WORKER_TTL_S = 30
# How often an idle worker looks for jobs that others abandoned.
MAINTENANCE_S = 15
# A job gets this long to end when we are stopped; the supervisor kills us after 2.5 s in all.
SHUTDOWN_S = 1
# Between two calls of `on_sign`.
MIN_SIGN_S = 5.0
# RQ doubles its wait while Redis is away.
RECONNECT_MOST_S = 2.0

PR_SET_PDEATHSIG = 1  # from linux/prctl.h

Bug = tuple[type[BaseException], BaseException, TracebackType]
Functions = Mapping[str, Callable[..., object]]


class UnknownFunction(Exception):
    """A job names a function that is none of the queue's."""


class Executions(ExecutionRegistry):
    """The executions of a job, by their names alone: no more is needed to forget them.

    RQ's own reads each, and fails the job that has been done where one has been freed, or the store went back in time,
    and its process gave another sign of life: that makes half of one.
    """

    def get_executions(self, start: int = 0, end: int = -1) -> list[Execution]:
        return [Execution(name, self.job_id, self.connection) for name in self.get_execution_ids(start, end)]


class OwnJob(Job):
    """A job that can call nothing but `functions`.

    RQ's own imports whatever a job names: the function, three callbacks, an attribute of an instance.
    """

    functions: Functions = {}

    @property
    def func(self) -> Callable[..., object]:
        found = self.functions.get(str(self.func_name))
        if found is None or self.instance is not None:
            raise UnknownFunction(f"job function is {self.func_name!r}, expected one of {', '.join(self.functions)}")
        return found

    @property
    def execution_registry(self) -> Executions:
        return Executions(self.id, self.connection)

    @property
    def success_callback(self) -> None:
        return None

    @property
    def failure_callback(self) -> None:
        return None

    @property
    def stopped_callback(self) -> None:
        return None

    def send_webhooks(self, status: object, *, exc_string: str | None = None) -> None:
        """None are: they would call any address that a job names."""


class Stopping:
    """Whether a roll-up process was told to stop. A job's process has one of its own, from the fork on."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self) -> None:
        self._asked = True

    def __call__(self) -> bool:
        return self._asked


@dataclass(frozen=True, slots=True)
class RollupHooks:
    """What a roll-up process does besides its jobs."""

    # Told in this process and in that of a job.
    stopping: Stopping = field(default_factory=Stopping)
    # Called with the symbol of a job, before its process is forked.
    prepare: Callable[[str], None] = lambda symbol: None
    # Called every 15 s at least.
    on_sign: Callable[[], None] = lambda: None


class RollupWorker(HerokuWorker):
    """Forks for each job, as jobs need memory that only the end of a process gives back."""

    imminent_shutdown_delay = SHUTDOWN_S
    max_connection_wait_time = RECONNECT_MOST_S
    log_result_lifespan = False

    def __init__(
        self, client: Redis, functions: Functions, first_retry_ms: int, hooks: RollupHooks | None = None
    ) -> None:
        job_class = type("OwnJob", (OwnJob,), {"functions": functions})
        super().__init__(
            [Queue(QUEUE, connection=client, serializer=JSONSerializer, job_class=job_class)],
            name=worker_name(),
            connection=client,
            job_class=job_class,
            serializer=JSONSerializer,
            worker_ttl=WORKER_TTL_S,
            maintenance_interval=MAINTENANCE_S,
            job_monitoring_interval=MONITORING_S,
            exception_handlers=[self._failed],
            work_horse_killed_handler=self._killed,
            log_job_description=False,
        )
        self._hooks = hooks or RollupHooks()
        self._first_retry_ms = first_retry_ms
        self._next_sign_s = 0.0

    def request_stop(self, signum: int, frame: Any) -> None:
        self._hooks.stopping.ask()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        if job.args:
            self._hooks.prepare(str(job.args[0]))
        super().fork_work_horse(job, queue)

    def setup_work_horse_signals(self) -> None:
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]
        if self._hooks.stopping():
            # Told before there was a process of the job that could have been.
            self.request_stop_sigrtmin(signal.SIGRTMIN, None)

    def request_stop_sigrtmin(self, signum: int, frame: Any) -> None:
        """In the job's process: a job of several parts ends with the one under way; in SHUTDOWN_S any is given up."""
        self._hooks.stopping.ask()
        super().request_stop_sigrtmin(signum, frame)  # type: ignore[no-untyped-call]

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """RQ's sign of life: every 15 s when idle, else more often, and in the job's process, too."""
        super().heartbeat(timeout, pipeline)
        if os.getpid() == self.pid and time.monotonic() >= self._next_sign_s:
            self._next_sign_s = time.monotonic() + MIN_SIGN_S
            self._hooks.on_sign()

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """In the forked process. It leaves the process group, so only the kernel ends it with its parent."""
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self.pid:
                os._exit(1)
        super().main_work_horse(job, queue)

    def handle_job_success(self, job: Job, queue: Queue, started_job_registry: Any) -> None:
        # First: RQ forgets the job with the next line, and this would never be done.
        self.connection.hdel(FAILURES, job.id)
        super().handle_job_success(job, queue, started_job_registry)

    def _failed(self, job: Job, kind: type[BaseException], error: BaseException, where: TracebackType) -> bool:
        """RQ's handler of what a job raises, and of a job that was abandoned. False: no other handler."""
        # Also of a job that others enqueued: RQ would keep it for a year.
        job.failure_ttl = FAILURE_TTL_S
        if kind is not ShutDownImminentException:
            lines = str(error).strip().splitlines()
            reason = f"{kind.__name__}: {lines[0]}" if lines else kind.__name__
            is_bug = not issubclass(kind, (FleetError, UnknownFunction))
            # Of every symbol a job fails then, again and again. Others, which only read it, say so themselves.
            is_unwritable = job.func_name == ARCHIVE and issubclass(kind, ArchiveUnavailable)
            is_known = is_unwritable and not self._is_news(lines[0] if lines else reason)
            bug = (kind, error, where) if is_bug else None
            self._note(job, reason, refused=kind is UnknownFunction, bug=bug, is_known=is_known)
        return False

    def _is_news(self, archive_trouble: str) -> bool:
        """Note why the archive can't be written; whether it could until now."""
        told = redacted(archive_trouble)
        return self.connection.set(ARCHIVE_TROUBLE, told, ex=ARCHIVE_TROUBLE_S, get=True) is None

    def _killed(self, job: Job, pid: int | None, status: int | None, usage: object) -> None:
        """RQ's handler of a process that did not end by itself."""
        ended = "without a word"
        if status is not None and os.WIFSIGNALED(status):
            ended = f"by {signal.Signals(os.WTERMSIG(status)).name}"
        self._note(job, f"Killed: the job's process was ended {ended}")

    def _note(
        self, job: Job, reason: str, *, refused: bool = False, bug: Bug | None = None, is_known: bool = False
    ) -> None:
        text: Any = self.connection.hget(FAILURES, job.id)
        before = FailedJob.load(text) if text else None
        now_ms = time.time_ns() // 1_000_000
        found = failure(job.id, redacted(reason), now_ms, self._first_retry_ms, before, refused=refused)
        # The same again is no news: health, doctor and `fleet jobs` have it as long as it lasts.
        level = logging.INFO if before and before.reason == found.reason else logging.ERROR
        level = logging.DEBUG if is_known else level
        log.log(level, "job failed", exc_info=bug, extra={"job": job.id, "reason": found.reason, "times": found.times})
        if before or self.connection.hlen(FAILURES) < MAX_FAILURES:
            self.connection.hset(FAILURES, job.id, found.dump())
