"""The roll-up of one day: its trading days, their weeks and months, and the day itself as sealed blocks.

A pure function of the stored minutes, taken in by one script that refuses it if any of them has changed since
(common.store.rollups). So it may die at any moment, run twice, and run beside itself.

A week or a month is made by the last of its days that is to be rolled up: so it is stored, and told, once. So are the
15m candles of what is sealed of a UTC month (workers.rollup.month).

A minute that late trades amended does not tell how its delta ran. Before its day is sealed that is made of its trades,
where they are kept (workers.rollup.running_delta).

Of a day that begins before what the store has dropped, the minutes are read out of the archive. There is nothing to be
sealed then. Without an archive what was made of them stays.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from redis.asyncio import Redis

from common.errors import FleetError, Stale, StoreUnavailable, Superseded
from common.market.builder.late import LatePart
from common.market.candle import Candle
from common.market.coding import blocks, codec
from common.market.coding.bar_json import bar_json
from common.market.coding.blocks import Columns
from common.market.coding.candle_columns import merged, opened
from common.market.instrument import Instrument
from common.market.manifest import ManifestEntry
from common.market.scale import Scales
from common.market.timeframes.periods import DAY, MONTH, WEEK, Period, Plan, periods, rolled_up
from common.market.timeframes.timeframe import DAY_MS, Timeframe, day_of
from common.series import CANDLES, FOOTPRINTS, MINUTE_SERIES, MinuteSeries, followers
from common.store.archived import touches
from common.store.calendars import adopt
from common.store.format import DELTA_RANGES, TRADED_TILES
from common.store.instrument import InstrumentChanged
from common.store.months import MonthStore
from common.store.registry import Market
from common.store.rollups import DayReading, Rolled, RollupStore, SealFailed, Staged, StoredMinutes
from common.store.tiles import made_of
from workers.rollup.day_tiles import day_tiles
from workers.rollup.month import staged_month

log = logging.getLogger(__name__)

# Reads the packed candles that the archive alone has, of those that open from a time (ms) on, before another; with what
# late trades make of them, as of a commit (token, seq); of months of which that much was confirmed.
Older = Callable[
    [Instrument, int, int, Sequence[LatePart], tuple[str, int], Sequence[ManifestEntry]], Awaitable[list[bytes]]
]

# Makes the range of the running delta of packed candles that lack it, of the trades that are kept; by their opens, of
# which it can be told.
Ranged = Callable[[Redis, Market, Sequence[bytes]], Awaitable[Mapping[int, bytes]]]

# A day that is being backfilled changes under its job; the next tick tries again.
ATTEMPTS = 5
# A job begins no further day after that: others wait, and a stop gives it one second.
MAX_JOB_S = 1.0


async def roll_days(
    client: Redis,
    market: Market,
    from_ms: int,
    end_ms: int,
    events_kept: int = 10_000,
    older: Older | None = None,
    stopping: Callable[[], bool] = lambda: False,
    ranged: Ranged | None = None,
) -> None:
    """Roll up what is due of the days of `[from_ms, end_ms)`, newest first, for MAX_JOB_S at most, or until `stopping`.

    A day that fails does not hold up the others; the first failure is raised once they are done.
    """
    until_s = time.monotonic() + MAX_JOB_S
    await adopt(client, [market.instrument])
    failure: FleetError | None = None
    for day_ms in reversed(await RollupStore(client, market.symbol).due_days(from_ms, end_ms)):
        if stopping() or time.monotonic() >= until_s:
            break
        try:
            await roll_day(client, market, day_ms, events_kept, older, ranged)
        except (StoreUnavailable, InstrumentChanged):
            raise
        except FleetError as error:
            log.warning("day failed", extra={"symbol": market.symbol, "day_ms": day_ms, "error": str(error)})
            failure = failure or error
    if failure:
        raise failure


async def roll_day(
    client: Redis,
    market: Market,
    day_ms: int,
    events_kept: int = 10_000,
    older: Older | None = None,
    ranged: Ranged | None = None,
) -> bool:
    """Roll the day up if it is due. False: it was not, or it changed under every attempt.

    `older`: how the archive's minutes are read; None: there is no archive. `ranged`: None leaves minutes as they are.
    """
    stores = _Stores(RollupStore(client, market.symbol, events_kept), MonthStore(client, market.symbol))
    anchored, ranging = timeframes(market.instrument), partial(ranged, client, market) if ranged else None
    for _ in range(ATTEMPTS):
        try:
            return await _roll(stores, market.instrument, anchored, day_ms, older, ranging)
        except (Stale, Superseded) as error:
            log.info("day to be rolled up once more", extra={"symbol": market.symbol, "reason": str(error)})
    return False


def timeframes(instrument: Instrument) -> dict[str, Timeframe]:
    """Those of the instrument's roll-ups."""
    return {timeframe.text: instrument.anchored(timeframe) for timeframe in (DAY, WEEK, MONTH)}


