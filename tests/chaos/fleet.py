"""A store and competing workers as real processes, and what may be done to them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import orjson
import redis

from common.market.builder.builder import Checkpoint
from common.market.coding import codec
from common.series import FOOTPRINTS
from common.store.keys import SymbolKeys
from common.store.registry import Market, open_store
from infra.local import die_with_parent
from tests.chaos.store import MortalStore
from tests.chaos.worker_main import UNGUARDED
from tests.kit.oracle import Outcome, Step
from tests.kit.waiting import wait_until
from workers.run import SETTINGS_VARIABLE, WorkerSettings

LEASE_MS = 500
# After a fault somebody must commit again within this: a lease, a start of Python, and a busy machine.
PROGRESS_S = 20.0


@dataclass(slots=True)
class Worker:
    process: "subprocess.Popen[bytes]"
    started_s: float


@dataclass(slots=True)
class Fleet:
    """`happened` counts faults. `takeovers_s`: from SIGKILL of the holder to the next claim, with a spare at hand."""

    folder: Path
    market: Market
    random: Random
    batch_trades: int
    unguarded: bool = False
    workers: list[Worker] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    takeovers_s: list[float] = field(default_factory=list)
    _store: MortalStore = field(init=False)

    def __post_init__(self) -> None:
        self._store = MortalStore(self.folder)
        asyncio.run(_register(self.url, self.market))

    @property
    def url(self) -> str:
        return self._store.url

    @property
    def _client(self) -> redis.Redis:
        return self._store.client

    @property
    def keys(self) -> SymbolKeys:
        return SymbolKeys(self.market.symbol)

    def start_worker(self) -> None:
        settings = WorkerSettings(
            redis_url=self._store.proxied_url,
            symbols_per_worker=1,
            lease_ttl_ms=LEASE_MS,
            commit_interval_ms=10,
            batch_trades=self.batch_trades,
            close_grace_ms=2_000,
            trades_kept=1_000_000,
            events_kept=1_000,
            candle_days=400,
            footprint_days=400,
            backfill_hours=2,
            depth_hours=0,
            streams_per_venue=1,
            streams_in_all=1,
            streams_per_kind="",
            archive_url=None,
            archive_trades=True,
            binance_key="",
            log_level="info",
            log_format="json",
        )
        command = [sys.executable, die_with_parent.__file__, str(os.getpid())]
        command += [sys.executable, "-m", "tests.chaos.worker_main"]
        environment = os.environ | {SETTINGS_VARIABLE: orjson.dumps(asdict(settings)).decode()}
        if self.unguarded:
            environment[UNGUARDED] = "1"
        with open(self.folder / "workers.log", "ab") as log:
            process = subprocess.Popen(command, env=environment, stderr=log)
        self.workers.append(Worker(process, time.monotonic()))

    def stop_workers(self) -> list[int]:
        """Ask all to stop, and return their exit codes."""
        for worker in self.workers:
            worker.process.terminate()
        return [worker.process.wait(5) for worker in self.workers]

    def close(self) -> None:
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()
        self._store.close()

    def fault(self, name: str) -> None:
        self.happened[name] += 1
        faults: dict[str, Callable[[], None]] = {
            "kill_holder": self._kill_holder,
            "kill_any": self._kill_any,
            "pause_holder": self._pause_holder,
            "kill_store": self._kill_store,
            "rewind": self._rewind,
        }
        faults[name]()

    def await_progress(self, commits: int) -> None:
        """Wait until that many commits have been made from here, or the recording is at its end."""
        goal = self.seq() + commits
        wait_until(lambda: self.seq() >= goal, PROGRESS_S)

    def seq(self) -> int:
        return int(self._state("seq") or 0)

    def position(self) -> int:
        return int(self._state("position") or 0)

    def outcome(self) -> tuple[int, Outcome]:
        """What is there, and the position up to which the recording is in it. One look, also at a running fleet."""
        with self._client.pipeline(transaction=True) as pipe:
            pipe.hgetall(self.keys.state)
            pipe.zrange(self.keys.candles, 0, -1, withscores=True)
            pipe.zrange(self.keys.minutes(FOOTPRINTS), 0, -1, withscores=True)
            pipe.xrange(self.keys.trades)
            pipe.hgetall(self.keys.coverage)
            state, candles, footprints, entries, chunks = pipe.execute()
        packed = (state[name] for name in (b"candle", b"footprint", b"newest_span", b"refused"))
        checkpoint = replace(
            Checkpoint(int(state[b"watermark_ms"]), *packed),
            newest_ms=int(state[b"newest_ms"]),
            chunks={int(number): chunk for number, chunk in chunks.items()},
            is_chunked=True,
        )
        steps = [_step(entry_id, fields) for entry_id, fields in entries]
        return int(state[b"position"]), Outcome(_by_score(candles), _by_score(footprints), checkpoint, steps)

    def logged(self) -> Counter[str]:
        """What the workers wrote: terms claimed, released, and lost by reason."""
        told = Counter[str]()
        for line in (self.folder / "workers.log").read_bytes().splitlines():
            # Standard error of a process that was killed may end midway in a line.
            with suppress(json.JSONDecodeError):
                record = json.loads(line)
                told[_reason(record) if record["event"] == "lost" else record["event"]] += 1
        return told

    def _kill_any(self) -> None:
        worker = self.random.choice(self.workers)
        if worker is self._holder():
            self._kill(worker)
        else:
            self._replace(worker)

    def _kill_holder(self) -> None:
        holder = self._holder()
        if holder:
            self._kill(holder)
        else:
            self._kill_any()

    def _kill(self, holder: Worker) -> None:
        killed_s = time.monotonic()
        # A spare that has just been started has not watched the holder for a lease.
        was_watched = all(killed_s - other.started_s > 2 for other in self.workers if other is not holder)
        self._replace(holder)
        wait_until(self._holder, PROGRESS_S)
        if was_watched:
            self.takeovers_s.append(time.monotonic() - killed_s)

    def _replace(self, worker: Worker) -> None:
        worker.process.kill()
        worker.process.wait()
        self.workers.remove(worker)
        self.start_worker()

    def _pause_holder(self) -> None:
        """Until somebody else has the symbol; then let it go on."""
        with self._paused_holder() as paused:
            wait_until(lambda: self._holder() not in (paused, None), PROGRESS_S)

    def _kill_store(self) -> None:
        self._store.kill()
        self._store.revive()

    def _rewind(self) -> None:
        """The store loses the end of its file, as after a failover, while the holder does not look."""
        with self._paused_holder() as paused:
            self._store.kill()
            self._store.forget_end(self.random)
            self._store.revive()
            if self.random.random() < 0.3:
                wait_until(lambda: self._holder() not in (paused, None), PROGRESS_S)

    @contextmanager
    def _paused_holder(self) -> Iterator[Worker]:
        found: list[Worker] = []

        def is_held() -> bool:
            found[:] = filter(None, [self._holder()])
            return bool(found)

        wait_until(is_held, PROGRESS_S)
        found[0].process.send_signal(signal.SIGSTOP)
        try:
            yield found[0]
        finally:
            found[0].process.send_signal(signal.SIGCONT)

    def _holder(self) -> Worker | None:
        owner: Any = self._client.hmget(self.keys.owner, ("token", "holder"))
        token, name = owner
        pids = {worker.process.pid: worker for worker in self.workers}
        return pids.get(int(name.rpartition(b":")[2])) if token and name else None

    def _state(self, field_name: str) -> bytes | None:
        found: Any = self._client.hget(self.keys.state, field_name)
        return found if found is None else bytes(found)


def _by_score(members: list[tuple[bytes, float]]) -> dict[int, bytes]:
    """Two members of one score, which must not be, show as one that is too long."""
    found: dict[int, bytes] = {}
    for member, score in members:
        found[int(score)] = found.get(int(score), b"") + member
    return found


def _step(entry_id: bytes, fields: dict[bytes, bytes]) -> Step:
    return Step(int(entry_id.partition(b"-")[0]), fields[b"token"].decode(), codec.unpack_trades(fields[b"trades"]))


async def _register(url: str, market: Market) -> None:
    async with open_store(url) as registry:
        await registry.add_symbol(market)


def _reason(record: dict[str, str]) -> str:
    error = record["error"]
    return "fenced" if "another holder" in error else "stale" if "not at seq" in error else "store lost"
