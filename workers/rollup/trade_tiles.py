"""Tiles of what was traded below a minute (common.tiles): the finest out of the trades that the stream keeps, others of
finer ones.

One is made once time has passed its end. What amends a minute drops the tiles that it is in, and the next job makes
them again, where the trades are kept still. So a job may die at any moment, run twice, and run beside itself: a tile is
there or it is not, and the store takes none of which something was amended since the job began (common.store.tiles).
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from redis.asyncio import Redis

from common.errors import Stale
from common.market.coding import codec, traded_tiles
from common.market.coding.packed import Ints
from common.market.coding.traded_tiles import Cells
from common.market.footprint import TRADES_AT, Row
from common.market.scale import Scales
from common.store.format import TRADED_TILES
from common.store.parts import TradeEntry
from common.store.reads import SymbolReader
from common.store.registry import Market
from common.store.tiles import TileMark, TileStore
from common.tiles import TRADE_LEVELS, TileLevel

log = logging.getLogger(__name__)

# Entries of the stream fetched at once, and tiles stored at once.
PAGE, AT_ONCE = 2_048, 120
_FINEST = TRADE_LEVELS[0]


class _Making(NamedTuple):
    """`mark`: read before all that tiles are made of. `until_ms`: time has passed all that ends by then."""

    store: TileStore
    reader: SymbolReader
    mark: TileMark
    until_ms: int
    scales: Scales


async def make_trade_tiles(
    client: Redis, market: Market, kept_ms: Mapping[TileLevel, int], stopping: Callable[[], bool] = lambda: False
) -> None:
    """Make the tiles that lack, and drop those older than is kept. What changes meanwhile is left to the next job."""
    store, reader = TileStore(client, market.symbol), SymbolReader(client, market.symbol, market.instrument)
    mark, progress = await store.mark(), await store.progress()
    state = (await reader.view()).state
    if mark is None or state is None or state.format < TRADED_TILES or progress is None:
        return
    making = _Making(store, reader, mark, state.watermark_ms, state.scales(market.instrument))
    with suppress(Stale):
        made = await _of_trades(making, kept_ms[_FINEST])
        for finer, level in pairwise(TRADE_LEVELS):
            if stopping():
                return
            made += await _of_finer(making, finer, level, kept_ms[level])
        await store.note_progress(progress)
        log.info("tiles made", extra={"symbol": market.symbol, "tiles": made})


async def _of_trades(making: _Making, kept_ms: int) -> int:
    reader = making.reader
    there = await reader.tile_opens(_FINEST)
    first_ms, entries = making.until_ms - kept_ms, list[TradeEntry]()
    while page := await reader.entries(entries[-1].seq if entries else 0, PAGE):
        if entries and page[0].seq != entries[-1].seq + 1:
            raise Stale(f"the stream of {reader.keys.symbol} was cut while it was read")
        entries += page
    if not entries:
        return 0
    cells = _cells(entries)
    since_ms = _whole_from(entries[0], cells["open_ms"])
    wanted = [
        open_ms
        for open_ms in _FINEST.opens(max(since_ms, first_ms), making.until_ms)
        if open_ms >= since_ms and open_ms + _FINEST.span_ms <= making.until_ms and open_ms not in there
    ]
    tiles = dict(_minutes(cells, wanted, making.scales))
    return await _put(making, _FINEST, tiles, [open_ms for open_ms in there if open_ms < first_ms])


def _whole_from(oldest: TradeEntry, times: Ints) -> int:
    """From when on (ms) the stream has all trades: whole hours from the first one, where nothing has left it."""
    if oldest.seq > 1:
        # What is gone had trades up to the watermark of the first entry that is left, at most.
        return oldest.watermark_ms + 1
    hour_ms = TRADE_LEVELS[1].span_ms
    return int(times.min()) // hour_ms * hour_ms if len(times) else oldest.watermark_ms + 1


def _cells(entries: Sequence[TradeEntry]) -> Cells:
    """Trades as cells of a millisecond and a tick."""
    numbers, sides = list[Ints](), list[bytes]()
    for entry in entries:
        (count,) = codec.TRADES_HEAD.unpack_from(entry.trades)
        at = codec.TRADES_HEAD.size
        numbers.append(np.frombuffer(entry.trades, "<i8", 4 * count, at).reshape(4, count))
        sides.append(entry.trades[at + 32 * count :])
    times, _, prices, sizes = np.concatenate(numbers, axis=1)
    side = np.frombuffer(b"".join(sides), np.uint8)
    of_side = [(side == number).astype(np.int64) for number in range(TRADES_AT)]
    sums = [*(sizes * there for there in of_side), *of_side]
    return dict(zip(("open_ms", *Row._fields), (times, prices, *sums), strict=True))


def _minutes(cells: Cells, opens: Sequence[int], scales: Scales) -> Iterator[tuple[int, bytes]]:
    order = np.argsort(cells["open_ms"], kind="stable")
    ascending = {name: column[order] for name, column in cells.items()}
    for open_ms in opens:
        first, end = np.searchsorted(ascending["open_ms"], (open_ms, open_ms + _FINEST.span_ms)).tolist()
        some = {name: column[first:end] for name, column in ascending.items()}
        made = traded_tiles.summed(some, _FINEST.bucket_ms, 1)
        if made is not None:
            yield open_ms, traded_tiles.pack(made, _FINEST.bucket_ms, 1, scales.name)


async def _of_finer(making: _Making, finer: TileLevel, level: TileLevel, kept_ms: int) -> int:
    """Make tiles of those of a finer level, where all of these are there."""
    finer_there, there = await making.reader.tile_opens(finer), await making.reader.tile_opens(level)
    first_ms, made = making.until_ms - kept_ms, 0
    for open_ms in _whole(finer_there, finer, level):
        if open_ms in there or open_ms < first_ms or open_ms + level.span_ms > making.until_ms:
            continue
        wanted = finer.opens(open_ms, open_ms + level.span_ms)
        found = await making.reader.tiles(finer, wanted)
        parts = [packed for packed in found if packed]
        tile = _coarser(parts, finer, level, making.scales) if len(parts) == len(found) else None
        made += await _put(making, level, {open_ms: tile}) if tile else 0
    await _put(making, level, {}, [open_ms for open_ms in there if open_ms < first_ms])
    return made


def _whole(there: Collection[int], finer: TileLevel, level: TileLevel) -> list[int]:
    opens = {open_ms // level.span_ms * level.span_ms for open_ms in there}
    return [
        open_ms
        for open_ms in sorted(opens)
        if all(part in there for part in finer.opens(open_ms, open_ms + level.span_ms))
    ]


def _coarser(tiles: Sequence[bytes], finer: TileLevel, level: TileLevel, scales: Scales) -> bytes | None:
    heads = [traded_tiles.head_of(packed, scales) for packed in tiles]
    known = [head for head in heads if head]
    if len(known) < len(heads):
        return None
    cells = traded_tiles.cells_of(tiles, finer.bucket_ms, scales)
    row_ticks = traded_tiles.row_for(level.rows, cells, level.bucket_ms, max(head.row_ticks for head in known))
    made = traded_tiles.summed(cells, level.bucket_ms, row_ticks)
    return None if made is None else traded_tiles.pack(made, level.bucket_ms, row_ticks, scales.name)


async def _put(making: _Making, level: TileLevel, tiles: Mapping[int, bytes], gone: Sequence[int] = ()) -> int:
    """Return how many were taken in."""
    opens, refused = sorted(tiles), 0
    if gone:
        await making.store.put(making.mark, level, {}, gone)
    for at in range(0, len(opens), AT_ONCE):
        some = {open_ms: tiles[open_ms] for open_ms in opens[at : at + AT_ONCE]}
        refused += len(await making.store.put(making.mark, level, some))
    return len(opens) - refused
