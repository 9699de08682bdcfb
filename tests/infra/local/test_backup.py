"""A copy of a data folder, taken under load, while the server rewrites its files, and by a process that is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pytest
import redis

from common.errors import BadInput, OperatorError
from infra.local import backup, embedded
from infra.local.backup import back_up
from tests.kit.waiting import wait_until

pytestmark = pytest.mark.process


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data folder, its store at work."""
    folder = tmp_path / "data"
    with embedded.session(folder):
        yield folder


def client_of(folder: Path) -> redis.Redis:
    return redis.Redis.from_url(embedded.ensure(folder))


def rewrite(client: redis.Redis) -> None:
    """Have the server write its files anew, and wait until it has put them in place."""
    client.bgrewriteaof()
    wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Two keys that are always equal, counted up all the time, beside what makes the file grow."""
    stop = Event()

    def write() -> None:
        with client_of(folder) as client:
            while not stop.is_set():
                with client.pipeline(transaction=True) as pipe:
                    pipe.incr("one").incr("two").set("much", os.urandom(50_000))
                    pipe.execute()

    thread = Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def contents(folder: Path) -> dict[bytes, bytes | None]:
    with embedded.session(folder) as url, redis.Redis.from_url(url) as client:
        return {key: client.dump(key) for key in client.scan_iter(count=1_000)}


def test_a_copy_has_every_key_and_is_a_data_folder(data: Path, tmp_path: Path) -> None:
    with client_of(data) as client:
        for number in range(1_000):
            client.xadd(f"stream:{number % 7}", {"n": number})
            client.zadd(f"sorted:{number % 5}", {os.urandom(20): number})
    (data / "exchange").mkdir()
    (data / "exchange" / "BTCUSDT.1").write_text("told")
    told: list[tuple[int, int]] = []
    done = back_up(data, tmp_path / "copy", lambda *both: told.append(both))
    assert told[-1] == (done.size_bytes, done.size_bytes)
    assert contents(tmp_path / "copy") == contents(data)
    assert (tmp_path / "copy" / "exchange" / "BTCUSDT.1").read_text() == "told"
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "copy").rglob("*")} == {0}


def test_under_load_and_rewrites_each_copy_is_of_one_moment(data: Path, tmp_path: Path) -> None:
    with writing(data), client_of(data) as client:
        for number in range(6):
            wait_until(lambda: int(client.get("one") or 0) > 0)
            before = int(client.get("one") or 0)
            if number % 2:
                client.bgrewriteaof()
            back_up(data, tmp_path / f"{number}")
            after = int(client.get("one") or 0)
            with embedded.session(tmp_path / f"{number}") as url, redis.Redis.from_url(url) as copy:
                one, two = (int(copy.get(name) or 0) for name in ("one", "two"))
            assert before <= one == two <= after


def test_files_that_a_rewrite_replaces_while_they_are_opened_are_opened_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, calls = backup._open, list[str]()
    with client_of(data) as client:
        client.set("key", "before")
        rewrite(client)

        def once_disturbed(store: Path, place: str, stack: object) -> object:
            calls.append(place)
            if len(calls) == 2:
                client.set("key", "after")
                rewrite(client)
            return opened(store, place, stack)  # type: ignore[arg-type]

        monkeypatch.setattr(backup, "_open", once_disturbed)
        back_up(data, tmp_path / "copy")
    assert len(calls) > 3
    with embedded.session(tmp_path / "copy") as url, redis.Redis.from_url(url) as copy:
        assert copy.get("key") == b"after"


def test_without_the_second_look_it_would_be_no_copy(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above: what a rewrite replaced is opened as if nothing had happened."""
    with client_of(data) as client:
        client.set("key", "before")
        rewrite(client)
        first = backup._named(data / "store")
        client.set("key", "after")
        rewrite(client)
        monkeypatch.setattr(backup, "_named", lambda store: first)
        with pytest.raises(OperatorError, match="changed 5 times while they were opened"):
            back_up(data, tmp_path / "copy")
    assert not list(tmp_path.glob("copy*"))


KILLED = """
import os, signal, sys
from pathlib import Path
from infra.local.backup import back_up
back_up(Path(sys.argv[1]), Path(sys.argv[2]), lambda done, size: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_killed_it_leaves_no_copy_and_the_next_one_clears_its_draft(data: Path, tmp_path: Path) -> None:
    with client_of(data) as client:
        client.set("key", os.urandom(1 << 20))
    target = tmp_path / "copy"
    done = subprocess.run([sys.executable, "-c", KILLED, str(data), str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists() and list(tmp_path.glob("copy.part/store/*"))
    back_up(data, target)
    assert contents(target) == contents(data)
    assert not (tmp_path / "copy.part").exists()


def test_two_at_once_are_told_of_each_other(data: Path, tmp_path: Path) -> None:
    def another(done: int, size: int) -> None:
        with suppress(OperatorError):
            back_up(data, tmp_path / "copy")
            raise AssertionError("both wrote the same draft")

    with client_of(data) as client:
        client.set("key", "value")
    back_up(data, tmp_path / "copy", another)
    assert contents(tmp_path / "copy") == contents(data)


def test_what_cannot_be_copied_is_said_in_a_sentence(data: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is there already"):
        back_up(data, tmp_path)
    with pytest.raises(BadInput, match="has no store to copy"):
        back_up(tmp_path, tmp_path / "copy")
    with pytest.raises(BadInput, match="is inside the store"):
        back_up(data, data / "store" / "copy")
    with pytest.raises(OperatorError, match="can't be used as a folder"):
        back_up(data, Path("/proc/copy"))
