"""Days of an import joined with what the store has of them, and how they are laid down."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from common.frames import decode, encode
from common.frames.spans import held
from common.market.builder.builder import Builder, Minute, pack_minute
from common.market.builder.recent_coverage import RecentCoverage
from common.market.coding import blocks, candle_blocks, codec, footprint_blocks
from common.market.coding.packed import Ints
from common.market.instrument import Instrument
from common.market.scale import Scale, Scales
from common.market.timeframes.timeframe import MINUTE, day_of
from common.series import CANDLES, FOOTPRINTS, MINUTE_SERIES, MinuteSeries
from common.store.rollups import Staged, StoredMinutes
from workers.imports.day import Day
from workers.imports.days import Frames, built

# A day by series, as the store has it.
Stored = Mapping[str, StoredMinutes]


@dataclass(frozen=True, slots=True)
class Made:
    """A day as it is to be stored. By series, none where nothing of it is kept: `blocks`, and `counts` of minutes."""

    day: Day
    candles: pl.DataFrame
    levels: pl.DataFrame
    blocks: Mapping[str, bytes]
    counts: Mapping[str, int]

    def staged(self) -> Staged | None:
        """How the day lies ready, once it has been laid down; None if nothing of it is kept."""
        if not self.blocks:
            return None
        return Staged(self.counts, {name: blocks.digest(block) for name, block in self.blocks.items()})


def merged(
    days: Sequence[Day], stored: Sequence[Stored], growing: Minute | None, watermark_ms: int, scales: Scales
) -> Frames:
    """All minutes of some days: what is new, what is stored of each, and the minute that grows if it is of them.

    `scales`: of the blocks, here and below.
    """
    candle_members = [member for day in stored for member in day[CANDLES.name].open]
    footprint_members = [member for day in stored for member in day[FOOTPRINTS.name].open]
    if growing and day_of(growing.candle.open_ms) in {day.day_ms for day in days}:
        growing_frames = _frames_of(growing)
        candle_members += growing_frames[0]
        footprint_members += growing_frames[1]
    opened, open_levels = decode.candles(candle_members), decode.footprints(footprint_members)
    sealed_candles = [block for day in stored for block in day[CANDLES.name].sealed.values()]
    sealed_levels = [block for day in stored for block in day[FOOTPRINTS.name].sealed.values()]
    candles = _overlaid(partial(decode.sealed_candles, scales=scales), sealed_candles, opened)
    levels = _overlaid(partial(decode.sealed_footprints, scales=scales), sealed_levels, open_levels)
    return built(days, candles, levels, watermark_ms)


def _overlaid(unseal: Callable[[list[bytes]], pl.DataFrame], sealed: list[bytes], opened: pl.DataFrame) -> pl.DataFrame:
    """Sealed and open minutes as one, ascending: of a minute in both the open one counts."""
    if not sealed:
        return opened.sort("open_ms", maintain_order=True)
    kept = unseal(sealed).join(opened.select("open_ms").unique(), on="open_ms", how="anti")
    return pl.concat([kept, opened]).sort("open_ms", maintain_order=True)


def sealed(
    days: Sequence[Day], stored: Sequence[Stored], growing: Minute | None, watermark_ms: int, scales: Scales
) -> list[Made]:
    """The days, each with its blocks."""
    candles, levels = merged(days, stored, growing, watermark_ms, scales)
    members = encode.candles(candles)
    candle_spans, level_spans = _spans(candles, days), _spans(levels, days)
    columns = [_column(levels, name) for name in levels.columns]
    found = []
    for day, of_day, of_candles, of_levels in zip(days, stored, candle_spans, level_spans, strict=True):
        laid = _blocks(members[of_candles], [column[of_levels] for column in columns], scales.name)
        opens = levels["open_ms"][of_levels]
        counts = {CANDLES.name: of_candles.stop - of_candles.start, FOOTPRINTS.name: opens.n_unique()}
        for series in _as_they_are():
            if kept := of_day[series.name].members(series, scales):
                laid[series.name] = series.codec.blocks().pack([kept[ms] for ms in sorted(kept)], scales.name)
                counts[series.name] = len(kept)
        found.append(Made(day, candles[of_candles], levels[of_levels], laid, counts))
    return found


def _as_they_are() -> list[MinuteSeries]:
    """Series that an import makes nothing of: what is stored of them stays."""
    return [series for series in MINUTE_SERIES.values() if series not in (CANDLES, FOOTPRINTS)]


def outside(candles: pl.DataFrame, instrument: Instrument) -> int:
    """How many trades are in no session; of a minute that does not tell how many it has, one."""
    if instrument.sessions is None:
        return 0
    inside = held(candles, "open_ms", instrument.anchored(MINUTE))
    counted = pl.col("trades").clip(1).sum()
    return int(candles.select(counted).item()) - int(inside.select(counted).item())


def _spans(rows: pl.DataFrame, days: Sequence[Day]) -> list[slice]:
    """Where the rows of each day lie; they ascend by `open_ms`."""
    opens = rows["open_ms"].to_numpy()
    ends = ((day.day_ms, day.end_ms) for day in days)
    return [slice(*np.searchsorted(opens, span).tolist()) for span in ends]


def _blocks(candles: Sequence[bytes], levels: Sequence[Ints], name: Scale | None) -> dict[str, bytes]:
    made = {CANDLES.name: candle_blocks.pack(candles, name)} if candles else {}
    if len(levels[0]):
        made[FOOTPRINTS.name] = footprint_blocks.pack_levels(levels, name)
    return made


def reads_as(laid: Mapping[int, Mapping[str, bytes]], made: Sequence[Made], scales: Scales) -> bool:
    """Whether the blocks, as they were read back, hold what they were made of."""
    candles = [each.candles for each in made if CANDLES.name in each.blocks]
    levels = [each.levels for each in made if FOOTPRINTS.name in each.blocks]
    laid_candles, laid_levels = (
        [of_day[series.name] for of_day in laid.values() if series.name in of_day] for series in (CANDLES, FOOTPRINTS)
    )
    others = [series.name for series in _as_they_are()]
    if any(laid[each.day.day_ms].get(name) != each.blocks.get(name) for each in made for name in others):
        return False
    if candles and not decode.sealed_candles(laid_candles, scales=scales).equals(pl.concat(candles)):
        return False
    return not levels or decode.sealed_footprints(laid_levels, scales).equals(pl.concat(levels))


def _column(frame: pl.DataFrame, name: str) -> Ints:
    found: Ints = frame[name].to_numpy()
    return found


def packed(candles: pl.DataFrame, levels: pl.DataFrame) -> dict[int, tuple[bytes, bytes]]:
    """Minutes by their open, each as pack_minute makes it."""
    footprints = {codec.footprint_open(member): member for member in encode.footprints(levels)}
    members = {codec.candle_open(member): member for member in encode.candles(candles)}
    return {open_ms: (candle, footprints.get(open_ms, b"")) for open_ms, candle in members.items()}


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
        coverage.floor_ms, coverage.from_ms, coverage.to_ms = to_ms, from_ms, to_ms
        coverage.seen.clear()
    else:
        coverage.cover(day.spans)
