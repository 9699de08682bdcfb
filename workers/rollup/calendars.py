"""The calendars of a roll-up process: each is worked out once, and every job's forked process has it from then on.

It is worked out in a process of its own, which loads pandas, takes a second or two and goes away with the 100 MB that
this takes. What is left of it is a table of 2 MB.
"""

import asyncio
import logging
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection

from common.errors import FleetError
from common.market.instrument import Instrument
from common.market.timeframes import calendars
from common.market.timeframes.session import Sessions
from common.store.client import commit_client
from common.store.registry import Registry

log = logging.getLogger(__name__)

# Between two looks at whether the process is to stop.
POLL_S = 0.05


class CalendarCache:
    """`stopping`: asked while a calendar is worked out."""

    def __init__(self, store_url: str, stopping: Callable[[], bool]) -> None:
        self._store_url, self._stopping = store_url, stopping

    def prepare(self, symbol: str) -> None:
        """See to it that the symbol's calendar is known here. What goes wrong is for the job to tell."""
        try:
            market = asyncio.run(self._market(symbol))
            if market and not calendars.is_known(*trading(market)):
                found = _built_apart(market, self._stopping)
                if found:
                    calendars.keep(*trading(market), found)
        except FleetError as error:
            log.info("calendar left to the job", extra={"symbol": symbol, "error": str(error)})

    async def _market(self, symbol: str) -> Instrument | None:
        async with commit_client(self._store_url) as client:
            found = await Registry(client).stored(symbol)
        return found.instrument if found else None


def trading(instrument: Instrument) -> tuple[str, str, str]:
    return instrument.calendar, instrument.zone, instrument.hours


def _built_apart(instrument: Instrument, stopping: Callable[[], bool]) -> Sessions | None:
    """None if it can't be worked out, or there was no time for it."""
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_build, args=(instrument, sending), daemon=True)
    child.start()
    sending.close()
    try:
        while not receiving.poll(POLL_S):
            if stopping():
                return None
        found: Sessions = receiving.recv()
        return found
    except EOFError:
        return None
    finally:
        child.kill()
        child.join()
        receiving.close()


def _build(instrument: Instrument, sending: Connection) -> None:
    try:
        sending.send(calendars.sessions_of(*trading(instrument)))
    except FleetError:
        sending.close()
