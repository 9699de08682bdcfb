"""A heatmap that goes on: a full grid frame, then patches put into it. Prints each column that is over, and its volume.

Takes websockets. python heatmap_live.py [SYMBOL [BUCKET [ROW]]]
"""

import asyncio
import json
import os
import struct
import sys
from array import array

from websockets.asyncio.client import connect

FEED = os.environ.get("FEED", "http://127.0.0.1:8700").replace("http", "ws", 1)
SYMBOL, BUCKET, ROW = [*sys.argv[1:], *["SIMULATED:BTCUSD", "1s", "5"][len(sys.argv) - 1 :]]
COLS = 120


class Grid:
    """Cells by column and row: what was bought and sold, in units of the last decimal of sizes."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int], tuple[int, ...]] = {}
        self.newest = self.seq = 0

    def take(self, frame: bytes) -> None:
        (patch, flags, channels, width, _, decimals), at = struct.unpack_from("<BIHBBB", frame, 7), 112
        bucket, t0, _, cols, _, _, count, step, spans, best = struct.unpack_from("<IqqIIIIQII", frame, 20)
        seq, _, after = struct.unpack_from("<QqQ", frame, 72)
        assert frame[:4] == b"FMG\x01" and not flags & 1 and (not patch or after == self.seq)
        at += 32 * (spans + best)

        def section(kind: str, count: int) -> array:
            nonlocal at
            found = array(kind)
            found.frombytes(frame[at : at + found.itemsize * count])
            at += (found.itemsize * count + 7) // 8 * 8
            return found

        starts, rows = section("I", cols + 1), section("I" if flags & 64 else "H", count)
        values = [section("I" if width == 4 else "Q", count) for bit in range(16) if channels >> bit & 1]
        held = self.cells if patch else {}
        for col in range(cols):
            for cell in range(starts[col], starts[col + 1]):
                held[t0 + col * bucket, rows[cell]] = tuple(each[cell] * step for each in values)
        self.newest, self.seq, self.decimals, self.bucket = t0 + (cols - 1) * bucket, seq, decimals, bucket
        # What is 0 is gone, and what is too old is not held.
        oldest = self.newest - (COLS - 1) * bucket
        self.cells = {place: cell for place, cell in held.items() if any(cell) and place[0] >= oldest}

    def volume(self, column: int) -> float:
        return sum(sum(cell) for (at, _), cell in self.cells.items() if at == column) / 10**self.decimals


async def follow() -> None:
    asked = {"kind": "traded", "bucket": BUCKET, "row": ROW, "rows": 2000, "cols": COLS, "channels": "bv,sv,uv"}
    request, grid = {"action": "subscribe", "channel": "heatmap", "symbol": SYMBOL, **asked}, Grid()
    async for socket in connect(f"{FEED}/v1/stream"):
        await socket.send(json.dumps(request))
        async for message in socket:
            if isinstance(message, str):
                # It names the frame behind it.
                request["cursor"] = json.loads(message).get("cursor", request.get("cursor"))
                continue
            before = grid.newest
            grid.take(message)
            for column in range(before, grid.newest, grid.bucket) if before else ():
                print(column, f"{grid.volume(column):.8f}", flush=True)


asyncio.run(follow())
