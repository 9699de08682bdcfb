"""Bars of any timeframe straight from Redis, without asking the feed: the growing one, and those that close or change.

python redis_subscriber.py [SYMBOL [TIMEFRAME]]        takes redis

A timeframe beside 1m, 1d, 1w and 1M is published while somebody listens to it by name: the first message comes within
some seconds. Who subscribes to a pattern hears only what others have asked for.
"""

import json
import os
import sys

import redis

STORE = os.environ.get("REDIS_URL", "unix://.fleet/store/s")
SYMBOL = sys.argv[1] if len(sys.argv) > 1 else "SIMULATED:BTCUSD"
TIMEFRAME = sys.argv[2] if len(sys.argv) > 2 else "1m"

with redis.Redis.from_url(STORE) as store, store.pubsub(ignore_subscribe_messages=True) as channel:
    channel.subscribe(f"{{{SYMBOL}}}:candles:{TIMEFRAME}")
    for heard in channel.listen():
        message = json.loads(heard["data"])
        for bar in message["bars"]:
            state = "closed" if bar["isFinal"] else "open"
            print(message["type"], message["seq"], state, bar["t"], bar["c"], bar["v"], flush=True)
