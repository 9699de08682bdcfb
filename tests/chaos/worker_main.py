"""`python -m tests.chaos.worker_main`: the real worker process, with one more kind of source.

Under UNGUARDED, for the negative control, it runs a commit.lua without its two checks. The product has no such switch:
the text of the script is changed here, on its way into this process.
"""

import os
import re

import orjson

from common import settings
from tests.chaos.recording import KIND, RecordingFile
from tests.chaos.scripts import changed_script
from workers import run
from workers.run import SETTINGS_VARIABLE
from workers.sources import SOURCES

UNGUARDED = "CHAOS_UNGUARDED"
_CHECK = re.compile(r"^if [^\n]+ then\n  return \{'(FENCED|STALE)'\}\nend\n", re.MULTILINE)


def without_checks(text: str) -> str:
    found = [check[1] for check in _CHECK.finditer(text)]
    assert found == ["FENCED", "STALE"], f"commit.lua has the checks {found}, not the two that the control takes away"
    return _CHECK.sub("", text)


def main() -> None:
    if SETTINGS_VARIABLE not in os.environ:
        os.environ[SETTINGS_VARIABLE] = orjson.dumps(run.WorkerSettings.of(settings.load())).decode()
    SOURCES[KIND] = lambda market, means: RecordingFile.of(market, means.clock)
    if not os.environ.get(UNGUARDED):
        run.main()
        return
    with changed_script("commit.lua", without_checks):
        run.main()


if __name__ == "__main__":
    main()
