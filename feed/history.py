"""All minutes of a symbol as one: those that lie open in Redis, the sealed days, and the archive.

Three places, and a minute counts from the first of them that has it: an amendment of a sealed day is written open,
until the day is sealed anew. The archive is asked for what Redis has dropped: minutes that open before the floor.

What is open, and which blocks are sealed, is read in one transaction; blocks are named by their digest, so they may
be fetched after it, and be kept decoded for as long as there is room.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl
from redis.asyncio import Redis

from common.errors import StoreUnavailable
from common.frames import decode, encode
from common.market import codec
from common.market.timeframe import DAY_MS
from common.store.reads import Range, Seal, State, SymbolReader, View

# What all decoded blocks of a process may take. A day of candles takes some 200 kB.
MOST_BYTES = 256 << 20
# Blocks fetched by one command: some 2 MB.
FETCHED_AT_ONCE = 64
# A day sealed anew between two commands is read once more.
ATTEMPTS = 8


class Blocks:
    """Decoded blocks of a process, by digest; the least used go first."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._kept: OrderedDict[str, pl.DataFrame] = OrderedDict()
        self._most_bytes = most_bytes
        self.bytes = 0

    def get(self, digest: str) -> pl.DataFrame | None:
        frame = self._kept.get(digest)
        if frame is not None:
            self._kept.move_to_end(digest)
        return frame

    def keep(self, digest: str, frame: pl.DataFrame) -> None:
        if digest in self._kept:
            return
        self._kept[digest] = frame
        self.bytes += int(frame.estimated_size())
        while self.bytes > self._most_bytes and self._kept:
            self.bytes -= int(self._kept.popitem(last=False)[1].estimated_size())


@dataclass(frozen=True, slots=True)
class Series:
    """One of the two series of minutes: how its members and blocks are read."""

    name: Literal["candles", "footprints"]
    decode: Callable[[list[bytes]], pl.DataFrame]
    decode_blocks: Callable[[list[bytes]], pl.DataFrame]
    open_of: Callable[[bytes], int]
    count: Callable[[Seal], int]
    digest: Callable[[Seal], str]

    def floor_ms(self, state: State) -> int:
        return state.footprint_floor_ms if self.name == "footprints" else state.candle_floor_ms


CANDLES = Series(
    "candles",
    decode.candles,
    decode.candle_blocks,
    codec.candle_open,
    lambda seal: seal.candles,
    lambda seal: seal.candle_digest,
)
FOOTPRINTS = Series(
    "footprints",
    decode.footprints,
    decode.footprint_blocks,
    codec.footprint_open,
    lambda seal: seal.footprints,
    lambda seal: seal.footprint_digest,
)


@dataclass(frozen=True, slots=True)
class Part:
    """All minutes that open in `[from_ms, to_ms)`, ascending, as of `view`. `ended`: no others lie in the range."""

    view: View
    minutes: pl.DataFrame
    from_ms: int
    to_ms: int
    ended: bool


class History(SymbolReader):
    """A reader of one symbol to whom it makes no difference where a minute lies."""

    def __init__(self, client: Redis, symbol: str, kept: Blocks) -> None:
        super().__init__(client, symbol)
        self._kept = kept

    async def view(
        self,
        candles: Sequence[Range] = (),
        footprints: Range | None = None,
        since_seq: int | None = None,
        seals_from_ms: int | None = None,
        days: Range | None = None,
    ) -> View:
        """As SymbolReader.view, with the minutes that are sealed."""
        for _ in range(ATTEMPTS):
            view = await super().view(candles, footprints, since_seq, seals_from_ms, days)
            asked = list(zip(candles, view.candles, strict=True))
            lacking = [wanted.start_ms for wanted, found in asked if _may_be_sealed(CANDLES, view, wanted, found)]
            if not lacking:
                return view
            view = await super().view(candles, footprints, since_seq, min(lacking), days)
            parts = [await self._part(CANDLES, view, *pair) for pair in zip(candles, view.candles, strict=True)]
            if all(parts):
                found = [encode.candles(_cut(part.minutes, r)) for part, r in zip(parts, candles, strict=True) if part]
                return replace(view, candles=found)
        raise _changing(self)

    async def read(self, series: Series, wanted: Range, most_open: int) -> Part:
        """Return minutes of `wanted`, beginning at the end that is asked for: at least one if there are any.

        As many as asked for, unless they are not sealed yet and more than `most_open`; or some more.
        """
        ends = {"oldest": most_open} if wanted.oldest is not None else {"newest": most_open}
        limited = Range(wanted.start_ms, wanted.end_ms, **ends)
        for _ in range(ATTEMPTS):
            view, found = await self._look(series, limited, None)
            if not _may_be_sealed(series, view, limited, found):
                return _open_part(series, view, limited, found)
            view, found = await self._look(series, limited, wanted.start_ms)
            part = await self._part(series, view, wanted, found, most_open)
            if part:
                return part
        raise _changing(self)

    async def _look(self, series: Series, wanted: Range, seals_from_ms: int | None) -> tuple[View, list[bytes]]:
        if series.name == "footprints":
            view = await super().view(footprints=wanted, seals_from_ms=seals_from_ms)
            return view, view.footprints
        view = await super().view([wanted], seals_from_ms=seals_from_ms)
        return view, view.candles[0]

    async def _part(
        self, series: Series, view: View, wanted: Range, found: list[bytes], most_open: int | None = None
    ) -> Part | None:
        """Join open minutes and sealed days of one view. None if a day has been sealed anew since."""
        limit = most_open or wanted.oldest or wanted.newest
        opened = _open_part(series, view, wanted, found, limit)
        seals = [seal for seal in view.seals if seal.day_ms + DAY_MS > wanted.start_ms and seal.day_ms < wanted.end_ms]
        chosen = _chosen(series, seals, wanted)
        frames = await self._frames(series, [seal for seal in chosen if series.digest(seal)])
        if frames is None:
            return None
        from_ms, to_ms = opened.from_ms, opened.to_ms
        if len(chosen) < len(seals) and wanted.oldest is not None:
            to_ms = min(to_ms, chosen[-1].day_ms + DAY_MS)
        elif len(chosen) < len(seals):
            from_ms = max(from_ms, chosen[0].day_ms)
        minutes = _joined([*frames, opened.minutes], from_ms, to_ms)
        return Part(view, minutes, from_ms, to_ms, opened.ended and len(chosen) == len(seals))

    async def _frames(self, series: Series, seals: list[Seal]) -> list[pl.DataFrame] | None:
        frames = {seal: self._kept.get(series.digest(seal)) for seal in seals}
        missing = [seal for seal, frame in frames.items() if frame is None]
        for at in range(0, len(missing), FETCHED_AT_ONCE):
            some = missing[at : at + FETCHED_AT_ONCE]
            fetched = await self.blocks(series.name, [seal.day_ms for seal in some])
            if any(_digest(block) != series.digest(seal) for seal, block in zip(some, fetched, strict=True)):
                return None
            # Decoding a year takes 50 ms, in which nobody else would be answered.
            decoded = await asyncio.to_thread(series.decode_blocks, [block for block in fetched if block])
            for seal in some:
                day = pl.col("open_ms").is_between(seal.day_ms, seal.day_ms + DAY_MS, closed="left")
                frames[seal] = frame = decoded.filter(day)
                self._kept.keep(series.digest(seal), frame)
        return [frame for frame in frames.values() if frame is not None]


