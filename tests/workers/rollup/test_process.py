"""Roll-up and clock processes, killed and stopped: every job is done in the end, and nobody is left over."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
import redis
from rq import Callback, Queue
from rq.serializers import JSONSerializer

from common.market.coding.codec import unpack_candle
from common.market.timeframes.timeframe import DAY_MS
from common.store.client import commit_client
from common.store.jobs import QUEUE, FailedJob
from common.store.keys import ARCHIVE_TROUBLE, CLOCK, FAILURES
from common.store.rollups import RollupStore
from infra.local import die_with_parent, embedded
from tests.kit.processes.delay import waited_s
from tests.kit.processes.rollup import LEASE_MS, START_S, clock, rollup, rollup_of_fleet
from tests.kit.processes.supervised import is_alive
from tests.kit.waiting import wait_until, wait_until_async
from tests.kit.writer import START_MS, Writer
from workers.clock.due import due_work
from workers.rollup.rq_queue import JobQueue, rq_client
from workers.rollup.work import Work

pytestmark = pytest.mark.process


@pytest.fixture
def rq(redis_url: str) -> "Iterator[redis.Redis]":
    with rq_client(redis_url) as made:
        yield made


def texts(rq: "redis.Redis", key: str) -> list[str]:
    found: Any = rq.lrange(key, 0, -1)
    return [text.decode() for text in found]


def keys(rq: "redis.Redis", pattern: str) -> list[str]:
    found: Any = rq.keys(pattern)
    return [key.decode() for key in found]


def failed(rq: "redis.Redis") -> list[FailedJob]:
    found: Any = rq.hvals(FAILURES)
    return [FailedJob.load(text) for text in found]


def horse_of(parent: int) -> int:
    (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(child)


def ticking(rq: "redis.Redis", work: Work, condition: Callable[[], object]) -> Callable[[], bool]:
    """The condition, while the work is offered again and again."""
    queue = JobQueue(rq)

    def hold() -> bool:
        queue.offer([work])
        return bool(condition())

    return hold


@pytest.mark.parametrize("killed", ["child", "parent", "both"])
def test_a_job_whose_processes_are_killed_is_done_in_the_end(rq: "redis.Redis", redis_url: str, killed: str) -> None:
    work = Work("wait", "T:S", 0)
    JobQueue(rq).offer([work])
    with rollup(redis_url) as first:
        wait_until(lambda: texts(rq, "started"), START_S)
        horse = horse_of(first.pid)
        for pid in {"child": [horse], "parent": [first.pid], "both": [first.pid, horse]}[killed]:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(horse))
        rq.set("go", 1)
        if killed == "child":
            wait_until(lambda: failed(rq))
            assert failed(rq)[0].reason == "Killed: the job's process was ended by SIGKILL"
            wait_until(ticking(rq, work, lambda: texts(rq, "done")))
        else:
            first.wait()
            with rollup(redis_url):
                wait_until(ticking(rq, work, lambda: texts(rq, "done")), START_S)
        wait_until(lambda: not failed(rq))
    assert texts(rq, "started") == ["T:S"] * 2
    assert texts(rq, "done") == ["T:S"]


def test_a_failed_job_is_told_with_its_reason_until_it_succeeds_and_none_but_ours_is_run(
    rq: "redis.Redis", redis_url: str, tmp_path: Path
) -> None:
    work = Work("fail", "T:S", 0)
    foreign = Queue(QUEUE, connection=rq, serializer=JSONSerializer)
    foreign.enqueue_call("os.mkdir", args=(str(tmp_path / "made"),), job_id="foreign")
    foreign.enqueue_call("mark", args=("T:S", 0), job_id="callback", on_success=Callback("os.getpid"))
    with rollup(redis_url):
        wait_until(
            ticking(rq, work, lambda: {each.job: each.times for each in failed(rq)}.get(work.job, 0) > 1), START_S
        )
        told = {each.job: each for each in failed(rq)}
        assert told[work.job].reason == "OSError: [Errno 28] No space left on device"
        assert told["foreign"].refused
        assert told["foreign"].reason == "UnknownFunction: job function is 'os.mkdir', expected one of mark, wait, fail"
        assert not (tmp_path / "made").exists()
        rq.set("ok", 1)
        wait_until(ticking(rq, work, lambda: [each.job for each in failed(rq)] == ["foreign"]))
    # A callback that was called would have failed that job.
    assert texts(rq, "done") == ["T:S"] * 2


UNAVAILABLE = """
import sys
from common import log
from common.errors import ArchiveUnavailable
from workers.rollup.serve import serve

