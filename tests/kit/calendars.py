"""Calendars that all processes of one run share: to work one out takes more than a second, and loads pandas.

Kept from run to run as well, for as long as neither the library nor what makes tables of it is another; but not in a
full run, which works out each by itself.
"""

import os
import pickle
from collections.abc import Iterator
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import pytest

from common.market.timeframes import calendars
from common.market.timeframes.session import Sessions
from tests.scale import SCALE


@pytest.fixture(scope="session", autouse=True)
def _shared_calendars(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    of_run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        of_run = of_run.parent
    assert request.config.cache
    folder = of_run / "calendars" if SCALE >= 1 else request.config.cache.mkdir(f"calendars-{_made_of()}")
    folder.mkdir(exist_ok=True)
    work_out = calendars._made

    def made(calendar: str, zone: str, hours: str) -> Sessions | None:
        path = folder / sha256(repr((calendar, zone, hours)).encode()).hexdigest()[:16]
        if not path.exists():
            _write(path, work_out(calendar, zone, hours))
        found: Sessions | None = pickle.loads(path.read_bytes())
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calendars, "_made", made)
        yield


def _made_of() -> str:
    sources = sorted(Path(calendars.__file__).parent.glob("*.py"))
    text = b"".join(path.read_bytes() for path in sources) + version("exchange-calendars").encode()
    return sha256(text).hexdigest()[:16]


def _write(path: Path, sessions: Sessions | None) -> None:
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_bytes(pickle.dumps(sessions))
    draft.replace(path)
