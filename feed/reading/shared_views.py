"""Views that several reads want at the same time, all of one moment."""

import asyncio
from collections.abc import Sequence

from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.store.older import OlderCache
from common.store.parts import Part
from common.store.reads import SymbolReader, View


class SharedViews(SymbolReader):
    """A reader for reads side by side: what they ask for in the same turn of the event loop is one transaction.

    Reads that need one look each, as those of bars that are kept do, so agree with each other. Others may not: what
    they found is put together only once the views are found equal.
    """

    def __init__(self, client: Redis, symbol: str, instrument: Instrument, *, older: OlderCache) -> None:
        super().__init__(client, symbol, instrument, older=older)
        self._asked: list[tuple[Sequence[Part], asyncio.Future[View]]] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def view(self, *parts: Part) -> View:
        if not self._asked:
            sending = asyncio.create_task(self._send())
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)
        answer: asyncio.Future[View] = asyncio.get_running_loop().create_future()
        self._asked.append((parts, answer))
        return await answer

    async def _send(self) -> None:
        """The task begins once all that is ready to run has run, and asked."""
        asked, self._asked = self._asked, []
        try:
            views = await self.views([parts for parts, _ in asked])
        except BaseException as error:
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), view in zip(asked, views, strict=True):
            if not answer.done():
                answer.set_result(view)