def fail(symbol: str, _: int) -> None:
    if symbol == "T:BUG":
        raise OSError("a bug")
    raise ArchiveUnavailable("archive /there: gone" if symbol == "T:S" else "archive /there: full")

log.setup("info", "json")
serve(sys.argv[1], {"fail": fail, "archive": fail}, 20)
"""


def test_what_is_wrong_with_the_deployment_is_logged_once_in_a_sentence_and_a_bug_with_its_traceback(
    rq: "redis.Redis", redis_url: str, tmp_path: Path
) -> None:
    def times(work: Work) -> int:
        return {each.job: each.times for each in failed(rq)}.get(work.job, 0)

    with open(tmp_path / "log", "wb") as log:
        command = [sys.executable, die_with_parent.__file__, str(os.getpid()), sys.executable, "-c", UNAVAILABLE]
        with subprocess.Popen([*command, redis_url], stderr=log) as process:
            known, other, bug, reading = (
                Work(function, symbol, 0)
                for function, symbol in (("archive", "T:S"), ("archive", "T:OTHER"), ("fail", "T:BUG"), ("fail", "T:S"))
            )
            wait_until(ticking(rq, known, lambda: times(known) > 2), START_S)
            wait_until(ticking(rq, other, lambda: times(other) > 0), START_S)
            wait_until(ticking(rq, bug, lambda: times(bug) > 0), START_S)
            wait_until(ticking(rq, reading, lambda: times(reading) > 1), START_S)
            process.terminate()
    lines = (tmp_path / "log").read_text().splitlines()
    told = [each for each in map(orjson.loads, lines) if each["event"] == "job failed"]
    of_known = [each for each in told if each["job"] == known.job]
    # Of an archive that can't be written every symbol has jobs: it is told once for all of them.
    assert [each["level"] for each in of_known] == ["error"]
    assert [each for each in told if each["job"] == other.job] == []
    assert [each["level"] for each in told if each["job"] == reading.job][:2] == ["error", "info"]
    assert rq.get(ARCHIVE_TROUBLE) == b"archive /there: full" and rq.ttl(ARCHIVE_TROUBLE) > 3_600
    assert len([line for line in lines if "Traceback" in line and "ArchiveUnavailable" in line]) == 0
    assert [line for line in lines if "Traceback" in line and "a bug" in line]


def test_a_job_that_is_done_has_not_failed_because_of_what_rq_has_forgotten_of_it(
    rq: "redis.Redis", redis_url: str
) -> None:
    """As where the store went back in time, and the job's parent says once more that it is alive."""
    work = Work("wait", "T:S", 0)
    with rollup(redis_url):
        JobQueue(rq).offer([work])
        wait_until(lambda: texts(rq, "started"), START_S)
        (execution,) = keys(rq, f"rq:execution:{work.job}:*")
        rq.hdel(execution, "id", "created_at", "worker_name")
        rq.set("go", 1)
        wait_until(lambda: not rq.exists(f"rq:job:{work.job}"))
    assert (texts(rq, "done"), failed(rq)) == (["T:S"], [])
    assert keys(rq, f"rq:execution*{work.job}*") == []


def test_a_job_that_runs_is_not_enqueued_again(rq: "redis.Redis", redis_url: str) -> None:
    work, queue = Work("wait", "T:S", 0), JobQueue(rq)
    with rollup(redis_url):
        assert queue.offer([work]) == 1
        wait_until(lambda: texts(rq, "started"), START_S)
        assert queue.offer([work]) == 0
        rq.set("go", 1)
        wait_until(lambda: texts(rq, "done"))
        # Its id is free at once.
        wait_until(lambda: queue.offer([work]))
        wait_until(lambda: texts(rq, "done") == ["T:S"] * 2)


