"""The Procfile, and the real one."""

from pathlib import Path

import pytest

from common.errors import OperatorError
from infra.local import procfile
from infra.paths import ROOT


def test_each_line_names_a_kind_and_its_command(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("# kinds\n\nweb: python -m feed --x=a:b  \nworker:python -m workers\n")
    assert procfile.read(tmp_path / "Procfile") == {
        "web": "python -m feed --x=a:b",
        "worker": "python -m workers",
    }


def test_a_bad_line_is_shown_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("web: x\nworker\n")
    with pytest.raises(OperatorError, match="Procfile line 2 is 'worker', expected 'name: command'"):
        procfile.read(tmp_path / "Procfile")


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="Procfile can't be read: No such file"):
        procfile.read(tmp_path / "Procfile")


def test_ours_has_a_feed_and_workers() -> None:
    assert {"web", "worker"} <= procfile.read(ROOT / "Procfile").keys()
