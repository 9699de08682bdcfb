"""Polars, in this process."""

import tempfile
import time
from pathlib import Path

import polars as pl

from infra.bench.peers.work import YEAR_BARS, seconds_of

_MINUTE_MS, _QUARTER_MS = 60_000, 900_000


def year(minutes: pl.DataFrame) -> list[float]:
    bars = bars_of(minutes)
    return seconds_of(lambda: bars.collect().to_arrow(), YEAR_BARS)


def bars_of(minutes: pl.DataFrame) -> pl.LazyFrame:
    """Bars of 15 minutes."""
    sums = ["volume_lots", "buy_lots", "turnover", "trades"]
    return (
        minutes.lazy()
        .group_by((pl.col("open_ms") // _QUARTER_MS * _QUARTER_MS).alias("open_ms"), maintain_order=True)
        .agg(
            pl.col("open_ticks").first(),
            pl.col("high_ticks").max(),
            pl.col("low_ticks").min(),
            pl.col("close_ticks").last(),
            pl.col(sums).sum(),
        )
    )


def intake(path: Path, count: int) -> float:
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        started_s = time.perf_counter()
        for name, table in {"candles": candles_of(path), "footprints": footprints_of(path)}.items():
            table.collect().write_parquet(Path(folder) / f"{name}.parquet")
        return count / (time.perf_counter() - started_s)


def _trades(path: Path) -> pl.LazyFrame:
    return pl.scan_parquet(path).with_columns((pl.col("ts_ms") // _MINUTE_MS * _MINUTE_MS).alias("open_ms"))


def candles_of(path: Path) -> pl.LazyFrame:
    """The file is in the order of its trades."""
    price, size = pl.col("price"), pl.col("size")
    return (
        _trades(path)
        .group_by("open_ms", maintain_order=True)
        .agg(
            price.first().alias("open"),
            price.max().alias("high"),
            price.min().alias("low"),
            price.last().alias("close"),
            size.sum().alias("volume"),
            size.filter(pl.col("side") == "buy").sum().alias("buy"),
            (price * size).sum().alias("turnover"),
            pl.len().alias("trades"),
        )
    )


def footprints_of(path: Path) -> pl.LazyFrame:
    size = pl.col("size")
    sides = [size.filter(pl.col("side") == side) for side in ("buy", "sell")]
    buy, sell = sides
    return (
        _trades(path)
        .group_by("open_ms", "price")
        .agg(buy.sum().alias("buy"), sell.sum().alias("sell"), buy.len().alias("buys"), sell.len().alias("sells"))
        .sort("open_ms", "price")
    )
