"""Everything that is due, of every symbol."""

import logging
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest

from redis.asyncio import Redis

from common.market.timeframes.timeframe import MINUTE_MS, day_of
from common.series import MINUTE_SERIES
from common.store.calendars import adopt
from common.store.depth_tiles import due_of
from common.store.format import ROLLED_MONTHS, TRADED_TILES, stated_format
from common.store.registry import Registry
from common.store.rollups import RollupStore
from common.store.tiles import due_of_trades
from common.store.trade_archive import TRADES, Waiting, waiting
from workers.rollup.work import ARCHIVE, DEPTH, RESCALE, ROLL, ROLLED_BY, TILES, Work

log = logging.getLogger(__name__)

# Trades wait for the archive until they are this part of those kept in the stream, which then never has to hold more;
# or until their day is over; or for so long. Each time the day's object is written again, up to 25 MB, so not often.
WAITING_PART = 4
WAITING_MOST_MS = 60 * MINUTE_MS


async def adopt_calendars(client: Redis) -> None:
    """Make due what has been changed of calendars."""
    markets = await Registry(client).stored_symbols()
    for symbol, count in (await adopt(client, (market.instrument for market in markets.values()))).items():
        log.info("calendar changed", extra={"symbol": symbol, "days": count})


async def due_work(
    client: Redis, *, archiving: bool, trades_kept: int | None = None, tiles_of: int | None = None
) -> list[Work]:
    """One of each symbol in turn, so that one with years to do does not keep the others waiting; of each the newest.

    `trades_kept`: how many each symbol's stream is to keep; None if trades are not archived. `tiles_of`: the same, of
    which tiles are to be made; None if they are not.
    """
    symbols = await Registry(client).symbols()
    listed = (*MINUTE_SERIES, *([] if trades_kept is None else [TRADES]))
    form = await stated_format(client)
    works = {symbol: await _due_of(client, symbol, listed if archiving else (), form) for symbol in symbols}
    if form >= TRADED_TILES:
        for symbol in await due_of(client, symbols):
            works[symbol].insert(0, Work(DEPTH, symbol, 0))
    if trades_kept is not None:
        for symbol, found in (await waiting(client, symbols)).items():
            if is_due(found, trades_kept):
                # Before all others of the symbol: they are lost if they wait for too long.
                works[symbol].insert(0, Work(ARCHIVE, symbol, day_of(max(found.since_ms or 0, 0)), (TRADES,)))
    if tiles_of is not None and form >= TRADED_TILES:
        for symbol in await due_of_trades(client, list(symbols), tiles_of):
            works[symbol].insert(0, Work(TILES, symbol, 0))
    return in_turn(works.values())


def is_due(found: Waiting, trades_kept: int) -> bool:
    """Whether the trades that wait are to be archived now. The first ones always are: the archive begins with them."""
    if found.since_ms is None:
        return True
    if not found.count:
        return False
    is_over = day_of(found.since_ms) < day_of(found.watermark_ms)
    is_old = found.watermark_ms - found.since_ms >= WAITING_MOST_MS
    return is_over or is_old or found.count * WAITING_PART >= trades_kept


async def _due_of(client: Redis, symbol: str, archived: Sequence[str], form: int) -> list[Work]:
    """By month, the newest first; a month is rolled up before it is archived. `archived`: the series that are.

    `form`: of the store, which says whether what is sealed of a month or a day is to have its roll-up or tiles.
    """
    due = await RollupStore(client, symbol).due()
    rolls = {ROLLED_BY.open_of(day_ms): None for day_ms in due.days}
    if form >= ROLLED_MONTHS and due.unrolled_ms is not None:
        # Whichever month a job is of, it makes what all others lack.
        rolls[due.unrolled_ms] = None
    if form >= TRADED_TILES and due.untiled_ms is not None:
        rolls[due.untiled_ms] = None
    works = [Work(ROLL, symbol, month_ms) for month_ms in rolls]
    if archived:
        # Of all sealed days of a period, one job.
        periods = {(series, MINUTE_SERIES[series].archive_period.open_of(day)): None for series, day in due.archive}
        # Whatever has to be archived of a series that is not listed: it is listed first.
        periods |= {(series, 0): None for series in due.unlisted if series in archived}
        works += [Work(ARCHIVE, symbol, period_ms, (series,)) for series, period_ms in periods]
    # Nothing waits for what is in the archive already.
    rescales = [Work(RESCALE, symbol, 0)] if archived and due.rescale else []
    return [*sorted(works, key=_newest_first), *rescales]


def _newest_first(work: Work) -> tuple[int, bool, int]:
    return -ROLLED_BY.open_of(work.period_ms), work.function != ROLL, -work.period_ms


def in_turn(groups: Iterable[Sequence[Work]]) -> list[Work]:
    """The first of each group, then the second of each, and so on."""
    return [work for work in chain.from_iterable(zip_longest(*groups)) if work is not None]
