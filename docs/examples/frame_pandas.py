"""The newest bars as a pandas frame, indexed by their times. Takes pandas and pyarrow.

python frame_pandas.py [SYMBOL]
"""

import os
import sys
import urllib.request

import pandas as pd
import pyarrow as pa

FEED = os.environ.get("FEED", "http://127.0.0.1:8700")
SYMBOL = sys.argv[1] if len(sys.argv) > 1 else "SIMULATED:BTCUSD"

with urllib.request.urlopen(f"{FEED}/v1/candles/{SYMBOL}?timeframe=1m&limit=500&format=arrow") as answer:
    bars = pa.ipc.open_stream(answer.read()).read_pandas()
bars.index = pd.to_datetime(bars.pop("t"), unit="ms", utc=True)
# Exact decimals, which pandas keeps as objects: floats are faster to reckon with.
prices = bars[["o", "h", "l", "c", "v"]].astype(float)
print(prices.tail(5))
print(prices["c"].resample("5min").last().tail(3))
