"""What is said before a fleet starts: one sentence for each thing, and none where all is well."""

import os
import resource
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from common.settings import Settings
from infra.local import preflight
from infra.paths import ROOT


class Usage(NamedTuple):
    free: int


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", archive_url=str(tmp_path / "archive"))


def test_nothing_is_said_where_all_is_well(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1 << 40))
    monkeypatch.setattr(preflight, "MIN_MEMORY_MB", 1)
    monkeypatch.setattr(preflight, "MIN_FILES", 1)
    assert list(preflight.warnings(settings)) == []
    assert list((tmp_path / "archive").iterdir()) == []
    assert list(preflight.warnings(Settings(data_dir=tmp_path, archive_url="s3://bucket/there"))) == []


def test_an_archive_that_cannot_be_written_is_named_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said, *_ = preflight.warnings(Settings(data_dir=tmp_path, archive_url=str(tmp_path / "file" / "archive")))
    reason = f"{tmp_path}/file/archive can't be written (Not a directory)"
    assert said == f"the archive is DEGRADED: {reason}, and nothing is archived until it can be"


def test_little_disk_memory_or_files_is_said_with_what_is_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(20 << 20))
    (disk,) = preflight._disk(tmp_path / "to" / "be" / "made")
    assert disk.startswith(f"20 MB are free for {tmp_path}/to/be/made, expected 1,000")
    (tmp_path / "meminfo").write_text("MemTotal:  900000 kB\nMemAvailable:  102400 kB\n")
    (memory,) = preflight._memory(tmp_path / "meminfo")
    assert memory.startswith("100 MB of memory are free, expected 500")
    assert list(preflight._memory(tmp_path / "none")) == []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, 256))
    (files,) = preflight._files()
    assert files.startswith("a process may open 256 files, expected 1,024")


def test_a_clock_that_lost_the_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    (said,) = preflight._clock(3_600.0)
    assert said.startswith("the clock says 1970-01-01, which is before this was installed")
    assert list(preflight._clock(os.stat(ROOT / "pyproject.toml").st_mtime)) == []
