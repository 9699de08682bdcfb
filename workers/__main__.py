"""`python -m workers`: check the settings, then become a worker.

The check needs pydantic, a quarter of a symbol worker's memory, and is over in a moment. So it happens in a first
image of the process, which then replaces itself (same process id) by one that never loads it: `workers.run`.
"""

import os
import sys

import orjson

from common import settings as settings_module
from common.errors import OperatorError
from workers.run import SETTINGS_VARIABLE, WorkerSettings


def main() -> int:
    try:
        loaded = settings_module.load()
        settings = WorkerSettings.of(loaded, redis_url=loaded.store_url)
    except OperatorError as error:
        print(error, file=sys.stderr)
        return 1
    environment = {**os.environ, SETTINGS_VARIABLE: orjson.dumps(settings).decode()}
    os.execve(sys.executable, [sys.executable, "-m", "workers.run"], environment)


if __name__ == "__main__":
    sys.exit(main())
