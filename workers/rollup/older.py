"""Minutes that the archive alone has, for the roll-up of their days.

Loads Polars: only ever imported in the process of one job, and there only if a day reaches below the floor.
"""

import asyncio
from collections.abc import Sequence

from common.archive.archive import Archive
from common.archive.late import period_with
from common.archive.series import CANDLE_ROWS
from common.frames import encode
from common.market.builder.late import LatePart
from common.market.instrument import Instrument
from common.market.manifest import ManifestEntry


async def older_minutes(
    archive: Archive,
    instrument: Instrument,
    start_ms: int,
    end_ms: int,
    late: Sequence[LatePart],
    at: tuple[str, int],
    known: Sequence[ManifestEntry] = (),
) -> list[bytes]:
    """Return the packed candles that open in `[start_ms, end_ms)`, ascending, `late` among them, as of commit `at`.

    `known`: what was confirmed of these months: ArchiveDamaged if some of it is not there.
    """
    found: list[bytes] = []
    expected = {entry.period_ms: entry for entry in known}
    period_ms = CANDLE_ROWS.period.open_of(start_ms)
    while period_ms < end_ms:
        next_ms = CANDLE_ROWS.period.next_open(period_ms)
        parts = [part for part in late if period_ms <= part.open_ms < next_ms]
        place = archive, CANDLE_ROWS, instrument, period_ms
        confirmed = expected.get(period_ms)
        rows = await asyncio.to_thread(period_with, *place, parts, at, list(CANDLE_ROWS.schema), confirmed)
        opens = rows["open_ms"]
        first, end = opens.search_sorted(start_ms, "left"), opens.search_sorted(end_ms, "left")
        found += encode.candles(rows.slice(first, end - first))
        period_ms = next_ms
    return found
