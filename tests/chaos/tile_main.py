"""`python -m tests.chaos.tile_main URL [unguarded]`: makes tiles of trades again and again; a line for each time.

`unguarded`, for the negative control: the store takes tiles whatever was amended since they were begun.
"""

import asyncio
import re
import sys
from contextlib import ExitStack

from common.market.timeframes.timeframe import DAY_MS
from common.store.client import commit_client
from common.store.registry import Market
from common.tiles import TRADE_LEVELS
from tests.chaos.scripts import changed_script
from tests.kit.writer import INSTRUMENT
from workers.rollup.trade_tiles import make_trade_tiles

FOREVER = dict.fromkeys(TRADE_LEVELS, 1_000 * DAY_MS)
_GUARD = re.compile(r"^  for _, amended in ipairs\(since\) do\n.*?^  end\n", re.MULTILINE | re.DOTALL)


def without_guard(text: str) -> str:
    found, count = _GUARD.subn("", text)
    assert count == 1, "tiles.lua has not the guard that the control takes away"
    return found


async def make_tiles(url: str) -> None:
    async with commit_client(url) as client:
        while True:
            await make_trade_tiles(client, Market(INSTRUMENT), FOREVER)
            print("made", flush=True)


def main() -> None:
    url, *unguarded = sys.argv[1:]
    with ExitStack() as stack:
        if unguarded:
            stack.enter_context(changed_script("tiles.lua", without_guard))
        asyncio.run(make_tiles(url))


if __name__ == "__main__":
    main()
