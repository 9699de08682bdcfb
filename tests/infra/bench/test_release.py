"""Another release, out of Git, measured in a folder of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import BadInput
from infra.bench import release as releases
from infra.bench.release import release
from infra.bench.report import bench
from infra.bench.rows import ROWS

pytestmark = pytest.mark.process

BENCH = """
from infra.bench.base import Figure
ROWS = {"row": lambda: [Figure("what is measured", "<= 1 s", "0.5 s", True)]}
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose only commit has one row, in the place where early releases had them."""
    root = tmp_path / "project"
    (root / "infra" / "bench").mkdir(parents=True)
    for package in (root / "infra", root / "infra" / "bench"):
        (package / "__init__.py").touch()
    (root / "infra" / "bench" / "base.py").write_text(
        "from typing import NamedTuple\n"
        "class Figure(NamedTuple):\n    what: str\n    target: str\n    measured: str\n    met: bool\n"
    )
    (root / "infra" / "bench" / "__main__.py").write_text(BENCH)
    (root / "pyproject.toml").write_text("")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "one row"]):
        subprocess.run([*git, *arguments], cwd=root, check=True)
    monkeypatch.setattr(releases, "ROOT", root)
    return root


def test_a_revision_is_measured_and_leaves_nothing_behind(repository: Path) -> None:
    with release("HEAD") as earlier:
        assert earlier.folder != repository
        assert [figure.measured for figure in earlier.measure("row")] == ["0.5 s"]
        assert earlier.measure("unknown") == []
        folder = earlier.folder
    assert not folder.exists()
    trees = subprocess.run(["git", "worktree", "list"], cwd=repository, capture_output=True, text=True, check=True)
    assert len(trees.stdout.splitlines()) == 1


def test_a_revision_that_is_not_there_is_refused_by_name(repository: Path) -> None:
    with pytest.raises(BadInput, match="no revision 'never' here"), release("never"):
        pass


def test_the_command_measures_both_in_turns_and_prints_json(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = releases.Release(repository, sys.executable)
    monkeypatch.setattr("infra.bench.report.HERE", here)
    monkeypatch.setitem(ROWS, "row", ROWS["command"])
    bench(["row"], against="HEAD", rounds=2, as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["row"], found["now"]["measured"], found["then"]["measured"]) == ("row", "0.5 s", "0.5 s")
    assert found["ratios"] == [1.0]


def test_a_row_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="no row 'never', expected replay, "):
        bench(["never"])
