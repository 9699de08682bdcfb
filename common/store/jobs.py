"""The roll-up queue as its readers see it, and the ledger of its failed jobs.

RQ's own keys are read directly, so that the feed need not load RQ; they are stable since RQ 1 and pinned with it:

    rq:queue:<q>     list of queued job ids
    rq:job:<job id>  hash, while the job is queued or running
    rq:wip:<q>       sorted set of <job id>:<execution id>, running
    rq:workers:<q>   set of worker keys; a worker's hash expires when it gives no sign of life

RQ would keep a failed job under its id, and refuse the id while it does. So RQ forgets it at once, and what is to be
known of it is a field of the hash `{}:failures`, until the job succeeds or an operator clears it.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from redis.asyncio import Redis

from common.store.client import translated
from common.store.keys import ARCHIVE_TROUBLE, FAILURES

# RQ's name of the one queue.
QUEUE = "rollup"
QUEUED = f"rq:queue:{QUEUE}"
RUNNING = f"rq:wip:{QUEUE}"
WORKERS = f"rq:workers:{QUEUE}"

# A job that has failed is tried again after ever longer waits, up to an hour.
RETRY_MOST_MS = 3_600_000
# A job that is none of ours is not tried again; it is shown for a day.
REFUSED_SHOWN_MS = 86_400_000
# By how much the clocks of two machines may differ.
MAX_SKEW_MS = 60_000
# Each is some 300 bytes. More are logged only.
MAX_FAILURES = 1_000
# What is told of why: one sentence.
REASON_LENGTH = 300
# Why the archive can't be written is said again by each job that fails for it, within RETRY_MOST_MS.
ARCHIVE_TROUBLE_S = 2 * RETRY_MOST_MS // 1_000


@dataclass(frozen=True, slots=True)
class FailedJob:
    """What is known of a failed job. Times in ms UTC of the machine it failed on."""

    job: str
    # Exception type and its first line.
    reason: str
    at_ms: int
    # How often in a row.
    times: int
    # Not before then is it tried again.
    next_ms: int
    # It named a function that is none of the queue's.
    refused: bool = False

    def waits(self, now_ms: int) -> bool:
        """Whether it is not to be tried yet. By a clock that was set it may have failed in what is the future now."""
        return self.at_ms - MAX_SKEW_MS <= now_ms < self.next_ms

    def dump(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def load(cls, text: bytes) -> "FailedJob":
        return cls(**orjson.loads(text))


def failure(
    job: str, reason: str, now_ms: int, first_retry_ms: int, before: FailedJob | None = None, *, refused: bool = False
) -> FailedJob:
    """The job's next entry. `before`: its last one; `first_retry_ms`: the wait after a first failure."""
    times = before.times + 1 if before else 1
    wait_ms = REFUSED_SHOWN_MS if refused else min(RETRY_MOST_MS, first_retry_ms * 2 ** min(times - 1, 30))
    return FailedJob(job, reason[:REASON_LENGTH], now_ms, times, now_ms + wait_ms, refused)


@dataclass(frozen=True, slots=True)
class JobsView:
    """The queue at one moment. `workers`: roll-up processes alive; `failures`: latest first.

    `archive_trouble`: why the archive can't be written; "" where it can, as far as is known.
    """

    queued: int
    running: tuple[str, ...]
    workers: int
    failures: tuple[FailedJob, ...]
    archive_trouble: str = ""


class Jobs:
    """`client` is of the queue's Redis."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def view(self) -> JobsView:
        with translated("read of the queue"):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.llen(QUEUED)
            pipeline.zrange(RUNNING, 0, -1)
            pipeline.hvals(FAILURES)
            pipeline.smembers(WORKERS)
            pipeline.get(ARCHIVE_TROUBLE)
            queued, running, failures, workers, trouble = await pipeline.execute()
            alive: Any = await self._client.exists(*workers) if workers else 0
        names = tuple(job_of(member.decode()) for member in running)
        return JobsView(queued, names, alive, _latest_first(failures), (trouble or b"").decode())

    async def queued(self, limit: int) -> list[str]:
        """Ids of queued jobs, the next one first."""
        with translated("read of the queue"):
            found: Any = await self._client.lrange(QUEUED, 0, limit - 1)
        return [job.decode() for job in found]

    async def failures(self) -> dict[str, FailedJob]:
        with translated("read of the failed jobs"):
            found: Any = await self._client.hvals(FAILURES)
        return {each.job: each for each in map(FailedJob.load, found)}

    async def retry(self, job: str) -> bool:
        """Let the next tick try it again; False if no such job has failed."""
        found = (await self.failures()).get(job)
        if found is None or found.refused:
            return False
        again = FailedJob(found.job, found.reason, found.at_ms, found.times, next_ms=0)
        with translated(f"retry of {job}"):
            await self._client.hset(FAILURES, job, again.dump())
        return True

    async def forget(self, jobs: Iterable[str]) -> int:
        """Drop what is known of them; return of how many something was."""
        names = list(jobs)
        if not names:
            return 0
        with translated("clearing of failed jobs"):
            return int(await self._client.hdel(FAILURES, *names))

    async def archive_fails(self, reason: str) -> None:
        with translated("note of the archive"):
            await self._client.set(ARCHIVE_TROUBLE, reason[:REASON_LENGTH], ex=ARCHIVE_TROUBLE_S)

    async def archive_works(self) -> bool:
        """Note that it can be written; whether it is news."""
        with translated("note of the archive"):
            return bool(await self._client.delete(ARCHIVE_TROUBLE))

    async def withdraw(self, jobs: Iterable[str]) -> None:
        """Take queued jobs out of the queue."""
        names = list(jobs)
        if not names:
            return
        pipeline = self._client.pipeline(transaction=True)
        for job in names:
            pipeline.lrem(QUEUED, 0, job)
        pipeline.delete(*(f"rq:job:{job}" for job in names))
        with translated("withdrawal of jobs"):
            await pipeline.execute()


def job_of(execution: str) -> str:
    """The job's id in a member of RQ's registry of running jobs."""
    return execution.partition(":")[0]


def _latest_first(failures: Iterable[bytes]) -> tuple[FailedJob, ...]:
    return tuple(sorted(map(FailedJob.load, failures), key=lambda each: -each.at_ms))
