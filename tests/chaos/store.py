"""A real store that may be killed, and made to forget its end; behind a proxy that hides its restarts."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import redis

from infra.local import embedded
from tests.kit.store.proxy import Proxy

# What the store forgets at most when it goes back in time: a dozen commits.
LOST_BYTES = 100_000


@dataclass(slots=True)
class MortalStore:
    """`pid`: of its last server. `proxied_url`: where the fleet thinks the store is."""

    folder: Path
    pid: int = field(init=False)
    client: redis.Redis = field(init=False)
    proxy: Proxy = field(init=False)

    def __post_init__(self) -> None:
        self.client = redis.Redis.from_url(embedded.ensure(self.folder))
        self.pid = self._server_pid()
        self.proxy = Proxy(self.socket)
        self.proxy.listen(self.folder / "p")

    @property
    def socket(self) -> Path:
        return embedded.StorePlace.of(self.folder).socket

    @property
    def url(self) -> str:
        return embedded.StorePlace.of(self.folder).url

    @property
    def proxied_url(self) -> str:
        return f"unix://{self.folder / 'p'}"

    def kill(self) -> None:
        """Return once the server is dead, and leave it to be reaped by who has started it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def revive(self) -> None:
        embedded.ensure(self.folder)
        self.pid = self._server_pid()

    def forget_end(self, random: Random) -> None:
        """While it is dead: lose the end of its file, as after a failover."""
        written = list((self.folder / "store" / "appendonlydir").glob("*.incr.aof"))
        assert len(written) == 1, "a rewrite was not expected of so little data"
        size = written[0].stat().st_size
        os.truncate(written[0], max(size // 2, size - random.randint(1, LOST_BYTES)))

    def close(self) -> None:
        self.client.close()
        self.proxy.close()
        embedded.stop(self.folder)

    def _server_pid(self) -> int:
        found: Any = self.client.info("server")
        return int(found["process_id"])
