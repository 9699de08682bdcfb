"""Periods of the archive together with the late trades that are not in them yet (common.market.late)."""

from collections.abc import Sequence

import polars as pl

from common.archive.archive import Archive
from common.archive.series import FOOTPRINT_ROWS, Series
from common.errors import Superseded
from common.frames import decode
from common.frames.footprint import regroup
from common.frames.resample import resample
from common.market.instrument import Instrument
from common.market.late import Merged, Part
from common.market.timeframe import MINUTE


def period_with(
    archive: Archive,
    series: Series,
    instrument: Instrument,
    period_ms: int,
    parts: Sequence[Part],
    at: tuple[str, int],
    columns: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Return all rows of a period as of the commit `at` (token, seq), at which the store had these parts of it.

    Or only some columns of them; to merge late trades takes all. Superseded if the object that is read here has late
    trades that came after it.
    """
    wanted = list(columns or series.schema)
    version = archive.version(series, instrument, period_ms, None if parts else wanted)
    token, seq = at
    if version.late.get(token, -1) > seq:
        raise Superseded(f"the archive has late trades of {instrument.symbol} that came after commit {seq}")
    rows = series.schema.to_frame() if version.frame is None else version.frame
    return with_parts(series, rows, parts, version.late).select(wanted)


def with_parts(series: Series, rows: pl.DataFrame, parts: Sequence[Part], merged: Merged) -> pl.DataFrame:
    """Merge those parts into rows of minutes that are not in them yet."""
    packed = [part.packed for part in parts if not part.is_in(merged)]
    if not packed:
        return rows
    late = decode.footprints(packed) if series is FOOTPRINT_ROWS else decode.candles(packed)
    opens = late.select(pl.col("open_ms").unique())
    touched = pl.concat([rows.join(opens, on="open_ms", how="semi"), late])
    made = regroup(touched, MINUTE, 1) if series is FOOTPRINT_ROWS else resample(touched, MINUTE)
    return pl.concat([rows.join(opens, on="open_ms", how="anti"), made]).sort("open_ms", maintain_order=True)
