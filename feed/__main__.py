"""`python -m feed`: HTTP and WebSocket on the settings' host and port."""

import logging
import signal
import sys

from common import log, settings
from common.errors import OperatorError
from common.redact import redacted_url
from feed.app import create_app
from feed.memory import keep_free_memory
from feed.server import make_server


def main() -> int:
    try:
        found = settings.load()
        app = create_app(found)
        url = found.store_url
    except OperatorError as error:
        print(error, file=sys.stderr)
        return 1
    keep_free_memory()
    log.setup(found.log_level, found.log_format)
    # uvicorn tells every connection at level info.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger(__name__).info(
        "feed starts", extra={"host": found.host, "port": found.port, "store": redacted_url(url)}
    )
    # uvicorn ends in order and then raises the signal again, for whoever handled it before: nobody, so that we end
    # with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    make_server(app, found.host, found.port).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
