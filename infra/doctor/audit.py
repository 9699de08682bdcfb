"""The archive put to the proof: every object read back, and its rows compared with what they must agree with.

A sealed day that Redis still has is in the archive as it is there; a footprint has the volumes of its candle; and a
day's trades make its footprints.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import polars as pl
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import CANDLE_ROWS, FOOTPRINT_ROWS, SERIES, TRADE_ROWS, ArchiveSeries
from common.errors import ArchiveDamaged, Overtaken
from common.frames import bulk
from common.frames.minutes import FRAMES
from common.frames.schema import TRADES
from common.market.coding import blocks
from common.market.manifest import UNKNOWN, Fault, ManifestEntry
from common.market.scale import Scales
from common.market.timeframes.timeframe import DAY_MS, SECOND_MS
from common.retry import retry_when_overtaken
from common.series import CANDLES, MINUTE_SERIES
from common.store.archived import touches
from common.store.minute_archive import MinuteArchive
from common.store.parts import Seal, Seals
from common.store.reads import SymbolReader
from common.store.registry import Market
from common.store.rollups import RollupStore
from common.store.state import SymbolState
from common.store.trade_archive import ArchiveStanding, TradeArchive
from workers.rollup.trades import by_day, united, waiting_trades

_VOLUMES = ["volume_lots", "buy_lots", "sell_lots"]


@dataclass(frozen=True, slots=True)
class Object:
    """One of the archive, be it there or not."""

    series: ArchiveSeries
    period_ms: int

    @property
    def end_ms(self) -> int:
        return self.series.period.next_open(self.period_ms)

    def __str__(self) -> str:
        return f"{self.series.name} {self.series.label(self.period_ms)}"


@dataclass(frozen=True, slots=True)
class ObjectFaults:
    """What is wrong with an object, line by line. `damaged`: it can't be read. `outdated`: Redis has it otherwise."""

    wrong: tuple[str, ...] = ()
    damaged: bool = False
    outdated: bool = False


class _Marks(NamedTuple):
    """What Redis says of an object. `settled`: its sealed days that the archive must have as they are.

    `pending`: days of any series that the archive need not have as they are now. `version`: of the archived candles.
    """

    settled: list[Seal]
    pending: set[int]
    version: int
    scales: Scales