def _may_be_sealed(series: Series, view: View, wanted: Range, found: list[bytes]) -> bool:
    """Whether minutes of the range may lie in a sealed day."""
    if view.state is None or wanted.start_ms >= view.state.sealed_to_ms:
        return False
    full = wanted.newest is not None and len(found) == wanted.newest
    return not (full and series.open_of(found[0]) >= view.state.sealed_to_ms)


def _open_part(series: Series, view: View, wanted: Range, found: list[bytes], limit: int | None = None) -> Part:
    """The open minutes alone. `limit`: how many were asked for at most."""
    limit = limit or wanted.oldest or wanted.newest
    minutes = series.decode(found)
    if limit is None or len(found) < limit:
        return Part(view, minutes, wanted.start_ms, wanted.end_ms, ended=True)
    if wanted.oldest is not None:
        return Part(view, minutes, wanted.start_ms, series.open_of(found[-1]) + 1, ended=False)
    return Part(view, minutes, series.open_of(found[0]), wanted.end_ms, ended=False)


def _chosen(series: Series, seals: list[Seal], wanted: Range) -> list[Seal]:
    """Days that surely have as many minutes as asked for; one at the edge may lie outside with all of its."""
    limit = wanted.oldest if wanted.oldest is not None else wanted.newest
    if limit is None:
        return seals
    order = seals if wanted.oldest is not None else seals[::-1]
    chosen, count = [], 0
    for number, seal in enumerate(order):
        if count >= limit:
            break
        chosen.append(seal)
        count += series.count(seal) if number else 0
    return chosen if wanted.oldest is not None else chosen[::-1]


def _joined(frames: Sequence[pl.DataFrame], from_ms: int, to_ms: int) -> pl.DataFrame:
    """Put frames of minutes together; of a minute that is in several of them, the last one counts."""
    *older, newest = frames
    inside = pl.col("open_ms").is_between(from_ms, to_ms, closed="left")
    if not older:
        return newest.filter(inside)
    sealed = pl.concat(older)
    if newest.is_empty():
        return sealed.filter(inside)
    if sealed.is_empty() or sealed["open_ms"][-1] < newest["open_ms"][0]:
        return pl.concat([sealed, newest]).filter(inside)
    kept = sealed.join(newest.select("open_ms").unique(), on="open_ms", how="anti", maintain_order="left")
    return pl.concat([kept, newest]).filter(inside).sort("open_ms", maintain_order=True)


def _cut(minutes: pl.DataFrame, wanted: Range) -> pl.DataFrame:
    if wanted.oldest is not None:
        return minutes.head(wanted.oldest)
    return minutes if wanted.newest is None else minutes.tail(wanted.newest)


def _digest(block: bytes | None) -> str:
    """As the seal has it."""
    return hashlib.sha1(block, usedforsecurity=False).hexdigest()[:16] if block else ""


def _changing(reader: SymbolReader) -> StoreUnavailable:
    return StoreUnavailable(f"{reader.keys.symbol} changed under every attempt to read it")
