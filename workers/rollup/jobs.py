"""The functions that the queue may call, and nothing else: what a job names is looked up here.

Each is safe to run twice and side by side: the store takes a result only if what it was made of is still there.
Polars is loaded by those that need it, in the forked process: its threads don't survive a fork.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

# numpy loads it when it first looks for unique values: that would be in every job's process, 10 ms of its 80.
import numpy.ma  # noqa: F401
from redis.asyncio import Redis

from common.market.builder.late import LatePart
from common.market.instrument import Instrument
from common.market.manifest import ManifestEntry
from common.market.timeframes.timeframe import DAY_MS
from common.retry import retry_when_overtaken
from common.series import CANDLES
from common.settings import Settings
from common.store.client import commit_client
from common.store.instrument import InstrumentChanged
from common.store.jobs import Jobs
from common.store.manifest import Manifest
from common.store.registry import Market, Registry
from common.store.trade_archive import TRADES
from common.tiles import DEPTH_LEVELS, HOUR_MS, TRADE_LEVELS
from workers.rollup.day import MAX_JOB_S, Older, roll_days
from workers.rollup.day_tiles import make_day_tiles
from workers.rollup.month import make_months
from workers.rollup.rq_worker import Functions
from workers.rollup.trade_tiles import make_trade_tiles
from workers.rollup.work import ARCHIVE, DEPTH, RESCALE, ROLL, ROLLED_BY, TILES

log = logging.getLogger(__name__)

# A symbol that is changed under its job is taken up once more, as it is then.
ATTEMPTS = 3

Job = Callable[[Redis, Market], Awaitable[object]]


def functions(settings: Settings, stopping: Callable[[], bool]) -> Functions:
    """By the names that jobs use. `stopping`: asked between the parts of a job, whether it is to end with the next."""
    found: dict[str, Callable[..., object]] = {
        ROLL: partial(roll, settings, stopping),
        DEPTH: partial(depth, settings, stopping),
        TILES: partial(tiles, settings, stopping),
    }
    if settings.archive_url:
        found[ARCHIVE] = partial(archive, settings, settings.archive_url)
        found[RESCALE] = partial(rescale, settings, settings.archive_url, stopping)
    return found


def roll(settings: Settings, stopping: Callable[[], bool], symbol: str, month_ms: int) -> None:
    """Roll up and seal what is due of a month's days, and make what other months and days lack."""
    span, kept, older = (month_ms, ROLLED_BY.next_open(month_ms)), settings.events_kept, _older(settings)

    async def roll_month(client: Redis, market: Market) -> None:
        await _list_older(settings, client, market)
        until_s = time.monotonic() + MAX_JOB_S
        await roll_days(client, market, *span, kept, older, stopping, partial(_ranged, settings))
        is_over = partial(_is_over, stopping, until_s)
        await make_months(client, market, is_over)
        await make_day_tiles(client, market, is_over)

    _run(settings, symbol, roll_month)


def _is_over(stopping: Callable[[], bool], until_s: float) -> bool:
    return stopping() or time.monotonic() >= until_s


def depth(settings: Settings, stopping: Callable[[], bool], symbol: str, _: int) -> None:
    """Make the tiles that a book's history lacks."""
    from workers.rollup.depth_tiles import make_depth_tiles

    kept_ms = {
        level.retention: getattr(settings, level.retention) * (DAY_MS if level.retention.endswith("days") else HOUR_MS)
        for level in DEPTH_LEVELS
    }
    _run(settings, symbol, lambda client, market: make_depth_tiles(client, market, kept_ms, stopping))


def tiles(settings: Settings, stopping: Callable[[], bool], symbol: str, _: int) -> None:
    """Make tiles of the trades that are kept."""
    hours: dict[str, int] = settings.model_dump()
    kept_ms = {level: hours[level.retention] * HOUR_MS for level in TRADE_LEVELS}
    _run(settings, symbol, lambda client, market: make_trade_tiles(client, market, kept_ms, stopping))


def archive(settings: Settings, url: str, symbol: str, series: str, period_ms: int) -> None:
    """Write the period's sealed days into the archive; of trades all that wait, whatever the period."""
    from common.archive.archive import Archive
    from workers.rollup.archiving import archive_period
    from workers.rollup.trades import archive_trades

    place = Archive.open(url, settings.archive_s3_endpoint)

    async def job(client: Redis, market: Market) -> bool:
        if series == TRADES:
            return await archive_trades(client, market, place)
        return await archive_period(client, market, place, series, period_ms)

    if _run(settings, symbol, job):
        asyncio.run(_note_written(settings))


async def _note_written(settings: Settings) -> None:
    async with commit_client(settings.queue_url) as queue:
        if await Jobs(queue).archive_works():
            log.info("the archive can be written again")


async def _list_older(settings: Settings, client: Redis, market: Market) -> None:
    """Without a manifest a month of the archive that is lost would be one in which nothing was traded."""
    outline = await Manifest(client, market.symbol, CANDLES.name).outline()
    if settings.archive_url is None or outline.is_whole or not outline.was_archived:
        return
    from common.archive.archive import Archive
    from workers.rollup.listing import ensure_listed

    place = Archive.open(settings.archive_url, settings.archive_s3_endpoint)
    await ensure_listed(client, market, place, CANDLES.name)


def rescale(settings: Settings, url: str, stopping: Callable[[], bool], symbol: str, _: int) -> None:
    """Write archived objects again that are of another scale than their symbol."""
    from common.archive.archive import Archive
    from workers.rollup.rescaling import rescale_archive

    place = Archive.open(url, settings.archive_s3_endpoint)
    _run(settings, symbol, lambda client, market: rescale_archive(client, market, place, stopping))


async def _ranged(settings: Settings, client: Redis, market: Market, members: Sequence[bytes]) -> Mapping[int, bytes]:
    from common.archive.archive import Archive
    from workers.rollup.running_delta import with_ranges

    url = settings.archive_url
    place = Archive.open(url, settings.archive_s3_endpoint) if url else None
    return await with_ranges(place, client, market, members)


def _older(settings: Settings) -> Older | None:
    """Few days need the archive, and Polars takes half a second to load."""
    url = settings.archive_url
    if url is None:
        return None

    async def read(
        instrument: Instrument,
        start_ms: int,
        end_ms: int,
        late: Sequence[LatePart],
        at: tuple[str, int],
        known: Sequence[ManifestEntry],
    ) -> list[bytes]:
        from common.archive.archive import Archive
        from workers.rollup.older import older_minutes

        place = Archive.open(url, settings.archive_s3_endpoint)
        return await older_minutes(place, instrument, start_ms, end_ms, late, at, known)

    return read


def _run(settings: Settings, symbol: str, job: Job) -> object:
    """What the job says. Nothing is to be done for a symbol that has been removed."""

    async def attempt(client: Redis) -> object:
        market = await Registry(client).stored(symbol)
        return await job(client, market) if market else None

    async def run() -> object:
        async with commit_client(settings.store_url) as client:
            by = (InstrumentChanged,)
            return await retry_when_overtaken(lambda: attempt(client), symbol, "work on it", by=by, attempts=ATTEMPTS)

    return asyncio.run(run())