class Auditor:
    """Of one symbol, which may be written, rolled up and archived meanwhile."""

    def __init__(self, client: Redis, market: Market, archive: Archive) -> None:
        self._reader = SymbolReader(client, market.symbol, market.instrument)
        self._rollups = RollupStore(client, market.symbol)
        self._minutes = MinuteArchive(client, market.symbol)
        self._trades = TradeArchive(client, market.symbol, market.instrument)
        self._instrument, self._archive = market.instrument, archive
        # Footprints are archived by day, candles by month: the month read last, by its open and version.
        self._month: tuple[tuple[int, int], pl.DataFrame | None] = (-1, -1), None

    @property
    def symbol(self) -> str:
        return self._instrument.symbol

    async def objects(self, series: ArchiveSeries, from_ms: int, to_ms: int) -> list[Object]:
        """Return what is, or should be, in the archive of `[from_ms, to_ms)`, ascending."""
        opens = set(await asyncio.to_thread(self._archive.periods, series, self.symbol))
        opens |= {entry.period_ms for entry in await _confirmed(self._reader, series)}
        opens |= {series.period.open_of(seal.day_ms) for seal in (await self._marks(series, 0, to_ms)).settled}
        if series is TRADE_ROWS:
            opens |= set(await self._days_of_trades())
        found = (Object(series, period_ms) for period_ms in sorted(opens))
        return [each for each in found if each.period_ms < to_ms and each.end_ms > from_ms]

    async def _days_of_trades(self) -> list[int]:
        """Days that have footprints, and so must have trades."""
        standing = await self._trades.standing()
        days = await asyncio.to_thread(self._archive.periods, FOOTPRINT_ROWS, self.symbol)
        return [day_ms for day_ms in days if standing and _is_whole(Object(TRADE_ROWS, day_ms), standing)]

    async def check(self, where: Object) -> ObjectFaults:
        # What changes while it is looked at is looked at once more.
        return await retry_when_overtaken(lambda: self._check(where), self.symbol, f"check its {where}")

    async def repair(self, where: Object, found: ObjectFaults) -> str:
        """Have an object made again, as far as Redis has what that takes; return what has been done, as a sentence.

        One that can't be read is cleared, and only if Redis has dropped nothing of its period.
        """
        if where.series is TRADE_ROWS:
            return "not repaired: Redis keeps no days of trades"
        if not found.damaged and not found.outdated:
            return "not repaired: Redis has nothing to compare it with"
        max_ms = where.period_ms if found.damaged else where.end_ms
        floor_ms, days = await self._minutes.unarchive(where.series.name, where.period_ms, where.end_ms, max_ms)
        if not days:
            why = f"has dropped what is before {_time(floor_ms)}" if floor_ms > where.period_ms else "has not sealed it"
            return f"not repaired: Redis {why}"
        if found.damaged:
            await asyncio.to_thread(self._archive.clear, where.series, self._instrument, where.period_ms)
        return f"the queue writes it anew, with {days} sealed days"

    async def _marks(self, series: ArchiveSeries, from_ms: int, to_ms: int) -> _Marks:
        # Seals first: a day that is sealed again between the reads is pending in the second, or its seal another.
        view = await self._reader.view(Seals(from_ms))
        due = await self._rollups.due()
        ours = {*due.days, *(day_ms for name, day_ms in due.archive if name == series.name)}
        floor_ms = _floor_ms(series, view.state)
        settled = [
            seal
            for seal in view.seals
            if floor_ms <= seal.day_ms < to_ms and seal.day_ms not in ours and _digest(series, seal)
        ]
        pending = ours.union(day_ms for _, day_ms in due.archive)
        scales = view.state.scales(self._instrument) if view.state else Scales.unchanged(self._instrument.scale)
        return _Marks(settled, pending, view.archived.minutes[CANDLE_ROWS.name].version, scales)

    async def _check(self, where: Object) -> ObjectFaults:
        marks = await self._marks(where.series, where.period_ms, where.end_ms)
        found = await (self._check_trades if where.series is TRADE_ROWS else self._check_minutes)(where, marks)
        if await self._marks(where.series, where.period_ms, where.end_ms) != marks:
            raise self._changed
        return found

    @property
    def _changed(self) -> Overtaken:
        return Overtaken(f"Redis changed what it has of {self.symbol} while it was checked")

    async def _check_minutes(self, where: Object, marks: _Marks) -> ObjectFaults:
        try:
            rows, expected = await self._read(where)
            month = await self._candles(where, marks.version)
        except ArchiveDamaged as error:
            return ObjectFaults((str(error),), damaged=True)
        sealed = await self._sealed(where.series, marks)
        if rows is None:
            return _not_there(expected, outdated=bool(sealed))
        outdated = list(_otherwise(rows, sealed))
        volumes = [] if month is None else _unequal_volumes(rows, month, marks.pending)
        return ObjectFaults((*outdated, *volumes), outdated=bool(outdated))

    async def _read(self, where: Object) -> tuple[pl.DataFrame | None, ManifestEntry | None]:
        """Return the rows, None if not there, and what was confirmed. ArchiveDamaged if it is not that, or newer."""
        args = where.series, self._instrument, where.period_ms
        # Before the object: what is confirmed meanwhile is newer.
        expected = await self._reader.manifest(where.series.name).entry(where.period_ms)
        there = await asyncio.to_thread(self._archive.verify, *args)
        if there is None or (expected and expected.given_up):
            return None, expected
        return await asyncio.to_thread(self._archive.read_period, *args, expected=expected), expected

    async def _check_trades(self, where: Object, marks: _Marks) -> ObjectFaults:
        """The same of a day of trades, which are compared with its archived footprints."""
        args = self._instrument, where.period_ms
        before = await self._trades.standing()
        try:
            rows, expected = await self._read(where)
        except ArchiveDamaged as error:
            return ObjectFaults((str(error),), damaged=True)
        if rows is None and expected:
            return _not_there(expected, outdated=False)
        if before is None or where.period_ms in marks.pending or not _is_whole(where, before):
            return ObjectFaults()
        waiting = dict(by_day(await waiting_trades(self._trades, before)))
        after = await self._trades.standing()
        if after is None or after.archived_seq != before.archived_seq:
            raise self._changed
        try:
            levels = await asyncio.to_thread(self._archive.read_period, FOOTPRINT_ROWS, *args)
        except ArchiveDamaged:
            # Told where it is checked itself.
            return ObjectFaults()
        if levels is None:
            return ObjectFaults()
        applied = united(rows, waiting.get(where.period_ms, TRADES.to_frame()))
        return ObjectFaults(tuple(_unlike_levels(applied, levels)) if len(applied) else ("it is not there",))

    async def _sealed(self, series: ArchiveSeries, marks: _Marks) -> dict[int, pl.DataFrame]:
        """Return the days as Redis has them. Raises Overtaken if one has been sealed again, or dropped."""
        seals = marks.settled
        if not seals:
            return {}
        frames = FRAMES[series.name]
        found = await self._reader.blocks(frames.series, [seal.day_ms for seal in seals])
        known = [block for block in found if block]
        if list(map(blocks.digest, known)) != [_digest(series, seal) for seal in seals]:
            raise self._changed
        days = (seal.day_ms for seal in seals)
        return {day_ms: frames.unseal([block], scales=marks.scales) for day_ms, block in zip(days, known, strict=True)}

    async def _candles(self, where: Object, version: int) -> pl.DataFrame | None:
        """Return the month of candles that footprints are in, if both are archived."""
        if where.series is not FOOTPRINT_ROWS:
            return None
        month_ms = CANDLE_ROWS.period.open_of(where.period_ms)
        if self._month[0] != (month_ms, version):
            args = CANDLE_ROWS, self._instrument, month_ms, ["open_ms", *_VOLUMES]
            try:
                found = await asyncio.to_thread(self._archive.read_period, *args)
            except ArchiveDamaged:
                # Told where it is checked itself.
                found = None
            self._month = (month_ms, version), found
        return self._month[1]


