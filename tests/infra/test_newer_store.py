"""Every process of the fleet on a store that a later release has written, and what people do about it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from common.store.client import commit_client
from common.store.format import FORMAT
from common.store.keys import FORMAT_KEY
from infra.local import procfile
from infra.paths import ROOT
from tests.kit.ports import reserved_port
from tests.kit.store.recorded import restore

pytestmark = pytest.mark.process

NEWER = f"the store is in format {FORMAT + 1}, and this release knows none above {FORMAT}: use a newer release\n"
KINDS = {kind: command.split()[1:] for kind, command in procfile.read(ROOT / "Procfile").items()}
COMMANDS = {
    "symbols": "-m infra.cli symbols add T:A".split(),
    "replay": "-m infra.cli replay FILE --symbol T:A --price-decimals 2 --size-decimals 8".split(),
    "import": "-m infra.cli import trades FILE --symbol T:A --price-decimals 2 --size-decimals 8".split(),
    "upgrade": "-m infra.cli upgrade".split(),
}


def run(url: str, *command: str) -> "subprocess.CompletedProcess[str]":
    with reserved_port() as port:
        environ = {**os.environ, "REDIS_URL": url, "PORT": str(port), "FLEET_LEASE_TTL_MS": "600"}
        whole = [sys.executable, *command]
        return subprocess.run(whole, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("kind", [*KINDS, *COMMANDS])
def test_no_process_starts_on_a_store_of_a_later_release(redis_url: str, kind: str, tmp_path: Path) -> None:
    file = tmp_path / "trades.csv"
    file.write_text("ts_ms,price,size,side,id\n1700000000000,1,1,buy,1\n")
    with redis.Redis.from_url(redis_url) as client:
        client.set(FORMAT_KEY, FORMAT + 1)
        done = run(redis_url, *(str(file) if word == "FILE" else word for word in (KINDS | COMMANDS)[kind]))
        assert (done.returncode, done.stderr.removeprefix("fleet: ")) == (1, NEWER)
        assert client.keys() == [FORMAT_KEY.encode()]


async def test_doctor_tells_both_formats_and_the_upgrade_raises_that_of_the_store(redis_url: str) -> None:
    async with commit_client(redis_url) as client:
        await restore(client, 1)

        def told() -> list[str]:
            lines = run(redis_url, "-m", "infra.cli", "doctor").stdout.splitlines()
            at = next(at for at, line in enumerate(lines) if " format " in line)
            return [" ".join(line.split()) for line in lines[at : at + 2]]

        assert told() == [
            f"WARN format the store is in format 1, this release knows up to {FORMAT}",
            "Once all processes are of this release: fleet upgrade.",
        ]
        done = run(redis_url, "-m", "infra.cli", "upgrade")
        assert (done.returncode, done.stdout) == (0, f"the store is in format {FORMAT} now, it was in 1\n")
        assert told()[0] == (
            f"OK format the store is in format {FORMAT}, this release knows up to {FORMAT};"
            " 2 symbols are in an older one until their next commit"
        )
        done = run(redis_url, "-m", "infra.cli", "upgrade")
        assert done.stdout == f"the store is in format {FORMAT} already, the newest that this release knows\n"
        await client.set(FORMAT_KEY, FORMAT + 1)
        assert told()[0] == f"FAIL format the store is in format {FORMAT + 1}, this release knows up to {FORMAT}"
