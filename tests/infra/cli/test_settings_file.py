"""`fleet.env` in the data folder, and the archive that all commands of a store agree on."""

from pathlib import Path

import pytest
import redis

from common.settings import Settings
from common.store.agreed import Agreed, agreed
from common.store.client import commit_client
from common.store.keys import AGREED
from infra.local import launcher
from infra.paths import ROOT
from tests.kit.processes.command import Done, Fleet

CSV = "ts_ms,price,size,side,id\n1736690400123,100.5,1,buy,1\n"


@pytest.fixture
def env(fleet: Fleet) -> Path:
    fleet.data.mkdir()
    return fleet.data / "fleet.env"


def values(done: Done) -> dict[str, str]:
    """What `fleet settings` marks as changed."""
    rows = (line.split() for line in done.out.splitlines())
    return {row[0]: row[2] for row in rows if len(row) > 2 and row[1] == "*"}


def test_every_command_reads_it_and_the_environment_wins(
    fleet: Fleet, env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.write_text("# ours\nexport FLEET_SPARES=3\nFLEET_CANDLE_DAYS='800'\n\n")
    assert {"FLEET_SPARES": "3", "FLEET_CANDLE_DAYS": "800"}.items() <= values(fleet("settings")).items()
    monkeypatch.setenv("FLEET_SPARES", "4")
    assert values(fleet("settings"))["FLEET_SPARES"] == "4"


def test_it_is_that_of_the_folder_that_is_named(fleet: Fleet, env: Path, tmp_path: Path) -> None:
    env.write_text("FLEET_SPARES=3\n")
    other = tmp_path / "other"
    other.mkdir()
    (other / "fleet.env").write_text("FLEET_SPARES=5\n")
    for arguments in (("--data", str(other)), (f"--data={other}",)):
        assert values(fleet("settings", *arguments))["FLEET_SPARES"] == "5"


def test_another_file_takes_its_place(fleet: Fleet, env: Path, tmp_path: Path) -> None:
    env.write_text("FLEET_SPARES=3\n")
    (tmp_path / "mine").write_text("FLEET_CANDLE_DAYS=9\n")
    found = values(fleet("--env", str(tmp_path / "mine"), "settings"))
    assert (found["FLEET_CANDLE_DAYS"], "FLEET_SPARES" in found) == ("9", False)
    gone = fleet("--env", str(tmp_path / "gone"), "settings")
    assert gone.code == 1 and "gone can't be read" in gone.err


def test_it_is_made_its_owner_s_alone(fleet: Fleet, env: Path) -> None:
    env.write_text("REDIS_URL=redis://user:secret@db.example:6379/0\n")
    env.chmod(0o644)
    assert fleet("settings").code == 0
    assert env.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("FLEET_SPARES", "fleet.env line 2 is 'FLEET_SPARES', expected NAME=value"),
        ("FLEET_DATA_DIR=/tmp", "line 2 sets FLEET_DATA_DIR: the file lies in the data folder"),
        ("PATH=/tmp", "line 2 sets PATH, expected a setting"),
        ("FLEET_SPARE=1", "FLEET_SPARE is not a setting; the nearest valid name is FLEET_SPARES"),
        ("FLEET_SPARES=many", "FLEET_SPARES is 'many': it must be a valid integer"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(fleet: Fleet, env: Path, line: str, sentence: str) -> None:
    env.write_text(f"FLEET_CANDLE_DAYS=9\n{line}\n")
    done = fleet("settings")
    assert done.code == 1 and sentence in done.err, done.err


def test_the_page_of_all_settings_is_made_of_them(fleet: Fleet) -> None:
    assert (ROOT / "docs" / "configuration.md").read_text().endswith("\n\n" + fleet("settings", "--markdown").out)


@pytest.mark.process
def test_a_command_that_knows_no_archive_uses_the_fleet_s_and_one_that_knows_another_does_nothing(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis.Redis.from_url(fleet.url) as client:
        client.hset(AGREED, mapping={"archive_url": str(tmp_path / "archive"), "archive_trades": "1"})
    (tmp_path / "trades.csv").write_text(CSV)
    run = (
        "import",
        "trades",
        str(tmp_path / "trades.csv"),
        "--symbol",
        "MY:BTC",
        "--price-decimals",
        "2",
        "--size-decimals",
        "0",
    )
    monkeypatch.setenv("FLEET_ARCHIVE_URL", str(tmp_path / "other"))
    refused = fleet(*run)
    assert (
        refused.code == 1 and f"the fleet of this store archives to {tmp_path / 'archive'}: set the same" in refused.err
    )
    assert fleet.symbols() == set() and not (tmp_path / "other").exists()
    assert f"the fleet of this store archives to {tmp_path / 'archive'}" in " ".join(fleet("doctor").out.split())
    monkeypatch.delenv("FLEET_ARCHIVE_URL")
    assert fleet(*run).code == 0
    assert list((tmp_path / "archive").rglob("*.parquet"))


@pytest.mark.process
def test_whether_trades_are_archived_is_the_fleet_s_to_say(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "archive"
    with redis.Redis.from_url(fleet.url) as client:
        client.hset(AGREED, mapping={"archive_url": str(archive), "archive_trades": "1"})
    (tmp_path / "trades.csv").write_text(CSV)
    monkeypatch.setenv("FLEET_ARCHIVE_URL", str(archive))
    monkeypatch.setenv("FLEET_ARCHIVE_TRADES", "false")
    of_symbol = ("--symbol", "MY:BTC", "--price-decimals", "2", "--size-decimals", "0")
    assert fleet("import", "trades", str(tmp_path / "trades.csv"), *of_symbol).code == 0
    assert list((archive / "trades").rglob("*.parquet"))


async def test_the_fleet_says_that_its_archive_is_another_than_before(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with commit_client(redis_url) as client:
        for number, said in enumerate(
            ("", "", f"archive: {tmp_path / '2'} from now on, {tmp_path / '1'} is not written")
        ):
            await launcher._agree(client, Settings(archive_url=str(tmp_path / str(max(number, 1)))))
            assert said in capsys.readouterr().out
        assert await agreed(client) == Agreed.of(Settings(archive_url=str(tmp_path / "2")).model_dump())
        await launcher._agree(client, Settings())
        assert "archive: nothing from now on" in capsys.readouterr().out


IMPORTED = ("--symbol", "MY:BTC", "--price-decimals", "2", "--size-decimals", "0")


@pytest.fixture
def trades(fleet: Fleet, tmp_path: Path) -> str:
    """A file of trades, beside a fleet that keeps 400 days of candles and 40 of footprints."""
    with redis.Redis.from_url(fleet.url) as client:
        client.hset(AGREED, mapping={"candle_days": "400", "footprint_days": "40"})
    (tmp_path / "trades.csv").write_text(CSV)
    return str(tmp_path / "trades.csv")


@pytest.mark.process
@pytest.mark.parametrize("command", [("import", "trades"), ("replay",)])
def test_what_would_keep_less_than_the_fleet_says_so_and_does_nothing(
    fleet: Fleet, trades: str, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_CANDLE_DAYS", "30")
    refused = fleet(*command, trades, *IMPORTED)
    assert refused.code == 1 and fleet.symbols() == set()
    assert "FLEET_CANDLE_DAYS is 30, but the fleet of this store keeps 400 days" in refused.err
    assert "the fleet of this store keeps 400 days" in " ".join(fleet("doctor").out.split())


@pytest.mark.process
@pytest.mark.parametrize("command", [("import", "trades"), ("replay",)])
def test_what_keeps_longer_than_the_fleet_goes_on_and_is_kept_with_the_symbol(
    fleet: Fleet, trades: str, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fleet(*command, trades, *IMPORTED).code == 0
    assert "candle_days" not in fleet.market("MY:BTC")
    monkeypatch.setenv("FLEET_CANDLE_DAYS", "800")
    done = fleet(*command, trades, *IMPORTED)
    assert done.code == 0 and "MY:BTC: candles are kept for 800 days" in done.out
    # Of a bar, which is for a terminal, nothing is left.
    assert done.err == ""
    assert (fleet.market("MY:BTC")["candle_days"], "footprint_days" in fleet.market("MY:BTC")) == (800, False)
    new = fleet(*command, trades, *(word.replace("BTC", "ETH") for word in IMPORTED))
    assert new.code == 0 and fleet.market("MY:ETH")["candle_days"] == 800
    monkeypatch.delenv("FLEET_CANDLE_DAYS")
    assert fleet(*command, trades, *IMPORTED).code == 0 and fleet.market("MY:BTC")["candle_days"] == 800


@pytest.mark.process
def test_a_command_without_days_of_its_own_keeps_as_long_as_the_fleet(fleet: Fleet, tmp_path: Path) -> None:
    with redis.Redis.from_url(fleet.url) as client:
        client.hset(AGREED, mapping={"candle_days": "3650", "footprint_days": "3650", "calendars": "1.0"})
    # 500 days apart: with the 400 of the default the older one would be dropped, or kept for itself.
    (tmp_path / "trades.csv").write_text(CSV + "1779890400123,100.5,1,buy,2\n")
    done = fleet("import", "trades", str(tmp_path / "trades.csv"), *IMPORTED)
    assert done.code == 0 and "older than" not in done.out and "candle_days" not in fleet.market("MY:BTC")
    assert "the fleet has 1.0" in done.err


async def test_the_fleet_says_what_it_keeps_shorter_than_before(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with commit_client(redis_url) as client:
        await launcher._agree(client, Settings())
        await launcher._agree(client, Settings(candle_days=800))
        assert capsys.readouterr().out == ""
        await launcher._agree(client, Settings(candle_days=30))
        assert "candles: kept for 30 days from now on, not 800" in capsys.readouterr().out
