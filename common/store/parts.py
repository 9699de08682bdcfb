"""What can be read of a symbol beside its state, in one transaction: each part with its commands and answers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Protocol

from common.market.builder.late import LatePart
from common.market.timeframes.timeframe import DAY_MS
from common.series import CANDLES, MINUTE_SERIES, MinuteSeries
from common.store.calendars import ADOPTED, NOT_ADOPTED, Adopted
from common.store.keys import SymbolKeys


class Part(Protocol):
    """One that may be asked for; `field`: of the View, that has what is read."""

    field: ClassVar[str]

    def ask(self, pipe: Any, keys: SymbolKeys) -> None: ...

    def read(self, answers: Iterator[Any]) -> Any:
        """Take as many answers as commands were asked."""


@dataclass(frozen=True, slots=True)
class Range:
    """Minutes that open in `[start_ms, end_ms)`; with `newest` or `oldest`, at most that many from that end."""

    start_ms: int
    end_ms: int
    newest: int | None = None
    oldest: int | None = None
    series: MinuteSeries = CANDLES

    @classmethod
    def some(
        cls, start_ms: int, end_ms: int, limit: int, *, oldest_first: bool, series: MinuteSeries = CANDLES
    ) -> "Range":
        """At most that many, from the one end or the other."""
        newest, oldest = (None, limit) if oldest_first else (limit, None)
        return cls(start_ms, end_ms, newest, oldest, series)

    def ask(self, pipe: Any, key: str) -> None:
        before_end = f"({self.end_ms}"
        if self.newest is not None:
            pipe.zrevrangebyscore(key, before_end, self.start_ms, start=0, num=self.newest)
        elif self.oldest is not None:
            pipe.zrangebyscore(key, self.start_ms, before_end, start=0, num=self.oldest)
        else:
            pipe.zrangebyscore(key, self.start_ms, before_end)

    def ascending(self, members: list[bytes]) -> list[bytes]:
        return members[::-1] if self.newest is not None else members


class Minutes:
    """Of minutes, those that are not sealed: a list of packed members for each range."""

    field: ClassVar[str] = "minutes"

    def __init__(self, *ranges: Range) -> None:
        self.ranges = ranges

    def ask(self, pipe: Any, keys: SymbolKeys) -> None:
        for wanted in self.ranges:
            wanted.ask(pipe, keys.minutes(wanted.series))

    def read(self, answers: Iterator[Any]) -> list[list[bytes]]:
        return [wanted.ascending(next(answers)) for wanted in self.ranges]


@dataclass(frozen=True, slots=True)
class TradeEntry:
    """One commit in the trade stream; `trades` is packed."""

    seq: int
    token: str
    watermark_ms: int
    trades: bytes

    @property
    def cursor(self) -> str:
        return f"{self.seq}-{self.token}"


@dataclass(frozen=True, slots=True)
class TradeStream:
    """Entries of the trade stream. `first`: the oldest there is; None if the stream is empty, or was not asked for."""

    entries: list[TradeEntry]
    first: TradeEntry | None


NO_STREAM = TradeStream([], None)


@dataclass(frozen=True, slots=True)
class Entries:
    """Those of the trade stream from that commit on, itself included."""

    field: ClassVar[str] = "stream"
    since_seq: int

    def ask(self, pipe: Any, keys: SymbolKeys) -> None:
        pipe.xrange(keys.trades, f"{self.since_seq}-0", "+")
        pipe.xrange(keys.trades, "-", "+", count=1)

    def read(self, answers: Iterator[Any]) -> TradeStream:
        entries, oldest = next(answers), next(answers)
        return TradeStream([trade_entry(*each) for each in entries], trade_entry(*oldest[0]) if oldest else None)

    @classmethod
    def since(cls, seq: int | None) -> "tuple[Entries, ...]":
        """None asks for none."""
        return () if seq is None else (cls(seq),)


# Seals that are read again and again: those of ten years of days. Each takes about 1 kB.
MAX_SEALS_KEPT = 4_096


class Seal(NamedTuple):
    """A sealed day: how many members each series has, and the digest of its block."""

    day_ms: int
    # By series, of those that there were when the day was sealed.
    counts: Mapping[str, int]
    digests: Mapping[str, str]

    @staticmethod
    @lru_cache(MAX_SEALS_KEPT)
    def of(text: bytes) -> "Seal":
        """Read `<day>:<count> ...:<digest> ...`, each in the order of MINUTE_SERIES (roll.lua)."""
        day_ms, *parts = text.decode().split(":")
        known = len(parts) // 2
        counts = zip(MINUTE_SERIES, map(int, parts[:known]), strict=False)
        return Seal(int(day_ms), dict(counts), dict(zip(MINUTE_SERIES, parts[known:], strict=False)))

    def count(self, series: MinuteSeries) -> int:
        return self.counts.get(series.name, 0)

    def digest(self, series: MinuteSeries) -> str:
        """Empty where nothing of the series is sealed."""
        return self.digests.get(series.name, "")


@dataclass(frozen=True, slots=True)
class Seals:
    """Those of days that end after it, ascending."""

    field: ClassVar[str] = "seals"
    from_ms: int

    def ask(self, pipe: Any, keys: SymbolKeys) -> None:
        pipe.zrangebyscore(keys.seals, f"({self.from_ms - DAY_MS}", "+inf")

    def read(self, answers: Iterator[Any]) -> list[Seal]:
        return [Seal.of(text) for text in next(answers)]


@dataclass(frozen=True, slots=True)
class StoredDays:
    """Daily candles, packed."""

    candles: list[bytes]
    # Days that have been written since they were last rolled up.
    dirty: list[int]
    # By what calendar the candles are made.
    adopted: Adopted


NO_DAYS = StoredDays([], [], NOT_ADOPTED)


@dataclass(frozen=True, slots=True)
class DailyCandles:
    """Stored daily candles, with what is dirty."""

    field: ClassVar[str] = "days"
    wanted: Range

    def ask(self, pipe: Any, keys: SymbolKeys) -> None:
        pipe.hget(keys.rollup, ADOPTED)
        pipe.zrange(keys.dirty, 0, -1)
        self.wanted.ask(pipe, keys.rolled("1d"))

    def read(self, answers: Iterator[Any]) -> StoredDays:
        adopted, dirty, members = next(answers), next(answers), next(answers)
        return StoredDays(self.wanted.ascending(members), sorted(map(int, dirty)), Adopted(adopted or b""))


@dataclass(frozen=True, slots=True)
class Late:
    """Late trades' parts of minutes of a series that open from `start_ms` on, and wait for the archive; ascending."""

    field: ClassVar[str] = "late"
    series: MinuteSeries
    start_ms: int

    def ask(self, pipe: Any, keys: SymbolKeys) -> None:
        pipe.zrangebyscore(keys.late(self.series.name), self.start_ms, "+inf", withscores=True)

    def read(self, answers: Iterator[Any]) -> list[LatePart]:
        return [LatePart.of(*pair) for pair in next(answers)]


def trade_entry(entry_id: bytes, fields: dict[bytes, bytes]) -> TradeEntry:
    return TradeEntry(
        int(entry_id.partition(b"-")[0]),
        fields[b"token"].decode(),
        int(fields[b"watermark_ms"]),
        fields[b"trades"],
    )
