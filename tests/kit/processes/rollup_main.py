"""A roll-up process with functions of the tests' own: python -m tests.kit.processes.rollup_main URL FIRST_RETRY_MS"""

import sys
import time

import redis

from common import log
from workers.rollup.serve import serve


def main() -> None:
    url, first_retry_ms = sys.argv[1:]
    store = redis.Redis.from_url(url)

    def mark(symbol: str, _: int) -> None:
        store.rpush("done", symbol)

    def wait(symbol: str, _: int) -> None:
        store.rpush("started", symbol)
        while not store.exists("go"):
            time.sleep(0.005)
        store.rpush("done", symbol)

    def fail(symbol: str, _: int) -> None:
        if not store.exists("ok"):
            raise OSError(28, "No space left on device\nwhile writing")
        store.rpush("done", symbol)

    log.setup("info", "text")
    serve(url, {"mark": mark, "wait": wait, "fail": fail}, int(first_retry_ms))


if __name__ == "__main__":
    main()
