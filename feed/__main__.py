"""`python -m feed`: HTTP and WebSocket on the settings' host and port."""

import asyncio
import logging
import signal
import sys
from contextlib import suppress

from common import log, settings
from common.errors import OperatorError, StoreUnavailable
from common.garbage import keep_loaded
from common.redact import redacted_url
from common.store.client import commit_client
from common.store.server import admit
from feed.app import create_app
from feed.reading.free_memory import keep_free_memory
from feed.web.connections import raise_file_limit
from feed.web.server import make_watched_server


def main() -> int:
    try:
        found = settings.load()
        log.setup(found.log_level, found.log_format)
        raise_file_limit()
        app = create_app(found)
        url = found.store_url
        asyncio.run(_admission(url, unsafe=found.unsafe_store))
    except OperatorError as error:
        print(error, file=sys.stderr)
        return 1
    keep_free_memory()
    keep_loaded()
    # uvicorn tells every connection at level info.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger(__name__).info(
        "feed starts", extra={"host": found.host, "port": found.port, "store": redacted_url(url)}
    )
    if app.state.access.is_open:
        logging.getLogger(__name__).warning("feed is open to everybody who reaches it: FLEET_API_TOKENS is none")
    # uvicorn ends in order and then raises the signal again, for its handler before: there is none, so that we end
    # with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    make_watched_server(app, found.host, found.port, found.lease_ttl_ms).run()
    if app.state.refusal:
        print(app.state.refusal, file=sys.stderr)
    return 1 if app.state.refusal else 0


async def _admission(url: str, *, unsafe: bool) -> None:
    """Refuse a store that may not be used. One that is away does not keep us down: the watch of feed.app refuses it."""
    async with commit_client(url) as client:
        with suppress(StoreUnavailable):
            await admit(client, unsafe=unsafe)


if __name__ == "__main__":
    sys.exit(main())
