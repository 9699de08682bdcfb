"""The clock's side of RQ: enqueue what is not there, and free what the dead have left behind.

RQ's client is synchronous, so this is. Facts about RQ 2.12 that decide it are in docs/queue.md.
"""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.exceptions import DuplicateJobError
from rq.serializers import JSONSerializer

from common.store import scripts
from common.store.client import COMMAND_TIMEOUT_S, translated
from common.store.jobs import QUEUE, QUEUED, RUNNING, WORKERS, job_of
from workers.rollup.work import Work

# A job is some days of one symbol: a second or two. A longer one is stuck.
JOB_TIMEOUT_S = 120
# RQ must forget a failed job before it is tried again, or it refuses the id.
FAILURE_TTL_S = 1
# More are not enqueued ahead: the next tick goes on, and the work itself is marked in the store.
MAX_QUEUED = 1_000

# With fewer the next tick does not wait for its time: some seconds of work for a few processes.
MIN_QUEUED = 16

# How often a roll-up process tells RQ that its job is still under way.
MONITORING_S = 5
# RQ keeps the sign of life for that long beyond the next one (fixed in its code).
SIGN_TTL_S = MONITORING_S + 60
# A job without a sign of life for this long has lost its process. Told by the server's clock alone.
DEAD_S = 20
# A job that is neither queued nor running is passed on within milliseconds, unless its process died doing it.
STRAY_S = 5

_JOB, _EXECUTION, _EXECUTIONS, _WORKER = "rq:job:", "rq:execution:", "rq:executions:", "rq:worker:"
_INTERMEDIATE = f"{QUEUED}:intermediate"


def rq_client(url: str) -> Redis:
    """For everything of RQ. Nothing is sent twice: an enqueue whose reply is lost is seen by the next tick."""
    return Redis.from_url(
        url,
        socket_timeout=COMMAND_TIMEOUT_S,
        socket_connect_timeout=COMMAND_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


def worker_name() -> str:
    """Of this process, never used before: RQ refuses the name of one that died a minute ago."""
    return f"{_place(os.getpid())}{uuid4().hex[:8]}"


class JobQueue:
    def __init__(self, client: Redis, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._queue = Queue(QUEUE, connection=client, serializer=JSONSerializer)
        self._put_in_order = client.register_script(scripts.put_in_order.text())
        self._monotonic_s = monotonic_s
        # Jobs that RQ refuses as known although they are neither queued nor running, and since when.
        self._strays: dict[str, float] = {}

    def offer(self, works: Sequence[Work]) -> int:
        """Enqueue what is neither queued nor running, up to MAX_QUEUED; return how much it was.

        All that is queued is then in rounds, one job of each symbol in each: no symbol's backlog goes before others.
        """
        with translated("enqueueing"):
            queued = {job.decode() for job in _bytes(self._client.lrange(QUEUED, 0, -1))}
            there = queued | {job_of(execution) for execution in self._executions()}
            missing = [work for work in works if work.job not in there][: max(0, MAX_QUEUED - len(queued))]
            refused = {work.job for work in missing if not self._enqueue(work)}
            self._delete_strays(refused)
            if queued and missing:
                self._put_in_order([QUEUED], scripts.put_in_order.pack(queued=QUEUED, rounds=_rounds(works)))
        return len(missing) - len(refused)

    def is_low(self) -> bool:
        """Whether those who work will soon have nothing to do."""
        with translated("look at the queue"):
            length: Any = self._client.llen(QUEUED)
        return bool(length < MIN_QUEUED)

    def free_dead(self) -> list[str]:
        """Forget running jobs without a sign of life; return their ids. The next tick enqueues them again."""
        with translated("look for dead jobs"):
            return self._free(lambda execution: self._client.ttl(_EXECUTION + execution) < SIGN_TTL_S - DEAD_S)

    def free_ours(self) -> list[str]:
        """Forget what processes of this machine have left that are gone; to be called before this one works.

        At once, not after DEAD_S: a supervisor starts us again within a second.
        """
        with translated("look for jobs left behind"):
            for key in _bytes(self._client.smembers(WORKERS)):
                if _is_gone(key.decode().removeprefix(_WORKER)):
                    self._client.delete(key)
                    self._client.srem(WORKERS, key)
                    self._client.srem("rq:workers", key)
            return self._free(lambda execution: _is_gone(self._worker_of(execution)))

    def _enqueue(self, work: Work) -> bool:
        try:
            self._queue.enqueue_call(
                work.function,
                args=work.arguments,
                job_id=work.job,
                unique=True,
                timeout=JOB_TIMEOUT_S,
                result_ttl=0,
                failure_ttl=FAILURE_TTL_S,
            )
        except DuplicateJobError:
            return False
        return True

    def _delete_strays(self, refused: set[str]) -> None:
        now_s = self._monotonic_s()
        self._strays = {job: self._strays.get(job, now_s) for job in refused}
        for job in [job for job, since_s in self._strays.items() if now_s - since_s >= STRAY_S]:
            self._forget(job)

    def _free(self, is_dead: Callable[[str], bool]) -> list[str]:
        dead = [execution for execution in self._executions() if is_dead(execution)]
        for execution in dead:
            self._forget(job_of(execution), execution)
        return [job_of(execution) for execution in dead]

    def _executions(self) -> list[str]:
        """Of running jobs: `<job id>:<execution id>`."""
        return [execution.decode() for execution in _bytes(self._client.zrange(RUNNING, 0, -1))]

    def _forget(self, job: str, execution: str | None = None) -> None:
        """All that RQ keeps of it, in one step. If its process lives after all, it runs twice, which is safe."""
        with self._client.pipeline() as pipeline:
            if execution:
                pipeline.zrem(RUNNING, execution)
                pipeline.delete(_EXECUTION + execution)
            pipeline.delete(_JOB + job, _EXECUTIONS + job)
            pipeline.lrem(_INTERMEDIATE, 0, job)
            pipeline.execute()

    def _worker_of(self, execution: str) -> str:
        name: Any = self._client.hget(_EXECUTION + execution, "worker_name")
        return (name or b"").decode()


def _rounds(works: Iterable[Work]) -> Iterator[tuple[str, int]]:
    """Each job, and how many of its symbol go before it."""
    before = Counter[str]()
    for work in works:
        yield work.job, before[work.symbol]
        before[work.symbol] += 1


def _bytes(found: Any) -> Iterable[bytes]:
    """What the client returns while it does not decode; its types say all that it could be."""
    values: Iterable[bytes] = found
    return values


def _place(pid: int | str) -> str:
    return f"{socket.gethostname()}.{pid}."


def _is_gone(worker: str) -> bool:
    """Was it a process of this machine that is no more, or an earlier worker of this very process?"""
    pid = worker.rpartition(".")[0].rpartition(".")[2]
    if not pid.isdigit() or not worker.startswith(_place(pid)):
        return False
    if int(pid) == os.getpid():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
