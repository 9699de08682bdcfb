"""15m candles of sealed days, kept a UTC month at once: bars of 15 minutes and of multiples are made of them.

`{S}:rolled:15m` has a block of each month, `{S}:months` says which one that is, and of which sealed block the rows of
each of its days were made. A reader takes the rows of a day whose seal names that block, and no others: so no answer
depends on who has written what. Where a day was sealed again and its month was not made again (by an import, by a
release that knew of none, by a job that was killed), it is read by its minutes, as all are where there are no months.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from redis.asyncio import Redis

from common.errors import Stale
from common.market.timeframes.periods import MONTH
from common.market.timeframes.timeframe import DAY_MS
from common.series import CANDLES
from common.store import scripts
from common.store.client import Argument, translated
from common.store.format import ROLLED_MONTHS, stated_format
from common.store.keys import SymbolKeys
from common.store.parts import Seal, Seals
from common.store.state import StatePart, SymbolState

# Of the blocks, and of what is said of them.
FORM = 1
# Members that are read again and again: those of ten years of ten symbols. Each takes some 4 kB.
MAX_MONTHS_KEPT = 1_200


class RolledMonth(NamedTuple):
    """What is said of a block: how many rows it has, and of which days."""

    month_ms: int
    end_ms: int
    rows: int
    digest: str
    # By the day's open, of the sealed candles that its rows were made of.
    days: Mapping[int, str]

    @classmethod
    def made(cls, month_ms: int, rows: int, digest: str, days: Mapping[int, str]) -> "RolledMonth":
        return cls(month_ms, MONTH.next_open(month_ms), rows, digest, days)

    @staticmethod
    @lru_cache(MAX_MONTHS_KEPT)
    def of(text: bytes) -> "RolledMonth | None":
        """Read a member of `{S}:months` (month.lua); None where it is of a form that is not known."""
        month, end, form, *rest = text.decode().split(":")
        if int(form) != FORM:
            return None
        rows, digest, days = rest
        pairs = (each.split(".") for each in days.split(","))
        by_day = {int(month) + int(number) * DAY_MS: sealed for number, sealed in pairs}
        return RolledMonth(int(month), int(end), int(rows), digest, by_day)

    def member(self) -> str:
        days = ",".join(f"{(day_ms - self.month_ms) // DAY_MS}.{digest}" for day_ms, digest in self.days.items())
        return f"{self.month_ms}:{self.end_ms}:{FORM}:{self.rows}:{self.digest}:{days}"

    def has(self, seal: Seal) -> bool:
        """Whether its rows of a day are those of what is sealed now."""
        return self.days.get(seal.day_ms) == seal.digest(CANDLES)


@dataclass(frozen=True, slots=True)
class RolledMonths:
    """Those of months that end after it, ascending."""

    field: ClassVar[str] = "months"
    from_ms: int

    def ask(self, pipe: Any, keys: SymbolKeys) -> None:
        pipe.zrangebyscore(keys.months, MONTH.open_of(self.from_ms), "+inf")

    def read(self, answers: Iterator[Any]) -> list[RolledMonth]:
        return [month for text in next(answers) if (month := RolledMonth.of(text))]


class MonthReading(NamedTuple):
    """What a month is made of: its sealed days, and the roll-up that there is."""

    month_ms: int
    # Ascending.
    seals: list[Seal]
    rolled: RolledMonth | None


class StagedMonth(NamedTuple):
    """A roll-up that lies ready in the store; `rolled` is None where there are no rows: then there is to be none."""

    month_ms: int
    rolled: RolledMonth | None

    def arguments(self) -> list[Argument]:
        """As month.lua has them."""
        if self.rolled is None:
            return [self.month_ms, "", ""]
        return [self.month_ms, self.rolled.digest, self.rolled.member()]


class MonthMark(NamedTuple):
    """What was read, and has to be so still."""

    token: str
    version: str


@dataclass(frozen=True, slots=True)
class MonthsLook:
    """All months of a symbol that have sealed days, the newest first, and the days that are to be rolled up."""

    mark: MonthMark
    state: SymbolState
    months: list[MonthReading]
    dirty: frozenset[int]


class MonthStore:
    """Through a client that never re-sends."""

    def __init__(self, client: Redis, symbol: str) -> None:
        self.keys = SymbolKeys(symbol)
        self._client = client
        self._take_in = scripts.rolled_month.of(client, self.keys)

    async def form(self) -> int | None:
        """The form in which months may be made; None while the store is in an older format."""
        return FORM if await stated_format(self._client) >= ROLLED_MONTHS else None

    async def are_made(self) -> bool:
        """Whether every month has its roll-up, or days that are due will make it."""
        with translated(f"look at months of {self.keys.symbol}"):
            found: Any = await self._client.hget(self.keys.rollup, "months")
        return bool(found == b"%d" % FORM)

    async def look(self) -> MonthsLook | None:
        """None before the first commit."""
        asked, seals, months = StatePart(self.keys.symbol), Seals(0), RolledMonths(0)
        pipe = self._client.pipeline(transaction=True)
        for part in (asked, seals, months):
            part.ask(pipe, self.keys)
        pipe.hget(self.keys.rollup, "version")
        pipe.zrange(self.keys.dirty, 0, -1)
        with translated(f"read of months of {self.keys.symbol}"):
            answers = iter(await pipe.execute())
        state, sealed, rolled = asked.read(answers), seals.read(answers), months.read(answers)
        version, dirty = answers
        if state is None:
            return None
        mark = MonthMark(state.token, (version or b"0").decode())
        return MonthsLook(mark, state, by_month(sealed, rolled), frozenset(map(int, dirty)))

    async def blocks(self, month_ms: int | None, days: Sequence[int]) -> tuple[bytes, list[bytes | None]]:
        """Return the block of a month, empty without one, or None for none; and the sealed candles of those days."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hget(self.keys.rolled_15m, "" if month_ms is None else str(month_ms))
        if days:
            pipe.hmget(self.keys.sealed(CANDLES.name), list(map(str, days)))
        with translated(f"read of {len(days)} sealed days of {self.keys.symbol}"):
            block, *found = await pipe.execute()
        return block or b"", found[0] if found else []

    async def stage(self, month_ms: int, block: bytes) -> bytes:
        """Lay a block down, and return it as it is read back."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hset(self.keys.staged, f"{month_ms}:15m", block)
        pipe.hget(self.keys.staged, f"{month_ms}:15m")
        with translated(f"staging of a month of {self.keys.symbol}"):
            _, laid = await pipe.execute()
        return bytes(laid)

    async def put(self, mark: MonthMark, staged: StagedMonth) -> None:
        """Take a roll-up in. Raises Stale."""
        await self._taken_in(mark, None, staged.arguments())

    async def note_made(self, mark: MonthMark) -> None:
        """Note that every month is as it should be. Raises Stale."""
        await self._taken_in(mark, FORM, [])

    async def _taken_in(self, mark: MonthMark, form: int | None, month: Sequence[Argument]) -> None:
        with translated(f"roll-up of a month of {self.keys.symbol}"):
            status, *_ = await self._take_in(token=mark.token, version=mark.version, made_form=form, month=month)
        if status == b"STALE":
            raise Stale(f"{self.keys.symbol} has been rolled up since its months were read")


def by_month(seals: Sequence[Seal], rolled: Sequence[RolledMonth]) -> list[MonthReading]:
    """Months that have something, the newest first."""
    known, days = {month.month_ms: month for month in rolled}, dict[int, list[Seal]]()
    for seal in seals:
        days.setdefault(MONTH.open_of(seal.day_ms), []).append(seal)
    months = sorted({*known, *days}, reverse=True)
    return [MonthReading(month_ms, days.get(month_ms, []), known.get(month_ms)) for month_ms in months]
