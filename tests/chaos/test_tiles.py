"""Tiles of trades are made while trades come, late ones too, and whoever makes them is killed at random.

`CHAOS_SEED=123 infra/test tests/chaos -s` repeats the trades and the order of the kills; their moments differ.
"""

import asyncio
import os
import random
import secrets
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from typing import Any

import pytest
from redis.asyncio import Redis

from common.market.trade import Trade
from common.store.keys import SymbolKeys
from common.store.registry import Market
from common.tiles import HOUR_MS, TRADE_LEVELS, TileLevel
from infra.local import die_with_parent
from tests.chaos.tile_main import FOREVER
from tests.kit.writer import INSTRUMENT, Writer, some_trades
from tests.scale import scaled
from workers.rollup.trade_tiles import make_trade_tiles

pytestmark = [pytest.mark.chaos, pytest.mark.process, pytest.mark.timeout(240)]

KEYS = SymbolKeys(INSTRUMENT.symbol)
KILLS, COMMITS_A_KILL = scaled(40), 12
# Of market time: with a whole UTC day in it there are tiles of all levels.
HOURS = 28
# From when a maker says that it is at it: the longest that it is left alone.
MAX_ALONE_S = 0.06

Tiles = dict[TileLevel, dict[bytes, bytes]]


async def test_whenever_it_is_killed_tiles_are_those_of_the_trades_and_none_is_missing(
    writer: Writer, client: Redis, redis_url: str
) -> None:
    stored, made_anew = await under_fire(writer, client, redis_url, KILLS)
    assert all(made_anew.values())
    assert stored == made_anew


async def test_without_its_guard_the_store_keeps_tiles_of_what_was_amended(
    writer: Writer, client: Redis, redis_url: str
) -> None:
    """Negative control of what is compared."""
    stored, made_anew = await under_fire(writer, client, redis_url, 5, "unguarded")
    assert stored != made_anew


async def under_fire(writer: Writer, client: Redis, url: str, kills: int, *unguarded: str) -> tuple[Tiles, Tiles]:
    """Return the tiles there are in the end, and those made of the same trades where there are none."""
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(kills):
        maker = await begun(url, *unguarded)
        writer.now_ms += HOURS * HOUR_MS // kills
        try:
            for _ in range(COMMITS_A_KILL):
                await writer.commit(*some_trades(writer, rng, 12), *_late(writer, rng))
                # So that it dies anywhere in what it does.
                await asyncio.sleep(rng.random() * MAX_ALONE_S / COMMITS_A_KILL)
        finally:
            maker.kill()
            await maker.wait()
    stored = await tiles_made(client)
    await client.delete(*map(KEYS.tiles, TRADE_LEVELS))
    return stored, await tiles_made(client)


def _late(writer: Writer, rng: random.Random) -> list[Trade]:
    """Trades of minutes that have just been closed, whose tiles are being made."""
    return [writer.trade(writer.now_ms - rng.randrange(60_000, 180_000), rng.randint(9_000, 11_000)) for _ in range(3)]


async def begun(url: str, *unguarded: str) -> Process:
    """One that is at it: it has made what there was to be made."""
    command = [die_with_parent.__file__, str(os.getpid()), sys.executable, "-m", "tests.chaos.tile_main", url]
    maker = await asyncio.create_subprocess_exec(sys.executable, *command, *unguarded, stdout=PIPE, stderr=DEVNULL)
    assert maker.stdout
    assert await asyncio.wait_for(maker.stdout.readline(), 60) == b"made\n"
    return maker


async def tiles_made(client: Redis) -> Tiles:
    """All that there are, once what lacks has been made."""
    await make_trade_tiles(client, Market(INSTRUMENT), FOREVER)
    found: Tiles = {}
    for level in TRADE_LEVELS:
        stored: Any = await client.hgetall(KEYS.tiles(level))
        found[level] = stored
    return found
