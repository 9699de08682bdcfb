"""Whether what is kept as it is has a place in another scale: sealed blocks, the history of the book, the archive.

Nothing of it is rewritten by a change, so it is looked at, as a whole, before anything is.
"""

import asyncio
from collections.abc import Iterator, Sequence

from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import SERIES, ArchiveSeries
from common.frames.minutes import FRAMES
from common.frames.rescale import rescaled
from common.market.coding import candle_blocks
from common.market.depth.chunk import unpack_chunk, unpack_head
from common.market.instrument import Instrument
from common.market.rescaling import MAX_TURNOVER, PRICE, TURNOVER, Rescaling, shifted
from common.market.scale import Scale, Scales
from common.market.trade import MAX_TICKS
from common.series import CANDLES, followers
from common.store.depth import DepthReader
from common.store.reads import SymbolReader

# Sealed days, and minutes of the book, that are read at once.
DAYS_AT_ONCE, CHUNKS_AT_ONCE = 30, 60


async def check_sealed(client: Redis, symbol: str, days: Sequence[int], scales: Scales, *, coarser: bool) -> None:
    """`scales`: what is to be, and of blocks that do not say. Raises Unfit."""
    reader = SymbolReader(client, symbol)
    for some in _parts(days):
        candles = await reader.blocks(CANDLES, some)
        await asyncio.to_thread(_check_candles, [block for block in candles if block], scales)
        if coarser:
            # Of a finer scale the others fit if their candles do.
            for series in followers():
                found = [block for block in await reader.blocks(series, some) if block]
                await asyncio.to_thread(FRAMES[series.name].unseal, found, scales=scales)


async def check_depth(client: Redis, symbol: str, scales: Scales) -> None:
    """Raises Unfit."""
    reader, at_ms = DepthReader(client, symbol), -1
    while chunks := await reader.after(at_ms, CHUNKS_AT_ONCE):
        for chunk in chunks:
            await asyncio.to_thread(unpack_chunk, chunk, scales)
        at_ms = unpack_head(chunks[-1]).open_ms


async def check_archive(archive: Archive, instrument: Instrument, scale: Scale) -> None:
    """Read all of it. Raises Unfit, ArchiveUnavailable, ArchiveDamaged."""
    for series in SERIES.values():
        for period_ms in await asyncio.to_thread(archive.periods, series, instrument.symbol):
            await asyncio.to_thread(_check_object, archive, series, instrument, period_ms, scale)


def _check_object(
    archive: Archive, series: ArchiveSeries, instrument: Instrument, period_ms: int, scale: Scale
) -> None:
    found = archive.packed(series, instrument, period_ms)
    if found and not Rescaling(found.scale, scale).is_none:
        for name in series.schema:
            rescaled(found.stored([name]), Rescaling(found.scale, scale))


def _check_candles(found: Sequence[bytes], scales: Scales) -> None:
    if not found:
        return
    columns = candle_blocks.columns(found, ("high_ticks", "volume_lots", "turnover_low", "turnover_high"), scales)
    shifted(int(columns["high_ticks"].max()), PRICE, scales.now.price_decimals, 0, MAX_TICKS - 1)
    greatest = int(columns["turnover_high"].max()) + 1 << 64
    if greatest > MAX_TURNOVER:
        halves = zip(columns["turnover_high"].tolist(), columns["turnover_low"].tolist(), strict=True)
        shifted(max((high << 64) | low for high, low in halves), TURNOVER, sum(scales.now), 0, MAX_TURNOVER)


def _parts(days: Sequence[int]) -> Iterator[Sequence[int]]:
    return (days[at : at + DAYS_AT_ONCE] for at in range(0, len(days), DAYS_AT_ONCE))
