"""Roll-ups of one symbol: what is due, what a job reads, and the one step in which it takes effect.

`{S}:dirty` is the ledger of what is to be done: every commit that writes a minute marks its day, and only the script
that takes in the day's roll-up removes the mark, if nothing was written since the job read. So a job that dies, runs
twice or beside another does no harm, and a queue that forgets a job costs time and nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from redis.asyncio import Redis

from common.errors import FleetError, Stale
from common.market.builder.late import LatePart
from common.market.manifest import ManifestEntry
from common.market.scale import Scales
from common.market.timeframes.periods import MONTH
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.series import CANDLES, MINUTE_SERIES, MinuteSeries, followers
from common.store import scripts
from common.store.archived import Spans, lost_spans
from common.store.calendars import ADOPTED, Adopted
from common.store.client import Argument, translated
from common.store.format import TRADED_TILES
from common.store.keys import SymbolKeys, archived_series
from common.store.manifest import ask_whole, is_whole
from common.store.months import FORM, MonthReading, RolledMonth, StagedMonth
from common.store.parts import Seal
from common.store.state import StatePart, SymbolState
from common.store.tiles import FORM as TILES_FORM


class SealFailed(FleetError):
    """What was read back is not what was written."""


@dataclass(frozen=True, slots=True)
class Due:
    """`days`: finished days to be rolled up. `archive`: sealed days to be archived, by series. Oldest first.

    `rescale`: whether archived objects may be of another scale than the symbol is.
    """

    days: tuple[int, ...]
    archive: tuple[tuple[str, int], ...]
    rescale: bool = False
    # Series that were archived, and of which it is not known what is there (common.store.manifest).
    unlisted: tuple[str, ...] = ()
    # The newest month with sealed days, where months may lack their 15m roll-up; None where none does.
    unrolled_ms: int | None = None
    # The same, where sealed days may lack their tiles, and may have them.
    untiled_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Rolled:
    """A roll-up as it is to be stored: packed, empty if the period has no candle.

    `event` and `message` tell of it, in the stream and on the channels; both are empty if nothing changed.
    """

    series: str
    open_ms: int
    candle: bytes
    event: bytes
    message: bytes


@dataclass(frozen=True, slots=True)
class RollupMark:
    """What a job read, and what has to be so still when it takes effect."""

    token: str
    version: str
    score: str


@dataclass(frozen=True, slots=True)
class StoredMinutes:
    """Minutes as they are stored: sealed by day, and open ones, which count where both have the same minute."""

    sealed: Mapping[int, bytes]
    open: Sequence[bytes]

    def members(self, series: MinuteSeries, scales: Scales) -> dict[int, bytes]:
        """Return every member of the series by its open. `scales`: of the blocks."""
        codec, unpack = series.codec, series.codec.blocks().unpack
        sealed = (member for block in self.sealed.values() for member in unpack(block, scales))
        return {codec.open_of(member): member for member in chain(sealed, self.open)}


@dataclass(frozen=True, slots=True)
class DayReading:
    """One consistent look for the roll-up of a day."""

    mark: RollupMark
    state: SymbolState
    candles: StoredMinutes
    # Open ones of the day, of the other series; sealed ones are read apart (`sealed`).
    others_open: Mapping[str, Sequence[bytes]]
    # The UTC month of the day.
    month: MonthReading
    # Stored candles of each series asked for.
    rolled: Mapping[str, list[bytes]]
    # Of the other days asked for: those that are to be rolled up, too, now or once they are over.
    others: frozenset[int]
    # Parts of candles that the archive alone has; it is complete from `archived_from_ms` on, -1 without one, but for
    # the spans `lost`, both ends included.
    late: list[LatePart]
    archived_from_ms: int
    lost: Spans
    # What was confirmed of the archived months.
    archived: list[ManifestEntry]
    adopted: Adopted


@dataclass(frozen=True, slots=True)
class Staged:
    """A day that lies ready in the store: by series, how many members it has, and the digest of its block."""

    counts: Mapping[str, int]
    digests: Mapping[str, str]
    # The block of its candles, for what is made of it in the same step; empty if it has none.
    candles: bytes = b""
    # Its tiles, one of each of DAY_LEVELS, empty for none; nothing where none are made.
    tiles: Sequence[bytes] = ()

    def arguments(self) -> list[Argument]:
        """Counts, then digests, each of every series ('' for none), as a seal has them."""
        counts: list[Argument] = [self.counts.get(name, 0) for name in MINUTE_SERIES]
        return [*counts, *(self.digests.get(name, "") for name in MINUTE_SERIES)]


class RollupStore:
    """Through a client that never re-sends. `events_kept`: as for commits."""

    def __init__(self, client: Redis, symbol: str, events_kept: int = 10_000) -> None:
        self.keys = SymbolKeys(symbol)
        self._client = client
        self._events_kept = events_kept
        self._roll = scripts.roll.of(client, self.keys)
        self._mark = scripts.mark.of(client, self.keys)

    async def due(self) -> Due:
        pipe = self._client.pipeline(transaction=True)
        pipe.hmget(self.keys.state, ("watermark_ms", "sealed_to_ms", "format"))
        pipe.hmget(self.keys.rollup, ("months", "tiles"))
        pipe.zrange(self.keys.dirty, 0, -1)
        pipe.zrange(self.keys.unarchived, 0, -1)
        pipe.exists(self.keys.rescale)
        names = archived_series()
        for series in names:
            ask_whole(pipe, self.keys, series)
        with translated(f"read of what is due of {self.keys.symbol}"):
            (watermark_ms, sealed_to_ms, form), made, dirty, unarchived, rescale, *whole = await pipe.execute()
        sealed_ms = None if sealed_to_ms is None else MONTH.open_of(int(sealed_to_ms) - DAY_MS)
        lacks_tiles = int(form or 1) >= TRADED_TILES and made[1] != b"%d" % TILES_FORM
        last_ms = int(watermark_ms or 0) - DAY_MS
        pairs = (member.decode().split(":") for member in unarchived)
        return Due(
            tuple(sorted(day_ms for day_ms in map(int, dirty) if day_ms <= last_ms)),
            tuple(sorted((series, int(day_ms)) for series, day_ms in pairs)),
            bool(rescale),
            tuple(name for name, values in zip(names, whole, strict=True) if values[0] and not is_whole(values)),
            None if made[0] == b"%d" % FORM else sealed_ms,
            sealed_ms if lacks_tiles else None,
        )

    async def due_days(self, from_ms: int, end_ms: int) -> tuple[int, ...]:
        """Return the days of `[from_ms, end_ms)` that are to be rolled up, oldest first."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hget(self.keys.state, "watermark_ms")
        pipe.zrange(self.keys.dirty, 0, -1)
        with translated(f"read of what is due of {self.keys.symbol}"):
            watermark_ms, dirty = await pipe.execute()
        over_ms = min(end_ms, int(watermark_ms or 0) - DAY_MS + 1)
        return tuple(sorted(day_ms for day_ms in map(int, dirty) if from_ms <= day_ms < over_ms))

    async def read(
        self,
        day_ms: int,
        from_ms: int,
        to_ms: int,
        rolled: Mapping[str, tuple[int, int]],
        others: Sequence[int] = (),
    ) -> DayReading | None:
        """Read the day's minutes, all candles of `[from_ms, to_ms)`, and the `[from, to)` asked for of each series.

        None if the symbol has never been written, or the day is not due. `others`: days that are asked after.
        """
        days = list(range(day_of(min(from_ms, day_ms)), max(to_ms, day_ms + DAY_MS), DAY_MS))
        pipe = self._client.pipeline(transaction=True)
        asked = StatePart(self.keys.symbol)
        asked.ask(pipe, self.keys)
        pipe.hmget(self.keys.rollup, ("version", ADOPTED))
        pipe.zmscore(self.keys.dirty, list(map(str, (day_ms, *others))))
        pipe.zrangebyscore(self.keys.candles, days[0], f"({days[-1] + DAY_MS}")
        for follower in followers():
            pipe.zrangebyscore(self.keys.minutes(follower), day_ms, f"({day_ms + DAY_MS}")
        pipe.hmget(self.keys.sealed(CANDLES.name), days)
        month_ms = MONTH.open_of(day_ms)
        pipe.zrangebyscore(self.keys.seals, month_ms, f"({MONTH.next_open(month_ms)}")
        pipe.zrangebyscore(self.keys.months, month_ms, month_ms)
        pipe.zrangebyscore(self.keys.late(CANDLES.name), from_ms, f"({to_ms}", withscores=True)
        pipe.hmget(self.keys.archive, ("candles_from_ms", "candles_lost"))
        pipe.zrangebyscore(self.keys.archived(CANDLES.name), CANDLES.archive_period.open_of(from_ms), f"({to_ms}")
        for series, (start_ms, end_ms) in rolled.items():
            pipe.zrangebyscore(self.keys.rolled(series), start_ms, f"({end_ms}")
        with translated(f"read of day {day_ms} of {self.keys.symbol}"):
            answers = iter(await pipe.execute())
        state = asked.read(answers)
        (version, adopted), (score, *scores), candles = next(answers), next(answers), next(answers)
        others_open = {follower.name: next(answers) for follower in followers()}
        sealed, seals, months, late, (archived_from_ms, lost), archived, *found = answers
        if state is None or score is None or day_ms + DAY_MS > state.watermark_ms:
            return None
        return DayReading(
            RollupMark(state.token, (version or b"0").decode(), str(int(score))),
            state,
            StoredMinutes({day: block for day, block in zip(days, sealed, strict=True) if block}, candles),
            others_open,
            MonthReading(month_ms, list(map(Seal.of, seals)), RolledMonth.of(months[0]) if months else None),
            dict(zip(rolled, found, strict=True)),
            frozenset(day for day, its in zip(others, scores, strict=True) if its is not None),
            [LatePart.of(*pair) for pair in late],
            int(archived_from_ms or -1),
            lost_spans(lost),
            list(map(ManifestEntry.parse, archived)),
            Adopted(adopted or b""),
        )

    async def sealed(self, series: MinuteSeries, day_ms: int) -> Mapping[int, bytes]:
        """Return the day's block, by the day, if there is one."""
        with translated(f"read of {series.name} of day {day_ms} of {self.keys.symbol}"):
            block: Any = await self._client.hget(self.keys.sealed(series.name), str(day_ms))
        return {day_ms: block} if block else {}

    async def stage(self, day_ms: int, blocks: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Lay blocks of a day down, by series, and return them as they are read back."""
        return (await self.stage_days({day_ms: blocks}))[day_ms]

    async def stage_days(self, days: Mapping[int, Mapping[str, bytes]]) -> dict[int, dict[str, bytes]]:
        """The same of several days.

        In one step: another job that takes in the same day clears what lies there.
        """
        places = [(day_ms, series) for day_ms, blocks in days.items() for series in blocks]
        fields: Any = {f"{day_ms}:{series}": days[day_ms][series] for day_ms, series in places}
        found: dict[int, dict[str, bytes]] = {day_ms: {} for day_ms in days}
        if not fields:
            return found
        pipe = self._client.pipeline(transaction=True)
        pipe.hset(self.keys.staged, mapping=fields)
        pipe.hmget(self.keys.staged, list(fields))
        with translated(f"staging of days of {self.keys.symbol}"):
            _, laid = await pipe.execute()
        for (day_ms, series), block in zip(places, laid, strict=True):
            found[day_ms][series] = block
        return found

    async def finish(
        self,
        day_ms: int,
        mark: RollupMark,
        rolled: Iterable[Rolled],
        staged: "Staged | Literal['kept'] | None",
        outside: int | None = None,
        month: StagedMonth | None = None,
        months_form: int | None = None,
    ) -> None:
        """Take the roll-ups and the staged blocks in, if there are any; `kept`: the blocks are as they were.

        `outside`: how many trades of the day are in no session; None if that is not known. `month`: the day's, where
        it is made, and `months_form` the form in which months are; None: they are not. Raises Stale if what was read is
        not so any more.
        """
        with translated(f"roll-up of day {day_ms} of {self.keys.symbol}"):
            status, *_ = await self._roll(
                token=mark.token,
                version=mark.version,
                day=day_ms,
                score=mark.score,
                events_kept=self._events_kept,
                outside_count=outside,
                how="seal" if isinstance(staged, Staged) else staged or "leave",
                seal=staged.arguments() if isinstance(staged, Staged) else (),
                packed=list(staged.tiles) if isinstance(staged, Staged) else (),
                tiles_form=TILES_FORM,
                months_form=months_form,
                month=month.arguments() if month else (),
                rolled=[(r.series, r.open_ms, r.candle, r.event, r.message) for r in rolled],
            )
        if status == b"STALE":
            raise Stale(f"day {day_ms} of {self.keys.symbol} has been written since it was read")

    async def mark(self, first_day_ms: int, last_day_ms: int) -> tuple[int, ...]:
        """Mark days, both included, to be rolled up once more: those that are over and have minutes here. Return them.

        A day of which minutes have been dropped is left alone.
        """
        with translated(f"marking of days of {self.keys.symbol}"):
            days = await self._mark(first_day=first_day_ms, last_day=last_day_ms)
        return tuple(map(int, days))
