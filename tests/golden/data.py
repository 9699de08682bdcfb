"""Where the recorded market data is. None of it is in this repository (see ../shared/data/README.md there)."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def folder() -> Path:
    """Return the folder of recordings. Without one the test is skipped, but never in CI: there that is a failure."""
    path = Path(os.environ.get("FLEET_TEST_DATA") or ROOT.parent / "shared" / "data")
    if path.is_dir():
        return path
    missing = f"no recorded data at {path}; FLEET_TEST_DATA says where it is"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)
