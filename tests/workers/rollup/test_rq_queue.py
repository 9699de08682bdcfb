"""The queue and the clock's ticks against a real server: what is due is enqueued once, and nothing is stuck."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from common.archive.series import CANDLE_ROWS, FOOTPRINT_ROWS
from common.errors import StoreUnavailable
from common.market.timeframes.timeframe import Timeframe
from common.series import MINUTE_SERIES
from common.store.clock_lease import ClockLease, clock_holder
from common.store.jobs import QUEUED, FailedJob, Jobs, failure
from common.store.keys import FAILURES
from tests.kit.clocks import FakeClock
from workers.clock.due import in_turn
from workers.clock.ticker import Ticker
from workers.rollup import rq_queue
from workers.rollup.rq_queue import DEAD_S, SIGN_TTL_S, STRAY_S, JobQueue, rq_client
from workers.rollup.rq_worker import RollupWorker
from workers.rollup.work import Work

WORKS = [Work("roll", f"T:S{number}", 86_400_000) for number in range(3)]
LEASE_MS = 300

symbols = st.text("AZ09:_.-", min_size=1, max_size=32)
works = st.one_of(
    st.builds(lambda symbol, day: Work("roll", symbol, day), symbols, st.integers(0, 99)),
    st.builds(
        lambda symbol, series, day: Work("archive", symbol, day, (series,)),
        symbols,
        st.sampled_from(["candles", "trades"]),
        st.integers(0, 99),
    ),
)


@pytest.fixture
def rq(redis_url: str) -> "Iterator[redis.Redis]":
    with rq_client(redis_url) as made:
        yield made


def ticker(client: Redis, rq: "redis.Redis", clock: FakeClock, due: Sequence[Work], token: str = "one") -> Ticker:
    async def wanted() -> Sequence[Work]:
        return due

    return Ticker(wanted, Jobs(client), JobQueue(rq), ClockLease(client, token, LEASE_MS), clock, LEASE_MS, 10)


def queued(rq: "redis.Redis") -> list[str]:
    found: Any = rq.lrange(QUEUED, 0, -1)
    return [job.decode() for job in found]


@given(works, works)
def test_a_job_id_is_of_one_work_and_rq_takes_it(one: Work, other: Work) -> None:
    assert (one.job == other.job) == (one == other)
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", one.job)


def test_no_symbol_waits_for_all_of_another() -> None:
    groups = [[Work("roll", symbol, day) for day in range(days)] for symbol, days in (("A", 3), ("B", 1))]
    assert [(work.symbol, work.period_ms) for work in in_turn(groups)] == [("A", 0), ("B", 0), ("A", 1), ("A", 2)]


def test_the_wait_of_a_job_that_fails_again_grows_up_to_an_hour() -> None:
    found: FailedJob | None = None
    waits = []
    for _ in range(12):
        found = failure("job", "why", 1_000, 10_000, found)
        waits.append(found.next_ms - 1_000)
    assert waits[:3] == [10_000, 20_000, 40_000]
    assert waits[-1] == 3_600_000
    assert found == FailedJob.load(found.dump()) if found else False


def test_what_is_archived_is_cut_as_the_archive_cuts_it() -> None:
    cut = {"candles": Timeframe(1, "M"), "footprints": Timeframe(1, "d")}
    assert {rows.name: rows.period for rows in (CANDLE_ROWS, FOOTPRINT_ROWS)} == cut
    assert {name: series.archive_period for name, series in MINUTE_SERIES.items()} == cut


async def test_two_clocks_enqueue_once(client: Redis, rq: "redis.Redis", clock: FakeClock) -> None:
    clocks = [ticker(client, rq, clock, WORKS, token) for token in ("one", "two")]
    assert sum(await asyncio.gather(*(each.tick() for each in clocks))) == len(WORKS)
    assert sorted(queued(rq)) == [work.job for work in WORKS]


async def test_a_tick_that_fails_is_not_the_last(client: Redis, rq: "redis.Redis", clock: FakeClock) -> None:
    troubles: list[Exception] = [TypeError("written by a later release"), StoreUnavailable("away"), KeyError("a bug")]
    failing = ticker(client, rq, clock, [])

    async def due() -> list[Work]:
        if troubles:
            raise troubles.pop()
        failing.stop()
        return WORKS

    failing.due = due
    await asyncio.wait_for(failing.run(), 10)
    assert sorted(queued(rq)) == [work.job for work in WORKS]


async def test_one_clock_has_the_lease_until_it_gives_it_up(client: Redis) -> None:
    one, two = (ClockLease(client, f"{name} token", LEASE_MS) for name in ("one", "two"))
    assert [await one.hold(), await two.hold(), await one.hold()] == [True, False, True]
    await two.release()
    assert await clock_holder(client) == "one"
    await one.release()
    assert await clock_holder(client) == ""
    assert await two.hold()


async def test_what_became_due_while_no_clock_ran_is_enqueued_within_the_bound(
    client: Redis, rq: "redis.Redis", clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rq_queue, "MAX_QUEUED", 25)
    due = [Work("roll", "T:S", day) for day in range(40)]
    late = ticker(client, rq, clock, due)
    assert [await late.tick(), await late.tick()] == [25, 0]
    rq.delete(QUEUED)
    rq.delete(*(f"rq:job:{work.job}" for work in due[:25]))
    del due[:25]
    assert await late.tick() == 15


def test_who_comes_later_does_not_wait_for_all_of_another(rq: "redis.Redis") -> None:
    queue = JobQueue(rq)
    months = {symbol: [Work("roll", symbol, month) for month in range(6, 0, -1)] for symbol in "AB"}
    rq.rpush(QUEUED, "none of ours")
    assert queue.offer(in_turn([months["A"]])) == 6
    assert queue.offer(in_turn(months.values())) == 6
    in_order = [work.job for work in in_turn(months.values())]
    assert queued(rq) == ["none of ours", *in_order]
    # What is taken meanwhile stays taken, and what is not due any more keeps its place before the others.
    rq.lpop(QUEUED, 3)
    newest = [Work("roll", "C", 9)]
    assert queue.offer(in_turn([newest, months["A"][2:], months["B"][2:]])) == 1
    not_due = [months["A"][1], months["B"][1]]
    rounds = [months["A"][2], months["B"][2], *newest, *in_turn([months["A"][3:], months["B"][3:]])]
    assert queued(rq) == [work.job for work in (*not_due, *rounds)]


async def test_a_backlog_is_looked_after_before_the_queue_is_empty(
    client: Redis, rq: "redis.Redis", clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = [Work("roll", "T:S", month) for month in range(3)]
    one = ticker(client, rq, clock, due)
    one.tick_ms = 60_000
    monkeypatch.setattr(rq_queue, "MIN_QUEUED", 3)
    await one._step()
    assert queued(rq) == [work.job for work in due]
    due.append(Work("roll", "T:S", 3))
    await one._step()
    assert len(queued(rq)) == 3, "enough is queued"
    taken = rq.lpop(QUEUED)
    rq.delete(f"rq:job:{due.pop(0).job}")
    await one._step()
    assert taken and len(queued(rq)) == 3
    # With nothing due the next look waits for its time.
    rq.delete(QUEUED, *(f"rq:job:{work.job}" for work in due))
    due.clear()
    await one._step()
    due.append(Work("roll", "T:S", 9))
    await one._step()
    assert queued(rq) == []


async def test_a_failed_job_waits_for_its_time_and_is_forgotten_when_nobody_wants_it(
    client: Redis, rq: "redis.Redis", clock: FakeClock
) -> None:
    due = WORKS[:2]
    one = ticker(client, rq, clock, due)
    for work in due:
        rq.hset(FAILURES, work.job, failure(work.job, "why", clock.now_ms(), 1_000).dump())
    assert await one.tick() == 0
    assert await Jobs(client).retry(due[1].job)
    assert await one.tick() == 1
    clock.advance(1_000)
    assert await one.tick() == 1
    assert queued(rq) == [due[1].job, due[0].job]
    del due[0]
    await one.tick()
    assert [each.job for each in (await Jobs(client).view()).failures] == [due[0].job]


def test_a_running_job_is_not_enqueued_and_freed_only_without_a_sign_of_life(rq: "redis.Redis") -> None:
    (work, *_), queue = WORKS, JobQueue(rq)
    assert queue.offer([work]) == 1
    worker = RollupWorker(rq, {}, 1)
    (job,) = worker.queues[0].jobs
    rq.delete(QUEUED)
    execution = worker.prepare_execution(job)
    rq.expire(execution.key, SIGN_TTL_S - DEAD_S + 2)
    assert (queue.offer([work]), queue.free_dead(), queued(rq)) == (0, [], [])
    rq.expire(execution.key, SIGN_TTL_S - DEAD_S - 1)
    assert queue.free_dead() == [work.job]
    assert (queue.offer([work]), queued(rq)) == (1, [work.job])


def test_a_job_lost_between_queue_and_worker_is_enqueued_again(rq: "redis.Redis") -> None:
    now_s = 100.0
    queue = JobQueue(rq, lambda: now_s)
    assert queue.offer(WORKS[:1]) == 1
    rq.lmove(QUEUED, f"{QUEUED}:intermediate")
    assert queue.offer(WORKS[:1]) == 0
    now_s += STRAY_S
    assert queue.offer(WORKS[:1]) == 0
    assert queue.offer(WORKS[:1]) == 1
    assert queued(rq) == [WORKS[0].job] and not rq.exists(f"{QUEUED}:intermediate")
