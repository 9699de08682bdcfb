"""The life of a roll-up process: work for RQ until told to stop, whatever becomes of Redis."""

import logging
import random
import signal
import threading
import time

from redis.exceptions import RedisError

from common.errors import StoreUnavailable
from workers.rollup.rq_queue import JobQueue, rq_client
from workers.rollup.rq_worker import Functions, RollupHooks, RollupWorker

log = logging.getLogger(__name__)

# Between two attempts while Redis is away: half to whole of a doubling span.
FIRST_WAIT_S, MAX_WAIT_S = 0.2, 5.0
# RQ gives up after an error, a worker that ran this long had done well before.
HEALTHY_S = 10.0


def serve(queue_url: str, functions: Functions, first_retry_ms: int, hooks: RollupHooks | None = None) -> None:
    """Return after SIGTERM or SIGINT. Between two workers, when nothing is under way, these end the process."""
    failures, hooks = 0, hooks or RollupHooks()
    while True:
        started_s = time.monotonic()
        _work(queue_url, functions, first_retry_ms, hooks)
        if hooks.stopping():
            return
        failures = 1 if time.monotonic() - started_s >= HEALTHY_S else failures + 1
        # Not time.sleep: where the clock is faked by a library it may raise.
        threading.Event().wait(min(MAX_WAIT_S, FIRST_WAIT_S * 2 ** min(failures - 1, 10)) * random.uniform(0.5, 1))


def _work(queue_url: str, functions: Functions, first_retry_ms: int, hooks: RollupHooks) -> None:
    """Run one worker to its end."""
    worker: RollupWorker | None = None
    with rq_client(queue_url) as client:
        try:
            for job in JobQueue(client).free_ours():
                log.warning("job left behind by a dead process is free again", extra={"job": job})
            worker = RollupWorker(client, functions, first_retry_ms, hooks)
            # Its other records tell of each job.
            worker.work(logging_level="ERROR")
        except (RedisError, OSError, StoreUnavailable) as error:
            log.warning("queue is away", extra={"error": str(error)})
        except Exception:
            log.exception("worker of the queue failed")
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            if worker and worker.horse_pid:
                # RQ gave up while it ran.
                worker.kill_horse()
                worker.wait_for_horse()
