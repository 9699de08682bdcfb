"""A heatmap's grid frame without any library: the header, then its sections, each padded to 8 bytes.

python heatmap_grid.py [SYMBOL [KIND]]
"""

import os
import struct
import sys
import urllib.request
from array import array

FEED = os.environ.get("FEED", "http://127.0.0.1:8700")
SYMBOL = sys.argv[1] if len(sys.argv) > 1 else "SIMULATED:BTCUSD"
KIND = sys.argv[2] if len(sys.argv) > 2 else "depth"

with urllib.request.urlopen(f"{FEED}/v1/heatmap/{SYMBOL}?kind={KIND}&max_cols=60&format=grid") as answer:
    frame = answer.read()
magic, flags, channels, width, price_decimals, size_decimals = struct.unpack_from("<4s4xIHBBB", frame)
bucket_ms, t0, p0, cols, rows, row_ticks, cells, lot_step, spans, best = struct.unpack_from("<IqqIIIIQII", frame, 20)
assert magic == b"FMG\x01", "a grid frame of version 1"
at = struct.unpack_from("<H", frame, 4)[0]


def section(kind: str, count: int) -> array:
    global at
    start, found = at, array(kind)
    size = found.itemsize * count
    at += size + -size % 8
    found.frombytes(frame[start : start + size])
    return found


known, best_prices = section("q", 4 * spans), section("q", 4 * best)
if flags & 1:
    # Dense: each cell is there. All ones: nothing is known of it.
    cells, col_start, row = cols * rows, range(0, cols * rows + 1, rows), [*range(rows)] * cols
else:
    col_start, row = section("I", cols + 1), section("I" if flags & 64 else "H", cells)
values = {bit: section("I" if width == 4 else "Q", cells) for bit in range(16) if channels >> bit & 1}
unknown = (1 << 8 * width) - 1
price, lots = 10**-price_decimals, lot_step * 10**-size_decimals
for col in range(cols):
    for cell in range(col_start[col], col_start[col + 1]):
        # Bids and asks, or what was bought and sold.
        first, second = (values[bit][cell] for bit in sorted(values)[:2])
        if first != unknown and any(values[bit][cell] for bit in values):
            told = f"{first * lots:.4f} {second * lots:.4f}"
            print(t0 + col * bucket_ms, f"{(p0 + row[cell] * row_ticks) * price:.2f}", told)
