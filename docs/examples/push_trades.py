"""Trades of your own, from anywhere into a symbol's inbox, one command each. Takes redis.

fleet symbols add MY:BTCUSD --price-decimals 2 --size-decimals 8
python push_trades.py [SYMBOL [COUNT]]
"""

import os
import random
import sys
import time

import redis

STORE = os.environ.get("REDIS_URL", "unix://.fleet/store/s")
SYMBOL = sys.argv[1] if len(sys.argv) > 1 else "MY:BTCUSD"
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 100

price = 64_000.0
with redis.Redis.from_url(STORE) as store:
    first_id = time.time_ns() // 1_000
    for number in range(COUNT):
        price += random.gauss(0, 5)
        trade: dict[str | bytes, str | int] = {
            "ts_ms": time.time_ns() // 1_000_000,
            "price": f"{price:.2f}",
            "size": f"{random.expovariate(10):.8f}",
            "side": random.choice(["buy", "sell"]),
            # Pushed again under the same id, after an answer that never came, it counts once.
            "id": first_id + number,
        }
        store.xadd(f"{{{SYMBOL}}}:inbox", trade, maxlen=1_000_000)
        time.sleep(0.01)
print(f"{COUNT} trades pushed to {SYMBOL}")
