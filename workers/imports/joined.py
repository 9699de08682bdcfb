"""A day of an import joined with what the store has of it, and how it is laid down."""

from collections.abc import Callable

import polars as pl

from common.frames import decode, encode
from common.market import blocks, codec
from common.market.builder import Builder, Minute, pack_minute, unpack_minute
from common.market.coverage import RecentCoverage
from common.market.footprint import Footprint
from common.market.packed import Ints
from common.market.timeframe import day_of
from common.store.rollups import CANDLES, FOOTPRINTS, Minutes
from workers.imports.days import Day, Frames, built


def merged(day: Day, stored: tuple[Minutes, Minutes], growing: Minute | None, watermark_ms: int) -> Frames:
    """The whole day: what is new, what is stored, and the minute that grows if it is of this day."""
    candles, levels = stored
    candle_members, footprint_members = list(candles.open), list(levels.open)
    if growing and day_of(growing.candle.open_ms) == day.day_ms:
        growing_frames = _frames_of(growing)
        candle_members += growing_frames[0]
        footprint_members += growing_frames[1]
    opened, open_levels = decode.candles(candle_members), decode.footprints(footprint_members)
    both = (_overlaid(decode.sealed_candles, candles, opened), _overlaid(decode.sealed_footprints, levels, open_levels))
    return built(day, *both, watermark_ms)


def _overlaid(unseal: Callable[[list[bytes]], pl.DataFrame], minutes: Minutes, opened: pl.DataFrame) -> pl.DataFrame:
    """Sealed and open minutes as one: of a minute in both the open one counts."""
    if not minutes.sealed:
        return opened
    sealed = unseal(list(minutes.sealed.values()))
    return pl.concat([sealed.join(opened.select("open_ms").unique(), on="open_ms", how="anti"), opened])


def sealed(
    day: Day, stored: tuple[Minutes, Minutes], growing: Minute | None, watermark_ms: int
) -> tuple[Frames, dict[str, bytes]]:
    """The day, and its blocks by series."""
    candles, levels = merged(day, stored, growing, watermark_ms)
    made = {CANDLES: blocks.pack_candles(encode.candles(candles))} if len(candles) else {}
    if len(levels):
        made[FOOTPRINTS] = blocks.pack_levels([_column(levels, name) for name in levels.columns])
    return (candles, levels), made


def reads_as(laid: dict[str, bytes], candles: pl.DataFrame, levels: pl.DataFrame) -> bool:
    if not decode.sealed_candles([laid[CANDLES]]).equals(candles):
        return False
    return FOOTPRINTS not in laid or decode.sealed_footprints([laid[FOOTPRINTS]]).equals(levels)


def _column(frame: pl.DataFrame, name: str) -> Ints:
    found: Ints = frame[name].to_numpy()
    return found


def minutes_of(candles: pl.DataFrame, levels: pl.DataFrame) -> dict[int, Minute]:
    members = encode.footprints(levels)
    footprints = {codec.footprint_open(member): member for member in members}
    packed = encode.candles(candles)
    opens = candles["open_ms"].to_list()
    return {open_ms: _minute(candle, footprints.get(open_ms)) for open_ms, candle in zip(opens, packed, strict=True)}


def _minute(candle: bytes, footprint: bytes | None) -> Minute:
    return unpack_minute(candle, footprint) if footprint else Minute(codec.unpack_candle(candle), Footprint())


def _frames_of(minute: Minute) -> tuple[list[bytes], list[bytes]]:
    candle, footprint = pack_minute(minute)
    return [candle], [footprint] if footprint else []


def cover(builder: Builder, day: Day) -> None:
    """Bring coverage up to a day that is about to be written."""
    coverage, builder.newest_ms = builder.coverage, max(builder.newest_ms, day.to_ms)
    if isinstance(coverage, RecentCoverage) and day.trades:
        from_ms = min(ms for ms in (coverage.from_ms, day.from_ms) if ms >= 0)
        to_ms = max(coverage.to_ms, day.to_ms)
        # Of the ids nothing is kept: only what comes after all of them is surely no duplicate.
        builder.coverage = RecentCoverage(coverage.window, to_ms, from_ms, to_ms)
    else:
        coverage.cover(day.spans)
