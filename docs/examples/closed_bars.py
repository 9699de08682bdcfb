"""A function that is called with each bar once it is closed, across restarts of the feed. Takes websockets.

python closed_bars.py [SYMBOL [TIMEFRAME]]
"""

import asyncio
import json
import os
import sys
from typing import Any

from websockets.asyncio.client import connect

FEED = os.environ.get("FEED", "http://127.0.0.1:8700").replace("http", "ws", 1)
SYMBOL = sys.argv[1] if len(sys.argv) > 1 else "SIMULATED:BTCUSD"
TIMEFRAME = sys.argv[2] if len(sys.argv) > 2 else "1m"


def closed(bar: dict[str, Any], kind: str) -> None:
    """`kind`: candle, or amend: a late trade has changed a bar that was closed before."""
    print(kind, bar["t"], bar["o"], bar["h"], bar["l"], bar["c"], bar["v"], flush=True)


async def follow() -> None:
    request = {"action": "subscribe", "symbol": SYMBOL, "timeframe": TIMEFRAME, "limit": 1}
    async for socket in connect(f"{FEED}/v1/stream"):
        await socket.send(json.dumps(request))
        async for text in socket:
            message = json.loads(text)
            # With the last cursor the next connection goes on where this one ended: nothing is lost or told twice.
            request["cursor"] = message.get("cursor", request.get("cursor"))
            if message["type"] in ("candle", "amend") and message["bar"]["isFinal"]:
                closed(message["bar"], message["type"])


asyncio.run(follow())