async def find_faults(client: Redis, market: Market, archive: Archive) -> list[Fault]:
    """Return what is in the archive otherwise than it was confirmed, the newest first.

    A listing shows what is missing, is no file, or has another size; those are read, and what a feed had found. What is
    found is noted in the store, for health to tell, and what is well again is taken off.
    """
    reader = SymbolReader(client, market.symbol, market.instrument)
    found: list[Fault] = []
    for series in SERIES.values():
        manifest = reader.manifest(series.name)
        known = (await manifest.outline()).faulty
        entries = await _confirmed(reader, series)
        listed = await asyncio.to_thread(archive.listed, series, market.symbol) if entries else {}
        for entry in entries:
            there = listed.get(entry.period_ms)
            if there and not there.kind and entry.size in (UNKNOWN, there.bytes) and entry.period_ms not in known:
                continue
            try:
                await asyncio.to_thread(archive.packed, series, market.instrument, entry.period_ms, entry)
            except ArchiveDamaged as error:
                found.append(series.fault(entry.period_ms, error.reason))
                await manifest.note_fault(found[-1])
            else:
                await manifest.sound(entry.period_ms)
    return sorted(found, key=lambda fault: -fault.from_ms)


async def _confirmed(reader: SymbolReader, series: ArchiveSeries) -> list[ManifestEntry]:
    """Return the entries of objects that are to be there."""
    known = await reader.manifest(series.name).known(0, 1 << 53)
    return [entry for entry in known.entries if not entry.given_up]


def _not_there(expected: ManifestEntry | None, *, outdated: bool) -> ObjectFaults:
    """`outdated`: the store has what was in it."""
    wanted = outdated or (expected and not expected.given_up)
    return ObjectFaults(("it is not there",), outdated=outdated) if wanted else ObjectFaults()


def _digest(series: ArchiveSeries, seal: Seal) -> str:
    """Empty where nothing of the series is sealed: of trades nothing ever is."""
    return seal.digests.get(series.name, "")


def _floor_ms(series: ArchiveSeries, state: SymbolState | None) -> int:
    """Of trades that of the candles: their days are sealed if anything of them is."""
    return state.floor_ms(MINUTE_SERIES.get(series.name, CANDLES)) if state else -1


def _otherwise(rows: pl.DataFrame, sealed: dict[int, pl.DataFrame]) -> Iterator[str]:
    """Days whose archived rows are not the sealed ones."""
    for day_ms, wanted in sealed.items():
        found = rows.filter(_DAY == day_ms)
        if not found.equals(wanted):
            both = pl.concat([found, wanted])
            yield f"Redis has {_minutes(both.filter(both.is_unique()))} otherwise"


def _unequal_volumes(footprints: pl.DataFrame, candles: pl.DataFrame, pending: set[int]) -> list[str]:
    """Minutes in both whose volumes differ."""
    levels = pl.col("buy_lots") + pl.col("sell_lots") + pl.col("unknown_lots")
    sums = (
        footprints.filter(~_DAY.is_in(list(pending)))
        .group_by("open_ms")
        .agg(levels.sum().alias("volume_lots"), pl.sum("buy_lots"), pl.sum("sell_lots"))
    )
    both = sums.join(candles, on="open_ms", suffix="_wanted")
    unequal = both.filter(pl.any_horizontal(pl.col(name) != pl.col(f"{name}_wanted") for name in _VOLUMES))
    return [f"{_minutes(unequal)} have other volumes than their candles"] if len(unequal) else []


def _is_whole(where: Object, standing: ArchiveStanding) -> bool:
    """Whether all trades of a day are in the archive, but for those that wait for it."""
    lacks_none = not touches(standing.lost, where.period_ms, where.end_ms)
    return standing.archived_seq is not None and standing.from_ms < where.period_ms and lacks_none


def _unlike_levels(trades: pl.DataFrame, levels: pl.DataFrame) -> Iterator[str]:
    """Minutes whose trades make other footprints. Those without one are left out: their candles are the venue's."""
    made = bulk.footprints(trades).join(levels.select("open_ms").unique(), on="open_ms", how="semi")
    both = pl.concat([made, levels])
    unequal = both.filter(both.is_unique())
    if len(unequal):
        yield f"{_minutes(unequal)} have other trades than their footprints"


def _minutes(rows: pl.DataFrame) -> str:
    opens = rows["open_ms"].unique().sort()
    return f"{len(opens)} minutes from {_time(opens[0])} on"


def _time(ts_ms: int) -> str:
    return f"{datetime.fromtimestamp(ts_ms // SECOND_MS, UTC):%Y-%m-%d %H:%M}"


_DAY = pl.col("open_ms") - pl.col("open_ms") % DAY_MS
