"""What people would use in place of this, on the same work and the same machine, each as its own docs advise.

Peers run inside this process: no server, no other client, no correction, no stream. What is measured of this is the
whole way: over HTTP, or into a store with an fsync a commit.

Repeat: `pip install -e '.[peers]'`, then `python -m infra.bench peers`. A peer that isn't there is named, with what it
takes.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from infra.bench import year
from infra.bench.base import Figure, percentile
from infra.bench.peers import duck, frames, nautilus, timeseries, work
from infra.bench.peers.absent import Absent
from infra.bench.replay import replayed_per_s, write_trades

TRADES = 3_000_000
_YEAR, _INTAKE = "a year of minutes to 15m, p50", f"Parquet of {TRADES:,} trades to minutes"

# Make a year of minutes, which are where they are kept, into bars of 15 minutes, as Arrow or what the peer has in its
# place: seconds of each time.
YEARS: dict[str, Callable[[pl.DataFrame], list[float]]] = {
    "DuckDB, a table in memory": duck.year,
    "Polars, a frame in memory": frames.year,
    "RedisTimeSeries, five series": timeseries.year,
}
# Trades a second: Parquet to minutes of candles and, where a peer has them, of footprints.
INTAKES: dict[str, Callable[[Path, int], float]] = {
    "DuckDB, into its file": duck.intake,
    "Polars, into Parquet": frames.intake,
    "nautilus_trader, candles only, into memory": nautilus.intake,
    "RedisTimeSeries, five rules, no footprints": timeseries.intake,
}


def measure() -> list[Figure]:
    asked, kept = year.asked_and_kept()
    found = [_year("this, over HTTP", asked), _year("this, over HTTP, another timeframe than before", kept)]
    minutes = work.minutes(year.DAYS)
    for name, run in YEARS.items():
        try:
            found.append(_year(name, run(minutes)))
        except Absent as error:
            found.append(Figure(f"{_YEAR}: {name}", "", str(error)))
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        path = Path(folder) / "trades.parquet"
        write_trades(path, TRADES)
        found.append(_intake("this, into its store", replayed_per_s(path, TRADES)))
        for name, take_in in INTAKES.items():
            try:
                found.append(_intake(name, take_in(path, TRADES)))
            except Absent as error:
                found.append(Figure(f"{_INTAKE}: {name}", "", str(error)))
    return found


def _year(name: str, times_s: list[float]) -> Figure:
    return Figure(f"{_YEAR}: {name}", "", f"{percentile(times_s, 0.5) * 1e3:.1f} ms")


def _intake(name: str, per_s: float) -> Figure:
    return Figure(f"{_INTAKE}: {name}", "", f"{per_s:,.0f} trades/s")
