"""The roll-up of one day: its trading days, their weeks and months, and the day itself as sealed blocks.

A pure function of the stored minutes, taken in by one script that refuses it if any of them has changed since
(common.store.rollups). So it may die at any moment, run twice, and run beside itself.

Of a day that begins before what the store has dropped, the minutes are read out of the archive. There is nothing to be
sealed then. Without an archive what was made of them stays.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from redis.asyncio import Redis

from common.errors import FleetError, Stale, Superseded
from common.market import blocks, codec
from common.market.bar_json import bar_json
from common.market.candle import Candle
from common.market.instrument import Instrument
from common.market.late import Part
from common.market.rollup import DAY, MONTH, WEEK, Period, Plan, rolled_up
from common.market.timeframe import DAY_MS, Timeframe, day_of
from common.store.registry import Market
from common.store.rollups import CANDLES, FOOTPRINTS, Minutes, Reading, Rolled, RollupStore, Staged

log = logging.getLogger(__name__)

# Reads the packed candles that the archive alone has, of those that open from a time (ms) on, before another; with what
# late trades make of them, as of a commit (token, seq).
Older = Callable[[Instrument, int, int, Sequence[Part], tuple[str, int]], Awaitable[list[bytes]]]

# A day that is being backfilled changes under its job; the next tick tries again.
ATTEMPTS = 5


class SealFailed(FleetError):
    """What was read back is not what was written."""


@dataclass(frozen=True, slots=True)
class Series:
    """What is sealed: its packed members, and blocks of them."""

    name: str
    open_of: Callable[[bytes], int]
    pack: Callable[[Sequence[bytes]], bytes]
    unpack: Callable[[bytes], list[bytes]]

    def members(self, minutes: Minutes) -> dict[int, bytes]:
        """Return every minute by its open: the open one where it is sealed too."""
        sealed = (member for block in minutes.sealed.values() for member in self.unpack(block))
        return {self.open_of(member): member for member in chain(sealed, minutes.open)}


SEALED_CANDLES = Series(CANDLES, codec.candle_open, blocks.pack_candles, blocks.candle_members)
SEALED_FOOTPRINTS = Series(FOOTPRINTS, codec.footprint_open, blocks.pack_footprints, blocks.footprint_members)


async def roll_day(
    client: Redis, market: Market, day_ms: int, events_kept: int = 10_000, older: Older | None = None
) -> bool:
    """Roll the day up if it is due. False: it was not, or it changed under every attempt.

    `older`: how the archive's minutes are read; None: there is no archive.
    """
    store, anchored = RollupStore(client, market.symbol, events_kept), timeframes(market.instrument)
    for _ in range(ATTEMPTS):
        if day_ms not in (await store.due()).days:
            return False
        try:
            await _roll(store, market.instrument, anchored, day_ms, older)
            return True
        except (Stale, Superseded) as error:
            log.info("day to be rolled up once more", extra={"symbol": market.symbol, "reason": str(error)})
    return False


def timeframes(instrument: Instrument) -> dict[str, Timeframe]:
    """Those of the instrument's roll-ups."""
    return {timeframe.text: instrument.anchored(timeframe) for timeframe in (DAY, WEEK, MONTH)}


