"""Archives the trades of a symbol by the job; or as far as one gets that is killed before it has confirmed."""

from redis.asyncio import Redis

from common.archive.archive import Archive
from common.frames import decode
from common.market.instrument import Instrument
from common.store.reads import SymbolReader
from common.store.registry import Market
from workers.rollup import trades


async def archive_trades(client: Redis, archive: Archive, instrument: Instrument, *, confirm: bool = True) -> None:
    if confirm:
        await trades.archive_trades(client, Market(instrument), archive)
        return
    entries = await SymbolReader(client, instrument.symbol).entries(0, 1 << 30)
    for day_ms, some in trades.by_day(decode.trades([entry.trades for entry in entries])):
        trades.add_to_day(archive, instrument, day_ms, some)
