"""What a fleet leaves on disk is for its owner alone; the archive is for whomever the umask says."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from common.archive.archive import Archive
from common.archive.series import CANDLE_ROWS
from common.errors import OperatorError
from infra import private
from infra.exchange.journal import Journal
from infra.local import embedded, local_exchange
from tests.kit.archive.rows import BTC, FEBRUARY_MS, february, write
from tests.kit.exchange import START_MS, simulated


@pytest.fixture(autouse=True, params=[0o022, 0o000], ids=["umask 022", "umask 000"])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def wide(folder: Path) -> list[str]:
    """What is below the folder, itself included, that others than its owner may use."""
    found = [folder, *folder.rglob("*")]
    return [f"{path} {stat.filemode(path.lstat().st_mode)}" for path in found if path.lstat().st_mode & 0o077]


def widen(folder: Path) -> None:
    """As an earlier release left it."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def journal(folder: Path) -> None:
    (market,) = simulated("BTCUSDT")
    Journal(folder, 60_000).begin(market, START_MS)


@pytest.mark.process
def test_a_store_and_all_its_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with embedded.session(data) as url, redis.Redis.from_url(url) as client:
        client.set("k", "v")
        client.bgrewriteaof()
        assert wide(data) == []
    assert list(data.rglob("*.aof")) and wide(data) == []


@pytest.mark.process
def test_what_an_earlier_release_left_open_is_mended_at_the_next_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with embedded.session(data):
        pass
    journal(data / "exchange" / "journal")
    widen(data)
    (data / "store" / "link").symlink_to(tmp_path / "theirs")
    (tmp_path / "theirs").write_text("")
    (tmp_path / "theirs").chmod(0o644)
    with embedded.session(data):
        private.mend(data / "exchange")
        assert [path for path in wide(data) if "link" not in path] == []
    assert (tmp_path / "theirs").stat().st_mode & 0o777 == 0o644


@pytest.mark.process
def test_a_folder_that_holds_more_than_ours_stays_open_and_ours_within_it_does_not(tmp_path: Path) -> None:
    """Whoever runs the fleet with --data /tmp must not close /tmp."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "theirs").write_text("")
    widen(shared)
    with embedded.session(shared):
        assert wide(shared / "store") == []
        assert shared.stat().st_mode & 0o777 == 0o755 and (shared / "theirs").stat().st_mode & 0o777 == 0o644


def test_the_journal_is_mended_by_whoever_opens_it(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    journal(folder)
    assert list(folder.iterdir())
    assert wide(folder) == []
    widen(folder)
    Journal(folder, 60_000)
    assert wide(folder) == []


def test_the_exchanges_port_is_kept_as_the_rest(tmp_path: Path) -> None:
    assert local_exchange.placed(tmp_path).port
    assert wide(tmp_path / "exchange") == []


def test_the_archive_follows_the_umask(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write(Archive.open(str(archive)), CANDLE_ROWS, BTC, FEBRUARY_MS, february())
    umask = os.umask(0)
    os.umask(umask)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in archive.rglob("*") if path.is_file()}
    assert modes == {0o666 & ~umask}
    assert {stat.S_IMODE(path.stat().st_mode) for path in archive.rglob("*") if path.is_dir()} == {0o777 & ~umask}


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(OperatorError, match="belongs to user .*expected .* 12345"):
        private.make(tmp_path)
