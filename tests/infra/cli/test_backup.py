"""`fleet backup`: what it says, and that its copy is a data folder."""

from pathlib import Path

import pytest

from infra.local import embedded
from tests.kit.processes.command import Fleet

pytestmark = pytest.mark.process


def test_a_copy_is_made_and_checked(fleet: Fleet, tmp_path: Path) -> None:
    with embedded.session(fleet.data):
        added = fleet(
            "symbols", "add", "MY:BTCUSD", "--price-decimals", "2", "--size-decimals", "8", "--data", str(fleet.data)
        )
        assert added.code == 0, added.err
        done = fleet("backup", str(tmp_path / "copy"), "--check", "--data", str(fleet.data))
    first, second = done.out.splitlines()
    assert done.code == 0 and f"MB copied to {tmp_path / 'copy'} in" in first
    assert second.startswith("the copy is readable: ")
    with embedded.session(tmp_path / "copy"):
        assert "MY:BTCUSD" in fleet("symbols", "list", "--data", str(tmp_path / "copy")).out


def test_a_store_elsewhere_is_its_provider_s_to_copy(fleet: Fleet, tmp_path: Path) -> None:
    done = fleet("backup", str(tmp_path / "copy"))
    assert (done.code, done.out) == (2, "")
    assert "the store of REDIS_URL is not in a data folder: take its provider's snapshot" in done.err