class _Stores(NamedTuple):
    days: RollupStore
    months: MonthStore


async def _roll(
    stores: _Stores,
    instrument: Instrument,
    anchored: Mapping[str, Timeframe],
    day_ms: int,
    older: Older | None,
    ranging: Callable[[Sequence[bytes]], Awaitable[Mapping[int, bytes]]] | None,
) -> bool:
    """False if the day is not due."""
    store = stores.days
    utc_day = Period(day_ms, day_ms + DAY_MS)
    plan = Plan.of(utc_day.open_ms, utc_day.end_ms, anchored)
    from_ms, to_ms = plan.range_of([*plan.days, utc_day])
    wanted = {
        "1d": plan.range_of([*plan.weeks, *plan.months, utc_day]),
        "1w": plan.range_of([*plan.weeks, utc_day]),
        "1M": plan.range_of([*plan.months, utc_day]),
    }
    others = {*range(day_of(wanted["1d"][0]), wanted["1d"][1], DAY_MS), *_days_of_month(day_ms)} - {day_ms}
    reading = await store.read(day_ms, from_ms, to_ms, wanted, sorted(others))
    if reading is None or not reading.adopted.is_of(instrument.calendar, instrument.exceptions):
        # Not due, or its calendar has changed since the market was read: the next job has another look at it.
        return False
    reading.state.check(instrument)
    scales = reading.state.scales(instrument)
    floor_ms = reading.state.candle_floor_ms
    kept_ms = min(floor_ms, _archived_from(reading, instrument)) if older else floor_ms
    lacking = _lacking(reading, utc_day)
    if ranging and lacking:
        reading = _with(reading, await ranging(lacking))
    members = list(reading.candles.open)
    span = max(from_ms, kept_ms), min(to_ms, floor_ms)
    if older and span[0] < span[1]:
        at = reading.state.token, reading.state.seq
        members += await older(instrument, *span, reading.late, at, reading.archived)
    minutes = opened(list(reading.candles.sealed.values()), members, scales)
    rolled = list(_rolled(instrument, anchored, plan, reading, minutes, kept_ms))
    rolled += _gone(utc_day, plan, reading) if _has_all(reading, utc_day, kept_ms) else []
    staged = await _sealed(store, utc_day, reading, scales) if day_ms >= floor_ms else None
    makes_month = staged is not None and _makes_month(reading, day_ms)
    # The first of all sealed days notes that no month lacks anything.
    form = await stores.months.form() if staged and (makes_month or not reading.month.seals) else None
    fresh = {day_ms: staged.candles} if isinstance(staged, Staged) else {}
    is_made = makes_month and form is not None
    month = await staged_month(stores.months, reading.month, scales, fresh) if is_made else None
    outside = _outside(minutes, utc_day, plan.days) if _has_all(reading, utc_day, kept_ms) else None
    await store.finish(day_ms, reading.mark, rolled, staged, outside, month, form)
    log.info(
        "day rolled up",
        extra={"symbol": instrument.symbol, "day_ms": day_ms, "changed": sum(bool(each.event) for each in rolled)},
    )
    return True


def _lacking(reading: DayReading, day: Period) -> list[bytes]:
    """Open minutes of the day, which are about to be sealed, without the range of their running delta."""
    if reading.state.format < DELTA_RANGES or day.open_ms < reading.state.candle_floor_ms:
        return []
    short = (member for member in reading.candles.open if len(member) == codec.CANDLE.size)
    return [member for member in short if day.holds(codec.candle_open(member))]


