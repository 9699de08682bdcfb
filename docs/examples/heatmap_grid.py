"""A heatmap's grid frame without any library: the header, then its sections, each padded to 8 bytes.

python heatmap_grid.py [SYMBOL]
"""

import os
import struct
import sys
import urllib.request
from array import array

FEED = os.environ.get("FEED", "http://127.0.0.1:8700")
SYMBOL = sys.argv[1] if len(sys.argv) > 1 else "SIMULATED:BTCUSD"

with urllib.request.urlopen(f"{FEED}/v1/heatmap/{SYMBOL}?kind=depth&max_cols=60&format=grid") as answer:
    frame = answer.read()
magic, flags, channels, width, price_decimals, size_decimals = struct.unpack_from("<4s4xIHBBB", frame)
bucket_ms, t0, p0, cols, rows, row_ticks, cells, lot_step, spans, best = struct.unpack_from("<IqqIIIIQII", frame, 20)
assert magic == b"FMG\x01" and not flags & 1, "a sparse grid frame of version 1"
at = struct.unpack_from("<H", frame, 4)[0]


def section(kind: str, count: int) -> array:
    global at
    start, found = at, array(kind)
    size = found.itemsize * count
    at += size + -size % 8
    found.frombytes(frame[start : start + size])
    return found


known, best_prices = section("q", 4 * spans), section("q", 4 * best)
col_start, row = section("I", cols + 1), section("I" if flags & 64 else "H", cells)
values = {bit: section("I" if width == 4 else "Q", cells) for bit in range(16) if channels >> bit & 1}
price, lots = 10**-price_decimals, lot_step * 10**-size_decimals
for col in range(cols):
    for cell in range(col_start[col], col_start[col + 1]):
        bid, ask = (values[bit][cell] * lots for bit in sorted(values)[:2])
        print(t0 + col * bucket_ms, f"{(p0 + row[cell] * row_ticks) * price:.2f}", f"{bid:.4f} {ask:.4f}")
