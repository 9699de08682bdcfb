"""Files of trades, imported and replayed; and what the store has of them."""

import asyncio
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import polars as pl

from common.archive.archive import Archive
from common.archive.series import TRADE_ROWS
from common.market.candle import IMPORT
from common.market.coding import blocks, candle_blocks, codec, footprint_blocks
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS
from common.market.trade import SIDE_NAMES
from common.series import CANDLES, FOOTPRINTS
from common.settings import Settings
from common.store.client import commit_client
from common.store.parts import Entries, Minutes, Range, Seals
from common.store.reads import SymbolReader, View
from common.store.registry import Market
from workers.imports.files import ImportFile
from workers.imports.importer import Importer
from workers.imports.work import Done
from workers.recordings import TradeFile
from workers.replay import KIND, Replayer
from workers.run import WorkerSettings
from workers.sources.replay import Replay

INSTRUMENT = Instrument("TEST:IMPORT", 2, 4, "contiguous")
FIRST_MS = 1_700_006_400_000 - 6 * 3_600_000  # 18:00 of a UTC day
EVERYTHING = Range(0, 1 << 50)
BOTH = Minutes(EVERYTHING, replace(EVERYTHING, series=FOOTPRINTS))
HEADER = "ts_ms,price,size,side,id"


def rows(count: int, *, days: float = 2.5, seed: int = 7) -> list[str]:
    """Lines of trades over some days, in order of time; a few share a time."""
    rng = random.Random(seed)
    times = sorted(int(rng.uniform(0, days * DAY_MS)) // 50 * 50 for _ in range(count))

    def line(number: int, ms: int) -> str:
        price, size = 100 + rng.randrange(100) / 100, rng.randrange(0, 9_999) / 10_000
        return f"{FIRST_MS + ms},{price:.2f},{size:.4f},{rng.choice(SIDE_NAMES)},{number}"

    return [line(*numbered) for numbered in enumerate(times)]


def written(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("\n".join([HEADER, *lines]) + "\n", "utf-8")
    return path


def importer(url: str, paths: Sequence[Path], instrument: Instrument = INSTRUMENT, **more: object) -> Importer:
    made = WorkerSettings.of(Settings(), **{"redis_url": url, "commit_interval_ms": 0} | more)
    chosen = [ImportFile(path, instrument) for path in paths]
    return Importer(url, Market(instrument, {"kind": KIND}), chosen, IMPORT, made.term, made.bounds, "test")


async def imported(
    url: str, paths: Sequence[Path], instrument: Instrument = INSTRUMENT, archive: Path | None = None, **more: object
) -> Done:
    """`archive`: where the trades go as well."""
    work = importer(url, paths, instrument, **_archiving(archive), **more)
    work.archive = Archive.open(str(archive)) if archive else None
    done = await work.run()
    assert work.ended
    return done


async def replayed(
    url: str, path: Path, instrument: Instrument = INSTRUMENT, archive: Path | None = None, **more: object
) -> None:
    """`archive`: where the jobs are to put the trades; they are not run here."""
    made = WorkerSettings.of(Settings(), **{"redis_url": url, "commit_interval_ms": 0} | _archiving(archive) | more)
    replay = Replay([TradeFile(path, instrument)], IMPORT)
    work = Replayer(url, Market(instrument, {"kind": KIND}), replay, made.term, made.bounds, "test")
    await work.run()
    assert work.ended


def _archiving(archive: Path | None) -> dict[str, object]:
    return {"archive_url": str(archive)} if archive else {}


@dataclass(frozen=True)
class Stored:
    """All that is stored of a symbol, wherever it lies. Not how: seq, token and position are a run's own."""

    candles: dict[int, bytes]
    footprints: dict[int, bytes]
    open: tuple[bytes, bytes]
    watermark_ms: int
    coverage: bytes
    refused: dict[str, int]
    gaps: list[tuple[str, str]]


async def view_of(url: str, instrument: Instrument = INSTRUMENT) -> View:
    async with commit_client(url) as client:
        return await SymbolReader(client, instrument.symbol).view(BOTH, Entries(0), Seals(0))


async def stored(url: str, instrument: Instrument = INSTRUMENT) -> Stored:
    async with commit_client(url) as client:
        reader = SymbolReader(client, instrument.symbol)
        view = await reader.view(BOTH, Entries(0), Seals(0))
        days = [seal.day_ms for seal in view.seals]
        sealed_candles = await reader.blocks(CANDLES, days) if days else []
        sealed_footprints = await reader.blocks(FOOTPRINTS, days) if days else []
        ledger = await reader.gaps()
    for seal, candle_block, footprint_block in zip(view.seals, sealed_candles, sealed_footprints, strict=True):
        assert candle_block and blocks.digest(candle_block) == seal.digest(CANDLES)
        assert len(candle_blocks.members(candle_block)) == seal.count(CANDLES)
        # Retention drops footprints sooner.
        assert footprint_block is None or blocks.digest(footprint_block) == seal.digest(FOOTPRINTS)
    candles = [m for block in sealed_candles if block for m in candle_blocks.members(block)] + view.minutes[0]
    footprints = [m for block in sealed_footprints if block for m in footprint_blocks.members(block)] + view.minutes[1]
    opens = [codec.candle_open(member) for member in candles]
    assert len(set(opens)) == len(opens), "a minute lies both open and sealed"
    assert view.state
    return Stored(
        dict(sorted(zip(opens, candles, strict=True))),
        {codec.footprint_open(member): member for member in footprints},
        (view.state.candle, view.state.open_of(FOOTPRINTS)),
        view.state.watermark_ms,
        orjson.dumps(view.state.coverage(instrument.ids).dump()),
        view.state.refused,
        [(gap.id, gap.state) for gap in ledger.gaps.values()],
    )


def archived_trades(folder: Path) -> pl.DataFrame:
    return Archive.open(str(folder)).read(TRADE_ROWS, INSTRUMENT, 0, 1 << 42)


def trades_of(*paths: Path) -> pl.DataFrame:
    read = [each.frame for path in paths for each in ImportFile(path, INSTRUMENT).batches()]
    return pl.concat(read).sort("ts_ms", "id")


def emptied(url: str) -> None:
    async def flush() -> None:
        async with commit_client(url) as client:
            await client.flushall()

    asyncio.run(flush())


def command(*paths: Path) -> list[str]:
    options = ["--symbol", INSTRUMENT.symbol, "--price-decimals", "2", "--size-decimals", "4"]
    return [sys.executable, "-m", "infra.cli", "import", "trades", *map(str, paths), *options]


def sealed_count(url: str) -> int:
    async def count() -> int:
        async with commit_client(url) as client:
            found: int = await client.zcard(SymbolReader(client, INSTRUMENT.symbol).keys.seals)
            return found

    return asyncio.run(count())
