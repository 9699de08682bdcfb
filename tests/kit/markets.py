"""Days of minutes as markets may have them, by a seed."""

import random

from common.market.candle import Candle
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS

# How wide its columns are is what a block is read by: prices and lots of one byte to eight.
WIDTHS = (1, 7, 12, 15, 20, 31, 36, 47, 53)
STEPS = (1, 1, 5, 100, 3_000)


def day_of_market(rng: random.Random, number: int, first_ms: int) -> list[Candle]:
    """Minutes of a day as a market may have them: near each other or not, in steps, with gaps or without."""
    widths = WIDTHS if rng.random() < 0.3 else WIDTHS[:6]
    bits, size_bits = rng.choice(widths), rng.choice(widths)
    price_step, lot_step = (rng.choice(STEPS) if each < 48 else 1 for each in (bits, size_bits))
    trades_bits, sources = rng.choice((3, 16, 32)), rng.choice(((1,), (1,), (1, 2, 8, 3)))
    minute, close, found = rng.choice((0, rng.randrange(1_400))), rng.randint(1, 1 << bits), list[Candle]()
    for _ in range(rng.choice((1, 3, 30, 100))):
        opened, close = max(1, close + rng.randint(-3, 3)), rng.randint(1, 1 << bits)
        buy, sell, unknown = rng.randint(0, 1 << size_bits), rng.randint(0, 1 << size_bits), rng.choice((0, 0, 0, 7))
        volume = buy + sell + unknown
        low, high = max(0, min(opened, close) - rng.choice((0, 2))), max(opened, close) + rng.choice((0, 2))
        open_ms = first_ms + number * DAY_MS + minute * MINUTE_MS
        candle = Candle(
            open_ms=open_ms,
            open_ticks=opened * price_step,
            high_ticks=high * price_step,
            low_ticks=low * price_step,
            close_ticks=close * price_step,
            volume_lots=volume * lot_step,
            buy_lots=buy * lot_step,
            sell_lots=sell * lot_step,
            turnover=volume * rng.randint(low, high) * price_step * lot_step,
            trades=rng.randrange(1, 1 << trades_bits),
            first_ts_ms=open_ms,
            first_id=1,
            last_ts_ms=open_ms + 1,
            last_id=2,
            rev=rng.choice((0, 0, 0, 3)),
            sources=rng.choice(sources),
        )
        found.append(candle)
        minute += rng.choice((1, 1, 1, rng.randint(1, 9)))
        if minute >= 1_440:
            break
    return found
