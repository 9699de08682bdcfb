"""Every kind of process of the Procfile says that it is there, and when it goes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from common.settings import variable
from common.store.client import commit_client
from common.store.presence import Process, processes
from infra.local import die_with_parent, procfile
from infra.paths import ROOT
from tests.kit.ports import reserved_port
from tests.kit.store.leaks import leaks
from tests.kit.waiting import wait_until_async

pytestmark = pytest.mark.process


@contextmanager
def running(redis_url: str, command: str) -> Iterator["subprocess.Popen[str]"]:
    whole = [sys.executable, die_with_parent.__file__, str(os.getpid()), sys.executable, *command.split()[1:]]
    with reserved_port() as port:
        environ = {**os.environ, variable("redis_url"): redis_url, variable("port"): str(port)}
        process = subprocess.Popen(whole, env=environ | {"FLEET_SYMBOLS_PER_WORKER": "7"}, cwd=ROOT, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


async def test_each_kind_of_process_is_present_until_it_stops(redis_url: str) -> None:
    commands = procfile.read(ROOT / "Procfile")
    with ExitStack() as stack:
        children = {kind: stack.enter_context(running(redis_url, command)) for kind, command in commands.items()}
        async with commit_client(redis_url) as client:
            await wait_until_async(lambda: _are(client, set(commands)), timeout_s=30)
            found = {process.kind: process for process in await processes(client)}
            symbols = {kind: process.max_symbols for kind, process in found.items()}
            assert symbols == dict.fromkeys(commands, 0) | {"worker": 7}
            assert all(_pid(found[kind]) == child.pid for kind, child in children.items())
            # RQ hears a signal only from here on.
            await wait_until_async(lambda: _has_rollup_begun(client))
            for child in children.values():
                child.terminate()
            await wait_until_async(lambda: _are(client, set()), timeout_s=30)
    # The queue's keys are RQ's own.
    assert [key for key in leaks(redis_url) if not key.startswith("rq:")] == []


async def _are(client: Redis, kinds: set[str]) -> bool:
    return {process.kind for process in await processes(client)} == kinds


async def _has_rollup_begun(client: Redis) -> bool:
    workers: Any = await client.smembers("rq:workers")
    return [await client.hget(key, "state") for key in workers] == [b"idle"]


def _pid(process: Process) -> int:
    return int(process.name.rpartition(":")[2])
