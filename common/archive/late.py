"""Periods of the archive together with the late trades that are not in them yet (common.market.builder.late)."""

from collections.abc import Sequence

import polars as pl

from common.archive.archive import Archive
from common.archive.series import ArchiveSeries
from common.errors import Superseded
from common.frames.minutes import FRAMES
from common.market.builder.late import LatePart, Merged
from common.market.instrument import Instrument
from common.market.manifest import ManifestEntry


def period_with(
    archive: Archive,
    series: ArchiveSeries,
    instrument: Instrument,
    period_ms: int,
    parts: Sequence[LatePart],
    at: tuple[str, int],
    columns: Sequence[str],
    expected: ManifestEntry | None = None,
) -> pl.DataFrame:
    """Return some columns of a period as of the commit `at` (token, seq), at which the store had these parts of it.

    `expected`: what was confirmed of it: ArchiveDamaged if that is not there. Superseded if the object that is read
    here has late trades that came after the commit.
    """
    found = archive.packed(series, instrument, period_ms, expected)
    has = found.late if found else {}
    token, seq = at
    if has.get(token, -1) > seq:
        raise Superseded(f"the archive has late trades of {instrument.symbol} that came after commit {seq}")
    # To merge late trades takes all columns.
    needed = list(series.schema) if parts else columns
    rows = found.read(needed) if found else series.schema.to_frame().select(needed)
    return with_parts(series, rows, parts, has).select(columns)


def with_parts(series: ArchiveSeries, rows: pl.DataFrame, parts: Sequence[LatePart], merged: Merged) -> pl.DataFrame:
    """Merge those parts into rows of minutes that are not in them yet."""
    packed = [part.packed for part in parts if not part.is_in(merged)]
    if not packed:
        return rows
    frames = FRAMES[series.name]
    late = frames.decode(packed)
    opens = late.select(pl.col("open_ms").unique())
    touched = pl.concat([rows.join(opens, on="open_ms", how="semi"), late])
    made = frames.merge(touched)
    return pl.concat([rows.join(opens, on="open_ms", how="anti"), made]).sort("open_ms", maintain_order=True)