def _with(reading: DayReading, ranged: Mapping[int, bytes]) -> DayReading:
    opened = [ranged.get(codec.candle_open(member), member) for member in reading.candles.open]
    return replace(reading, candles=replace(reading.candles, open=opened))


def _days_of_month(day_ms: int) -> range:
    month_ms = MONTH.open_of(day_ms)
    return range(month_ms, MONTH.next_open(month_ms), DAY_MS)


def _makes_month(reading: DayReading, day_ms: int) -> bool:
    """Whether no other day of the month is to be sealed, which would make its 15m candles."""
    first_ms, end_ms = reading.state.candle_floor_ms, reading.state.watermark_ms - DAY_MS
    others = reading.others.intersection(_days_of_month(day_ms))
    return not any(first_ms <= day <= end_ms for day in others)


def _archived_from(reading: DayReading, instrument: Instrument) -> int:
    """Return from when on (ms) all minutes that have been dropped can be had out of the archive."""
    if reading.archived_from_ms < 0:
        return reading.state.candle_floor_ms
    oldest = reading.state.coverage(instrument.ids).oldest()
    # A trading day may begin on the UTC day before: if the first trade of all is archived, nothing is missing there.
    return -1 if oldest and day_of(oldest.from_ms) >= reading.archived_from_ms else reading.archived_from_ms


def _has_all(reading: DayReading, period: Period, kept_ms: int) -> bool:
    """Whether all minutes of a period can be had. `kept_ms`: those that open before are gone."""
    return period.open_ms >= kept_ms and not touches(reading.lost, period.open_ms, period.end_ms)


def _rolled(
    instrument: Instrument,
    anchored: Mapping[str, Timeframe],
    plan: Plan,
    reading: DayReading,
    minutes: Columns,
    kept_ms: int,
) -> Iterator[Rolled]:
    """Of days of which some minutes are gone, what was made of them stays."""
    state, text = reading.state, _Text(instrument, reading)
    stored = {series: {codec.candle_open(m): m for m in members} for series, members in reading.rolled.items()}
    # Those of another calendar are not days any more.
    days = {open_ms: codec.unpack_candle(m) for open_ms, m in stored["1d"].items() if _opens(anchored["1d"], open_ms)}
    for day in plan.days:
        if day.end_ms <= state.watermark_ms and _has_all(reading, day, kept_ms):
            candle = merged(minutes, day.open_ms, day.end_ms)
            days.pop(day.open_ms, None)
            if candle:
                days[day.open_ms] = candle
            yield text.rolled("1d", day, candle, stored["1d"])
    for series, spans in (("1w", plan.weeks), ("1M", plan.months)):
        for period in spans:
            if period.end_ms <= state.watermark_ms and not _is_pending(period, reading.others, anchored["1d"]):
                yield text.rolled(series, period, rolled_up(days.values(), period), stored[series])


def _outside(minutes: Columns, day: Period, trading_days: Sequence[Period]) -> int:
    """How many trades of the day are in no session; of a minute that does not tell how many it has, one."""
    opens = minutes["open_ms"]
    spans = [(opens >= span.open_ms) & (opens < span.end_ms) for span in trading_days]
    inside = np.logical_or.reduce(spans) if spans else np.zeros(len(opens), np.bool_)
    outside = (opens >= day.open_ms) & (opens < day.end_ms) & ~inside
    return int(np.maximum(minutes["trades"][outside], 1).sum())


def _opens(timeframe: Timeframe, open_ms: int) -> bool:
    return timeframe.holds(open_ms) and timeframe.open_of(open_ms) == open_ms


def _is_pending(period: Period, others: frozenset[int], days: Timeframe) -> bool:
    """Whether another day is still to be rolled up that has a time in common with a trading day of the period."""
    spans = ((max(day_ms, period.open_ms), min(day_ms + DAY_MS, period.end_ms)) for day_ms in others)
    return any(periods(days, *span) for span in spans if span[0] < span[1])


