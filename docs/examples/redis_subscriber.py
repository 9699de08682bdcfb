"""Minutes straight from Redis, without the feed: the growing one, and those that close or change. Takes redis.

python redis_subscriber.py [SYMBOL]
"""

import json
import os
import sys

import redis

STORE = os.environ.get("REDIS_URL", "unix://.fleet/store/s")
SYMBOL = sys.argv[1] if len(sys.argv) > 1 else "SIMULATED:BTCUSD"

with redis.Redis.from_url(STORE) as store, store.pubsub(ignore_subscribe_messages=True) as channel:
    channel.subscribe(f"{{{SYMBOL}}}:candles:1m")
    for heard in channel.listen():
        message = json.loads(heard["data"])
        for bar in message["bars"]:
            state = "closed" if bar["isFinal"] else "open"
            print(message["type"], message["seq"], state, bar["t"], bar["c"], bar["v"], flush=True)
