"""Tiles of recorded trades: at no level is anything lost or twice, and they are as small as they should be."""

import numpy as np
import pytest

from common.market.coding import traded_tiles
from common.market.coding.traded_tiles import Cells
from common.market.footprint import Row
from common.market.scale import Scales
from common.tiles import TRADED_LEVELS
from tests.golden import recordings

# Over what the finest level takes, all of them together; of recordings of at least some hours.
MAX_OF_BASE = 1.5


def cells_of(name: str) -> Cells:
    """As a millisecond and a tick each."""
    _, trades = getattr(recordings, name)()
    sides = np.frombuffer(bytes(trades.sides), np.uint8)
    lots = np.array(trades.size_lots)
    of_side = [sides == side for side in range(3)]
    sums = [*(np.where(there, lots, 0) for there in of_side), *(there.astype(np.int64) for there in of_side)]
    columns = np.array(trades.ts_ms), np.array(trades.price_ticks), *sums
    return dict(zip(("open_ms", *Row._fields), columns, strict=True))


@pytest.mark.parametrize("name", ["btc_usdt", "eth", "gold", "xrp_eth"])
def test_every_level_holds_all_trades(name: str) -> None:
    cells, sizes = cells_of(name), dict[int, int]()
    for level in TRADED_LEVELS:
        tiles, opens = list[bytes](), cells["open_ms"] // level.span_ms
        for number in np.unique(opens):
            some = {field: column[opens == number] for field, column in cells.items()}
            row_ticks = traded_tiles.row_for(level.rows, some, level.bucket_ms)
            made = traded_tiles.summed(some, level.bucket_ms, row_ticks)
            assert made is not None
            tiles.append(traded_tiles.pack(made, level.bucket_ms, row_ticks))
        read = traded_tiles.cells_of(tiles, level.bucket_ms, Scales.unchanged(recordings.BTC_USDT.scale))
        assert {field: int(read[field].sum()) for field in Row._fields[1:]} == {
            field: int(cells[field].sum()) for field in Row._fields[1:]
        }
        sizes[level.bucket_ms] = sum(map(len, tiles))
        if name == "btc_usdt" and level.span_ms < 86_400_000:
            assert sizes[level.bucket_ms] <= 5 * len(read["open_ms"])
    if name in ("gold", "xrp_eth"):
        assert sum(sizes.values()) <= MAX_OF_BASE * sizes[TRADED_LEVELS[0].bucket_ms]
