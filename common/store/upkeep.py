"""What is kept of a symbol's past, and what the queue has still to do for it, as health tells."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from common.market.manifest import Fault
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.series import MINUTE_SERIES
from common.store.archived import Spans, lost_spans
from common.store.client import translated
from common.store.keys import SymbolKeys
from common.store.manifest import faults_of
from common.store.rescale import LIST
from common.store.trade_archive import ask_waiting, waiting_of

# Objects of the archive that health names; all are counted.
FAULTS_TOLD = 20


@dataclass(frozen=True, slots=True)
class Upkeep:
    """The history of a symbol, and what the queue has still to do for it. Times in ms UTC; -1: there is none."""

    watermark_ms: int
    # The day of the oldest candle, also where the archive alone has it.
    from_ms: int
    # The end of the newest sealed day.
    sealed_to_ms: int
    # By series of minutes, up to where the archive is complete.
    archived_to_ms: Mapping[str, int]
    # Finished days to be rolled up, and days to be archived, once for each series; both ascend.
    due: tuple[int, ...]
    unarchived: tuple[int, ...]
    # Candles and footprints of minutes that the archive alone has: whose late trades wait for it, or had no room to.
    late: int = 0
    late_lost: int = 0
    # Up to which watermark the archive has the trades; how many it has not got; when it never will have all.
    trades_to_ms: int = -1
    trades_waiting: int = 0
    trades_lost: Spans = ()
    # Archived objects that may be of another scale than the symbol; -1 while they have yet to be counted.
    to_rescale: int = 0
    # Trades of days that were rolled up or imported that are in no session.
    outside: int = 0
    # Archived objects that were found missing or damaged, the newest first.
    faults: tuple[Fault, ...] = ()

    def json(self, *, archiving: bool) -> dict[str, Any]:
        """The `history` object of docs/protocol.md."""
        archive = {
            **{f"{name}To": _or_null(to_ms) for name, to_ms in self.archived_to_ms.items()},
            "pending": len(self.unarchived),
            "late": self.late,
            "lateLost": self.late_lost,
            "tradesTo": _or_null(self.trades_to_ms),
            "tradesPending": self.trades_waiting,
            "tradesLost": self.trades_lost,
            "toRescale": _or_null(self.to_rescale),
            "damaged": len(self.faults),
            "faults": [fault.json() for fault in self.faults[:FAULTS_TOLD]],
        }
        return {
            "candlesFrom": _or_null(self.from_ms),
            "sealedTo": _or_null(self.sealed_to_ms),
            "dirtyDays": len(self.due),
            "outOfSession": self.outside,
            "archive": archive if archiving else None,
        }

    def behind(self, *, archiving: bool) -> list[int]:
        """Days that should have been rolled up, or archived, a day ago: what is over since this long."""
        days = {*self.due, *(self.unarchived if archiving else ())}
        return sorted(day_ms for day_ms in days if day_ms + 2 * DAY_MS <= self.watermark_ms)


async def upkeep_of(client: Redis, symbol: str) -> Upkeep:
    """Read it in one consistent look. Of a symbol that was never written there is nothing."""
    keys = SymbolKeys(symbol)
    pipe = client.pipeline(transaction=True)
    pipe.hmget(keys.state, ("watermark_ms", "sealed_to_ms", "candle_floor_ms"))
    pipe.hmget(keys.archive, ("candles_from_ms", "late_lost", *(f"{name}_ms" for name in MINUTE_SERIES)))
    pipe.zrange(keys.candles, 0, 0, withscores=True)
    pipe.zrange(keys.seals, 0, 0, withscores=True)
    pipe.zrange(keys.dirty, 0, -1)
    pipe.zrange(keys.unarchived, 0, -1)
    ask_waiting(pipe, keys)
    pipe.hget(keys.archive, "trades_lost")
    pipe.zcard(keys.rescale)
    pipe.zscore(keys.rescale, LIST)
    pipe.hget(keys.outside, "total")
    pipe.hvals(keys.faults)
    for series in MINUTE_SERIES:
        pipe.zcard(keys.late(series))
    with translated(f"read of what is kept of {symbol}"):
        (
            (watermark, sealed, floor),
            (archived_from, late_lost, *archived_to),
            candles,
            seals,
            dirty,
            unarchived,
            state,
            archive,
            lost,
            to_rescale,
            unlisted,
            outside,
            faults,
            *late,
        ) = await pipe.execute()
    watermark_ms, waiting = _number(watermark), waiting_of(state, archive)
    # The seal of a day stays while its footprints do.
    oldest = [max(day_of(int(open_ms)), day_of(max(0, _number(floor)))) for _, open_ms in (*candles, *seals)]
    oldest += [int(archived_from)] if archived_from else []
    return Upkeep(
        watermark_ms,
        min(oldest, default=-1),
        _number(sealed),
        dict(zip(MINUTE_SERIES, map(_number, archived_to), strict=True)),
        tuple(sorted(day_ms for day_ms in map(int, dirty) if day_ms + DAY_MS <= watermark_ms)),
        tuple(sorted(int(member.rpartition(b":")[2]) for member in unarchived)),
        sum(late),
        max(0, _number(late_lost)),
        -1 if waiting is None or waiting.since_ms is None else waiting.since_ms,
        waiting.count if waiting else 0,
        lost_spans(lost),
        to_rescale if unlisted is None else -1,
        int(outside or 0),
        faults_of(faults),
    )


def _number(value: bytes | None) -> int:
    return -1 if value is None else int(value)


def _or_null(ms: int) -> int | None:
    return None if ms < 0 else ms
