"""The symbols of the hostile suite, and where their trades come from."""

import time
from dataclasses import replace
from pathlib import Path
from random import Random

from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.market.trade import SIDE_NAMES, Trade
from common.store.registry import Market, Registry
from infra.exchange import listing_of
from workers.replay import KIND

VENUE_NAME = "BTCUSDT"
PUSHED = Instrument("PUSHED:A", 2, 3, "contiguous")
TRADED = replace(listing_of(VENUE_NAME).instrument, symbol=f"LOCAL:{VENUE_NAME}", size_decimals=8)
REPLAYED = Instrument("REPLAYED:A", 2, 3, "contiguous")
# The recording: days that are over, replayed in about half a minute.
REPLAYED_TRADES, REPLAYED_DAYS, REPLAY_SPEED = 5_000, 3, 9_000


async def register(client: Redis, exchange_port: int) -> None:
    registry = Registry(client)
    await registry.add_symbol(Market(PUSHED, {"kind": "inbox"}))
    urls = {"rest_url": f"http://127.0.0.1:{exchange_port}", "socket_url": f"ws://127.0.0.1:{exchange_port}"}
    steps = {"price_step_ticks": 1, "size_step_lots": 1}
    venue = {"kind": "venue", "venue": "LOCAL", "name": VENUE_NAME}
    await registry.add_symbol(Market(TRADED, venue | steps | urls))
    # As the command does that replays: who listens is there before.
    await registry.add_symbol(Market(REPLAYED, {"kind": KIND, "simulated": False}))


def recorded(path: Path, random: Random) -> list[Trade]:
    """Write a recording and return its trades."""
    start_ms = day_of(int(time.time() * 1_000)) - (REPLAYED_DAYS + 3) * DAY_MS
    times = sorted(start_ms + random.randrange(REPLAYED_DAYS * DAY_MS) for _ in range(REPLAYED_TRADES))
    trades = [
        Trade(ts_ms, number, 10_000 + random.randrange(200), random.randrange(1, 500), random.randrange(3))
        for number, ts_ms in enumerate(times, 1)
    ]
    price, size = REPLAYED.price_text, REPLAYED.size_text
    lines = (f"{t.ts_ms},{price(t.price_ticks)},{size(t.size_lots)},{SIDE_NAMES[t.side]},{t.id}" for t in trades)
    path.write_text("ts_ms,price,size,side,id\n" + "\n".join(lines) + "\n", "utf-8")
    return trades


def replay(path: Path) -> list[str]:
    """The command that replays it."""
    decimals = ["--price-decimals", str(REPLAYED.price_decimals), "--size-decimals", str(REPLAYED.size_decimals)]
    ids = ["--ids", "contiguous", "--speed", str(REPLAY_SPEED)]
    return ["infra.cli", "replay", str(path), "--symbol", REPLAYED.symbol, *decimals, *ids]
