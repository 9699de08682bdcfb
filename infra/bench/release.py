"""Rows of another release: its code in a folder of its own, built if it needs other packages, and run there."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import BadInput, FleetError
from infra.bench.base import Figure
from infra.paths import ROOT

# Run in the folder of a release, which may know no more of this than its rows.
_MEASURE = """
import json, sys
try:
    from infra.bench.rows import ROWS
except ImportError:
    from infra.bench.__main__ import ROWS
measure = ROWS.get(sys.argv[1])
figures = [[f.what, f.target, f.measured, f.met] for f in measure()] if measure else []
print(json.dumps(figures))
"""


@dataclass(frozen=True, slots=True)
class Release:
    """`python`: one that has what its pyproject.toml pins."""

    folder: Path
    python: str

    def measure(self, row: str) -> list[Figure]:
        """Nothing where it has no such row. Raises FleetError."""
        command = [self.python, "-c", _MEASURE, row]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            raise FleetError(f"row {row} failed in {self.folder}: {done.stderr.strip()[-2_000:]}")
        return [Figure(*figure) for figure in json.loads(done.stdout.splitlines()[-1])]


# What is checked out here.
HERE = Release(ROOT, sys.executable)


@contextmanager
def release(revision: str) -> Iterator[Release]:
    """Check a revision out beside this one, for as long as the block. Raises BadInput for one that Git doesn't know."""
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as scratch:
        folder = Path(scratch, "release")
        _git("worktree", "add", "--detach", "--quiet", str(folder), _commit(revision))
        try:
            yield Release(folder, _python(folder, Path(scratch, "venv")))
        finally:
            _git("worktree", "remove", "--force", str(folder))


def _commit(revision: str) -> str:
    try:
        return _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except subprocess.CalledProcessError:
        raise BadInput(f"no revision {revision!r} here, expected a commit, a branch or a tag") from None


def _python(folder: Path, venv: Path) -> str:
    """This one, unless the release needs other packages."""
    if (folder / "pyproject.toml").read_bytes() == (ROOT / "pyproject.toml").read_bytes():
        return sys.executable
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--quiet", "--editable", f"{folder}[dev]"], check=True)
    return python


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