async def _roll(
    store: RollupStore, instrument: Instrument, anchored: Mapping[str, Timeframe], day_ms: int, older: Older | None
) -> None:
    plan = Plan.of(day_ms, day_ms + DAY_MS, anchored)
    from_ms, to_ms = plan.range_of(plan.days) if plan.days else (day_ms, day_ms + DAY_MS)
    wanted = {"1d": plan.day_range, "1w": plan.range_of(plan.weeks), "1M": plan.range_of(plan.months)}
    reading = await store.read(day_ms, from_ms, to_ms, wanted if plan.days else {})
    floor_ms = reading.state.candle_floor_ms
    kept_ms = min(floor_ms, _archived_from(reading, instrument)) if older else floor_ms
    if day_ms < kept_ms:
        # Its minutes are gone; what was made of them stays.
        await store.finish(day_ms, reading.mark, [], None)
        return
    read = {SEALED_CANDLES: SEALED_CANDLES.members(reading.candles)}
    read[SEALED_FOOTPRINTS] = SEALED_FOOTPRINTS.members(reading.footprints)
    minutes = read[SEALED_CANDLES]
    start_ms, end_ms = max(from_ms, kept_ms), min(to_ms, floor_ms)
    if older and start_ms < end_ms:
        found = await older(instrument, start_ms, end_ms, reading.late, (reading.state.token, reading.state.seq))
        minutes = minutes | {codec.candle_open(member): member for member in found}
    rolled = list(_rolled(instrument, plan, reading, minutes, kept_ms)) if plan.days else []
    staged = await _stage(store, Period(day_ms, day_ms + DAY_MS), read) if day_ms >= floor_ms else None
    await store.finish(day_ms, reading.mark, rolled, staged)
    log.info(
        "day rolled up",
        extra={"symbol": instrument.symbol, "day_ms": day_ms, "changed": sum(bool(each.event) for each in rolled)},
    )


def _archived_from(reading: Reading, instrument: Instrument) -> int:
    """Return from when on (ms) all minutes that have been dropped can be had out of the archive."""
    if reading.archived_from_ms < 0:
        return reading.state.candle_floor_ms
    oldest = reading.state.coverage(instrument.ids).oldest()
    # A trading day may begin on the UTC day before: if the first trade of all is archived, nothing is missing there.
    return -1 if oldest and day_of(oldest.from_ms) >= reading.archived_from_ms else reading.archived_from_ms


def _rolled(
    instrument: Instrument, plan: Plan, reading: Reading, minutes: Mapping[int, bytes], kept_ms: int
) -> Iterator[Rolled]:
    """`kept_ms`: of days that begin before it some minutes are gone."""
    state, text = reading.state, _Text(instrument, reading)
    stored = {series: {codec.candle_open(m): m for m in members} for series, members in reading.rolled.items()}
    days = {open_ms: codec.unpack_candle(member) for open_ms, member in stored["1d"].items()}
    candles = list(map(codec.unpack_candle, minutes.values()))
    finished = [day for day in plan.days if day.end_ms <= state.watermark_ms and day.open_ms >= kept_ms]
    for day in finished:
        candle = rolled_up(candles, day)
        days.pop(day.open_ms, None)
        if candle:
            days[day.open_ms] = candle
        yield text.rolled("1d", day, candle, stored["1d"])
    if not finished:
        return
    for series, periods in (("1w", plan.weeks), ("1M", plan.months)):
        for period in periods:
            if period.end_ms <= state.watermark_ms:
                yield text.rolled(series, period, rolled_up(days.values(), period), stored[series])


class _Text:
    """What is stored and told of a roll-up (docs/protocol.md, "Pub/sub")."""

    def __init__(self, instrument: Instrument, reading: Reading) -> None:
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


async def _stage(store: RollupStore, day: Period, read: Mapping[Series, dict[int, bytes]]) -> Staged:
    """Lay the day down as blocks, and see that they read as what they were made of."""
    members = {
        series: [member for open_ms, member in sorted(found.items()) if day.holds(open_ms)]
        for series, found in read.items()
    }
    made = {series.name: series.pack(found) for series, found in members.items() if found}
    laid = await store.stage(day.open_ms, made) if made else {}
    for series, found in members.items():
        if found and series.unpack(laid[series.name]) != found:
            raise SealFailed(f"sealed {series.name} of {store.keys.symbol}, day {day.open_ms}, read otherwise")
    digests = (blocks.digest(made[series.name]) if series.name in made else "" for series in members)
    return Staged(tuple(map(len, members.values())), tuple(digests))
