"""Archives the trades of a symbol: by the job, or as one that dies before it confirms."""

from redis.asyncio import Redis

from common.archive.archive import Archive
from common.market.instrument import Instrument
from common.store.registry import Market
from common.store.trade_archive import TradeArchive
from workers.rollup import trades as job


async def archive_trades(client: Redis, archive: Archive, instrument: Instrument, *, confirm: bool = True) -> None:
    """Archive the trades of all commits since the last time."""
    if confirm:
        await job.archive_trades(client, Market(instrument, {"kind": "inbox"}), archive)
        return
    store = TradeArchive(client, instrument.symbol)
    standing = await store.standing()
    assert standing
    for day_ms, rows in job.by_day(await job.waiting_trades(store, standing)):
        job.add_to_day(archive, instrument, day_ms, rows)
