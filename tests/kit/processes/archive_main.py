"""One archive job of trades that kills itself: python -m tests.kit.processes.archive_main URL FOLDER CALLS FLAW

At its CALLS-th call of a function that reads or writes the store or the archive, in any thread. FLAW:

    ''        none
    hasty     trades are confirmed before they are written
    doubling  a day's object is only added to
"""

import asyncio
import os
import signal
import sys
import threading
from itertools import count
from typing import Any

import polars as pl

from common.archive import folder as folder_module
from common.archive.archive import Archive
from common.market.manifest import ManifestEntry
from common.store import script
from common.store import trade_archive as store
from common.store.client import commit_client
from common.store.registry import Market
from common.store.trade_archive import ArchiveStanding, TradeArchive
from tests.kit.writer import INSTRUMENT
from workers.rollup import trades as job


def flawed(flaw: str) -> None:
    confirm, add, waiting = TradeArchive.confirm, job.add_to_day, list[Any]()

    async def confirm_first(
        self: TradeArchive, before: ArchiveStanding, seq: int, watermark_ms: int, entries: Any
    ) -> ArchiveStanding:
        found = await confirm(self, before, seq, watermark_ms, entries)
        while waiting:
            add(*waiting.pop())
        return found

    def later(*args: Any) -> ManifestEntry:
        waiting.append(args)
        return ManifestEntry(args[2])

    if flaw == "hasty":
        TradeArchive.confirm = confirm_first  # type: ignore[method-assign, assignment]
        job.add_to_day = later  # type: ignore[assignment]
    elif flaw == "doubling":
        job.united = lambda before, trades: pl.concat([trades.clear() if before is None else before, trades]).sort(
            "ts_ms"
        )


def main() -> None:
    url, folder, calls, flaw = sys.argv[1:]
    flawed(flaw)
    counter, files = count(1), tuple(module.__file__ for module in (store, folder_module, script))

    def die(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename in files and next(counter) == int(calls):
            os.kill(os.getpid(), signal.SIGKILL)

    async def run() -> None:
        async with commit_client(url) as client:
            await job.archive_trades(client, Market(INSTRUMENT), Archive.open(folder))

    threading.setprofile(die)
    sys.setprofile(die)
    asyncio.run(run())
    sys.setprofile(None)
    print(next(counter))


if __name__ == "__main__":
    main()