def _gone(utc_day: Period, plan: Plan, reading: DayReading) -> Iterator[Rolled]:
    """What was stored by another calendar, and opens at a time of the day at which nothing does now."""
    for series, spans in (("1d", plan.days), ("1w", plan.weeks), ("1M", plan.months)):
        now = {period.open_ms for period in spans}
        stored = {codec.candle_open(member) for member in reading.rolled[series]}
        for open_ms in sorted(open_ms for open_ms in stored - now if utc_day.holds(open_ms)):
            yield Rolled(series, open_ms, b"", b"", b"")


class _Text:
    """What is stored and told of a roll-up (docs/protocol.md, "Pub/sub")."""

    def __init__(self, instrument: Instrument, reading: DayReading) -> None:
        self._instrument, self._state = instrument, reading.state
        self._coverage = reading.state.coverage(instrument.ids)

    def rolled(self, series: str, period: Period, candle: Candle | None, stored: Mapping[int, bytes]) -> Rolled:
        packed, before = codec.pack_candle(candle) if candle else b"", stored.get(period.open_ms)
        if candle is None or packed == before:
            return Rolled(series, period.open_ms, packed, b"", b"")
        bar = bar_json(
            candle,
            self._instrument,
            is_final=True,
            partial=not self._coverage.covers(period.open_ms, period.end_ms),
        )
        kind = "amend" if before else "candle"
        event, message = (self._message(kind, series, body) for body in (f'"bar":{bar}', f'"bars":[{bar}]'))
        return Rolled(series, period.open_ms, packed, event, message)

    def _message(self, kind: str, series: str, body: str) -> bytes:
        symbol, state = self._instrument.symbol, self._state
        head = f'"type":"{kind}","symbol":"{symbol}","seq":{state.seq},"token":"{state.token}"'
        return f'{{{head},"timeframe":"{series}",{body}}}'.encode()


async def _sealed(store: RollupStore, day: Period, reading: DayReading, scales: Scales) -> "Staged | Literal['kept']":
    """Seal the day; one that is sealed, and that nothing was added to, is as it was."""
    added = [member for member in reading.candles.open if day.holds(codec.candle_open(member))]
    is_sealed = any(seal.day_ms == day.open_ms for seal in reading.month.seals)
    if is_sealed and not added and not any(reading.others_open.values()):
        return "kept"
    stored = {CANDLES.name: reading.candles}
    for series in followers():
        sealed = await store.sealed(series, day.open_ms)
        stored[series.name] = StoredMinutes(sealed, reading.others_open[series.name])
    members = {name: _members(MINUTE_SERIES[name], minutes, day, scales) for name, minutes in stored.items()}
    found = {name: its for name, its in members.items() if its}
    # Below that, a release may write the symbol that drops no tiles.
    return await _stage(store, day, found, scales, with_tiles=reading.state.format >= TRADED_TILES)


def _members(series: MinuteSeries, minutes: StoredMinutes, day: Period, scales: Scales) -> list[bytes]:
    """Return the day's members, ascending."""
    found = minutes.members(series, scales)
    return [found[open_ms] for open_ms in sorted(found) if day.holds(open_ms)]


async def _stage(
    store: RollupStore, day: Period, members: Mapping[str, list[bytes]], scales: Scales, *, with_tiles: bool
) -> Staged:
    """Lay the day down as blocks, by series, and see that they read as what they were made of."""
    codecs = {name: MINUTE_SERIES[name].codec.blocks() for name in members}
    made = {name: codecs[name].pack(found, scales.name) for name, found in members.items()}
    laid = await store.stage(day.open_ms, made) if made else {}
    for name, found in members.items():
        if codecs[name].unpack(laid[name], scales) != found:
            raise SealFailed(f"sealed {name} of {store.keys.symbol}, day {day.open_ms}, read otherwise")
    counts = {name: len(found) for name, found in members.items()}
    digests = {name: blocks.digest(block) for name, block in made.items()}
    tiles = day_tiles(made.get(FOOTPRINTS.name), scales, made_of(digests)) if with_tiles else ()
    return Staged(counts, digests, made.get(CANDLES.name, b""), tiles)
