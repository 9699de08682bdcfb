"""`python -m workers.rollup`: a process that does the queue's jobs, one at a time."""

import gc
import sys

from common import log
from common import settings as settings_module
from common.errors import OperatorError
from workers.rollup.jobs import functions
from workers.rollup.serve import serve


def main() -> int:
    try:
        settings = settings_module.load()
        _, queue_url = settings.store_url, settings.queue_url
    except OperatorError as error:
        print(error, file=sys.stderr)
        return 1
    log.setup(settings.log_level, settings.log_format)
    # A job's process shares our memory until it writes to it: its garbage collector must not visit what was here.
    gc.freeze()
    serve(queue_url, functions(settings), settings.job_retry_ms)
    return 0


if __name__ == "__main__":
    sys.exit(main())
