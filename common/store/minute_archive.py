"""Sealed days on their way into the archive: which of them wait, and that it has them.

Late trades of minutes that the archive alone has wait there as parts (common.market.builder.late).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from common.errors import Stale
from common.market.builder.late import LatePart
from common.market.manifest import ManifestEntry
from common.series import MINUTE_SERIES
from common.store import scripts
from common.store.client import translated
from common.store.keys import SymbolKeys


@dataclass(frozen=True, slots=True)
class LateParts:
    """Parts of minutes that open in `[start_ms, end_ms)`: all that there were at commit `seq`."""

    seq: int
    start_ms: int
    end_ms: int
    parts: list[LatePart]


class MinuteArchive:
    """Of one symbol. Through a client that never re-sends."""

    def __init__(self, client: Redis, symbol: str) -> None:
        self.keys = SymbolKeys(symbol)
        self._client = client
        self._archived = scripts.archived.of(client, self.keys)
        self._unarchive = scripts.unarchive.of(client, self.keys)

    async def unarchive(self, name: str, from_ms: int, end_ms: int, max_floor_ms: int) -> tuple[int, int]:
        """Mark the sealed days of `[from_ms, end_ms)` to be archived again; return the series' floor, and how many.

        None of them if the floor, before which minutes have been dropped, is above `max_floor_ms`.
        """
        with translated(f"marking of {name} of {self.keys.symbol}"):
            floor_ms, count = await self._unarchive(
                blocks=self.keys.sealed(name),
                series=name,
                floor_field=MINUTE_SERIES[name].floor,
                from_ms=from_ms,
                end_ms=end_ms,
                max_floor_ms=max_floor_ms,
            )
        return int(floor_ms), int(count)

    async def unarchived(self, series: str) -> tuple[str, dict[int, str]]:
        """Return the state's token and the days of `series` to be archived, with their scores."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hget(self.keys.state, "token")
        pipe.zrange(self.keys.unarchived, 0, -1, withscores=True)
        with translated(f"read of what is to be archived of {self.keys.symbol}"):
            token, pairs = await pipe.execute()
        split = ((*member.decode().split(":"), str(int(score))) for member, score in pairs)
        return (token or b"").decode(), {int(day): score for name, day, score in split if name == series}

    async def late_count(self, series: str) -> int:
        """Return how many parts wait for the archive."""
        with translated(f"read of late trades of {self.keys.symbol}"):
            return int(await self._client.zcard(self.keys.late(series)))

    async def late(self, series: str, start_ms: int, end_ms: int) -> LateParts:
        """Return what late trades make of minutes of `[start_ms, end_ms)` that the archive alone has."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hget(self.keys.state, "seq")
        pipe.zrangebyscore(self.keys.late(series), start_ms, f"({end_ms}", withscores=True)
        with translated(f"read of late trades of {self.keys.symbol}"):
            seq, pairs = await pipe.execute()
        return LateParts(int(seq or 0), start_ms, end_ms, [LatePart.of(*pair) for pair in pairs])

    async def archived(
        self,
        series: str,
        token: str,
        scores: Mapping[int, str],
        lost: Sequence[int] = (),
        late: LateParts | None = None,
        entry: ManifestEntry | None = None,
    ) -> int:
        """Confirm days that the archive has. Return up to where (ms) the series is complete there. Raises Stale.

        `lost`: days that are nowhere any more, and will not be archived. `late`: the parts that it has now, too.
        `entry`: of the object that was written, if one was.
        """
        with translated(f"confirmation of the archive of {self.keys.symbol}"):
            status, *rest = await self._archived(
                late=self.keys.late(series),
                manifest=self.keys.archived(series),
                token=token,
                series=series,
                merged_seq=late.seq if late else None,
                merged_from_ms=late.start_ms if late else None,
                merged_end_ms=late.end_ms if late else None,
                entry=entry.dump() if entry else None,
                days=scores,
                lost=lost,
            )
        if status == b"STALE":
            raise Stale(f"{self.keys.symbol} has another writer since its {series} were archived")
        return int(rest[0])
