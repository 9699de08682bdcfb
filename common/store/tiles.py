"""Tiles (common.tiles) of one symbol in the store: which there are, and how those that were made are taken in.

`{S}:tiles:<kind>:<width>` has a packed tile a span, by its open. One that is there is what its source makes now:

- of trades, because what amends a minute drops the tiles that hold it in the same step, and one that was being made of
  what was there before is refused (tiles.lua);
- of a sealed day, because it names the seal that it was made of, and a reader takes it with that seal only.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from redis.asyncio import Redis

from common.errors import Stale
from common.series import MINUTE_SERIES
from common.store import scripts
from common.store.client import translated
from common.store.format import TRADED_TILES
from common.store.keys import SymbolKeys
from common.tiles import DAY_LEVELS, HOUR_MS, TileLevel

# Of the tiles of sealed days.
FORM = 1

Opens = Sequence[int]


class TileMark(NamedTuple):
    """Of what tiles are made: a commit, and a version of the roll-up that a cut raises, too."""

    token: str
    seq: int
    version: str


class TileProgress(NamedTuple):
    """How far a symbol has come: its time, and how many trades were applied."""

    watermark_ms: int
    applied: int

    def is_due(self, made: "TileProgress", trades_kept: int) -> bool:
        """Whether tiles of trades are to be made once more, where they were last `made` at that point.

        Once an hour is over; and before trades leave the stream, which keeps so many.
        """
        hours = (each.watermark_ms // HOUR_MS for each in (made, self))
        return next(hours) < next(hours) or 2 * (self.applied - made.applied) >= trades_kept


async def due_of_trades(client: Redis, symbols: Sequence[str], trades_kept: int) -> list[str]:
    """Return the symbols of which tiles of trades are due, by one round trip."""
    pipe = client.pipeline(transaction=False)
    for keys in map(SymbolKeys, symbols):
        pipe.hmget(keys.state, ("watermark_ms", "applied", "format"))
        pipe.hget(keys.rollup, "tiled")
    with translated("look at the tiles that are due"):
        answers = await pipe.execute()
    found = list[str]()
    for symbol, (watermark_ms, applied, form), made in zip(symbols, answers[::2], answers[1::2], strict=True):
        if watermark_ms is not None and int(form or 1) >= TRADED_TILES:
            before = TileProgress(*map(int, (made or b"-1:0").split(b":")))
            if TileProgress(int(watermark_ms), int(applied or 0)).is_due(before, trades_kept):
                found.append(symbol)
    return found


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles of levels that open at these times, as of a view: by level and open, those that there are."""

    field: ClassVar[str] = "tiles"
    wanted: Sequence[tuple[TileLevel, Opens]]

    def ask(self, pipe: Any, keys: SymbolKeys) -> None:
        for level, opens in self.wanted:
            pipe.hmget(keys.tiles(level), ["", *map(str, opens)])

    def read(self, answers: Iterator[Any]) -> dict[TileLevel, dict[int, bytes]]:
        return {
            level: {open_ms: packed for open_ms, packed in zip(opens, next(answers)[1:], strict=True) if packed}
            for level, opens in self.wanted
        }


@dataclass(frozen=True, slots=True)
class Dirty:
    """UTC days that have been written since they were last rolled up: of all others no open minute is left."""

    field: ClassVar[str] = "dirty"

    def ask(self, pipe: Any, keys: SymbolKeys) -> None:
        pipe.zrange(keys.dirty, 0, -1)

    def read(self, answers: Iterator[Any]) -> frozenset[int]:
        return frozenset(map(int, next(answers)))


class TileStore:
    """Through a client that never re-sends."""

    def __init__(self, client: Redis, symbol: str) -> None:
        self.keys = SymbolKeys(symbol)
        self._client = client
        self._put = scripts.tiles.of(client, self.keys)
        self._put_day = scripts.day_tiles.of(client, self.keys)

    async def mark(self) -> TileMark | None:
        """Where the store stands; None before the first commit."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hmget(self.keys.state, ("token", "seq"))
        pipe.hget(self.keys.rollup, "version")
        with translated(f"look at {self.keys.symbol}"):
            (token, seq), version = await pipe.execute()
        return TileMark(token.decode(), int(seq), (version or b"0").decode()) if token else None

    async def put(self, mark: TileMark, level: TileLevel, tiles: Mapping[int, bytes], gone: Opens = ()) -> set[int]:
        """Take in tiles that were made of trades, or of finer tiles, that were read after `mark`; drop those `gone`.

        Return those that were not taken, for they have been amended since. Raises Stale.
        """
        with translated(f"storing of tiles of {self.keys.symbol}"):
            status, *refused = await self._put(
                level=self.keys.tiles(level),
                token=mark.token,
                version=mark.version,
                seq=mark.seq,
                span_ms=level.span_ms,
                gone=list(gone),
                tiles={str(open_ms): packed for open_ms, packed in tiles.items()},
            )
        if status == b"STALE":
            raise Stale(f"{self.keys.symbol} has changed since its tiles were made")
        return set(map(int, refused))

    async def progress(self) -> TileProgress | None:
        """Where the store stands; None before the first commit."""
        with translated(f"look at {self.keys.symbol}"):
            found: Any = await self._client.hmget(self.keys.state, list(TileProgress._fields))
        return TileProgress(*map(int, found)) if None not in found else None

    async def note_progress(self, progress: TileProgress) -> None:
        """Note that up to there tiles have been made of trades, as far as they could be."""
        with translated(f"note of tiles of {self.keys.symbol}"):
            await self._client.hset(self.keys.rollup, "tiled", f"{progress.watermark_ms}:{progress.applied}")

    async def are_days_made(self) -> bool:
        """Whether every sealed day has its tiles, or days that are due will make them."""
        with translated(f"look at tiles of {self.keys.symbol}"):
            found: Any = await self._client.hget(self.keys.rollup, "tiles")
        return bool(found == b"%d" % FORM)

    async def put_day(self, mark: TileMark, day_ms: int, packed: Sequence[bytes]) -> None:
        """Take in the tiles of a sealed day, one of each of DAY_LEVELS. Raises Stale."""
        await self._take_in(mark, day_ms, None, packed)

    async def note_days_made(self, mark: TileMark) -> None:
        """Note that every sealed day has its tiles. Raises Stale."""
        await self._take_in(mark, None, FORM, ())

    async def _take_in(self, mark: TileMark, day_ms: int | None, form: int | None, packed: Sequence[bytes]) -> None:
        assert len(packed) in (0, len(DAY_LEVELS))
        with translated(f"storing of tiles of {self.keys.symbol}"):
            status, *_ = await self._put_day(
                token=mark.token, version=mark.version, day=day_ms, made_form=form, packed=list(packed)
            )
        if status == b"STALE":
            raise Stale(f"{self.keys.symbol} has been rolled up since its tiles were made")


def made_of(digests: Mapping[str, str]) -> str:
    """What the tiles of a sealed day name: the digests of all that is sealed of it, by series."""
    return ".".join(digests.get(name, "") for name in MINUTE_SERIES)
