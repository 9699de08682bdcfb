"""Order flow as a client asks for it: trades at a few prices, and exact numbers."""

import random
from decimal import Decimal
from typing import Any

from common.market.timeframes.timeframe import DAY_MS
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, Writer, some_trades


async def written(writer: Writer, seed: int, count: int = 12, ticks: int = 14) -> None:
    """Trades at a few prices, so that rows are beside each other; some days of them are sealed."""
    rng = random.Random(seed)
    for at in range(count):
        trades = [trade._replace(price_ticks=10_000 + rng.randint(0, ticks)) for trade in some_trades(writer, rng, 40)]
        await writer.commit(*trades)
        if at % 4 == 3:
            writer.now_ms += DAY_MS
            await writer.commit(writer.trade())
            await writer.roll_up()


def price(ticks: int) -> Decimal:
    return Decimal(ticks).scaleb(-INSTRUMENT.price_decimals)


def size(lots: int) -> Decimal:
    return Decimal(lots).scaleb(-INSTRUMENT.size_decimals)


async def answered(feed: Served, path: str, /, **asked: Any) -> dict[str, Any]:
    response = await feed.get(path, **asked)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json(parse_float=Decimal)
    return found