def test_a_stop_in_the_middle_of_a_job_is_quick_and_no_failure(rq: "redis.Redis", redis_url: str) -> None:
    work = Work("wait", "T:S", 0)
    JobQueue(rq).offer([work])
    with rollup(redis_url) as first:
        wait_until(lambda: texts(rq, "started"), START_S)
        asked_s, before_s = time.monotonic(), waited_s(first.pid)
        first.terminate()
        # It has ended, and can still be asked how long it had to wait for a core.
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
        assert time.monotonic() - asked_s - (waited_s(first.pid) - before_s) < 2.5
        assert first.wait() == 0
    assert failed(rq) == []
    rq.set("go", 1)
    with rollup(redis_url):
        wait_until(ticking(rq, work, lambda: texts(rq, "done")), START_S)


async def test_finished_days_are_rolled_up_archived_and_again_when_they_are_corrected(
    redis_url: str, tmp_path: Path
) -> None:
    async with commit_client(redis_url) as client:
        writer = Writer(client)
        await writer.register()
        await writer.claim()
        store = RollupStore(client, writer.instrument.symbol)

        async def rolled(trades: list[int]) -> bool:
            members: Any = await client.zrange(store.keys.rolled("1d"), 0, -1)
            return [candle.trades for candle in map(unpack_candle, members)] == trades

        async def nothing_is_due() -> bool:
            return not await due_work(client, archiving=True, trades_kept=writer.trades_kept)

        for number in range(3):
            await writer.commit(writer.trade(START_MS + number * DAY_MS))
        with rollup_of_fleet(redis_url, tmp_path), clock(redis_url, FLEET_ARCHIVE_URL=str(tmp_path)):
            await wait_until_async(lambda: rolled([1, 1]), START_S)
            await writer.commit(writer.trade(START_MS + 1_000))
            await wait_until_async(lambda: rolled([2, 1]))
            await wait_until_async(nothing_is_due, START_S)
        archived = sorted(path.removeprefix(f"{tmp_path}/") for path in glob(f"{tmp_path}/*/*/*"))
        place = f"symbol={quote(writer.instrument.symbol)}"
        days = [f"{day}.parquet" for day in ("2023-11-14", "2023-11-15", "2023-11-16")]
        # The last day is not over, so it is not sealed; trades are archived as they come.
        wanted = [f"candles/{place}/2023-11.parquet", *(f"footprints/{place}/{day}" for day in days[:2])]
        assert archived == [*wanted, *(f"trades/{place}/{day}" for day in days)]


def test_a_clock_that_dies_is_followed_by_the_one_that_waits(rq: "redis.Redis", redis_url: str) -> None:
    def holder() -> int:
        found: Any = rq.get(CLOCK)
        return int((found or b":0 ").partition(b" ")[0].rpartition(b":")[2])

    with clock(redis_url) as one, clock(redis_url) as two:
        wait_until(holder, START_S)
        # Both are up: the lease is asked for by who does not have it.
        first, second = (one, two) if holder() == one.pid else (two, one)
        wait_until(lambda: len(rq.client_list()) >= 3, START_S)
        before_s = waited_s(second.pid)
        first.kill()
        died_s = time.monotonic()
        wait_until(lambda: holder() == second.pid, START_S)
        assert time.monotonic() - died_s - (waited_s(second.pid) - before_s) < LEASE_MS / 1_000 + 1
        second.terminate()
        assert second.wait() == 0
        assert holder() == 0


def test_roll_up_and_clock_outlive_their_redis(tmp_path: Path) -> None:
    with embedded.session(tmp_path) as url, rq_client(url) as rq, rollup(url) as worker, clock(url) as ticker:
        wait_until(lambda: rq.exists(CLOCK) and rq.smembers(f"rq:workers:{QUEUE}"), START_S)
        info: Any = rq.info("server")
        os.kill(int(info["process_id"]), signal.SIGKILL)
        wait_until(lambda: embedded.locate(tmp_path) is None)
        embedded.revive(tmp_path)
        rq.delete(CLOCK)
        JobQueue(rq).offer([Work("mark", "T:S", 0)])
        wait_until(lambda: texts(rq, "done") == ["T:S"] and rq.exists(CLOCK), START_S)
        assert (worker.poll(), ticker.poll()) == (None, None)
