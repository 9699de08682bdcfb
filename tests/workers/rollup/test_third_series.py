"""A third series costs one descriptor and its codec: here what was bought less what was sold, of each period.

It is told in three places, one for each layer (a member and its blocks, a frame, columns of the archive), and then
committed, amended, sealed, archived, dropped, merged with late trades and read, cut and rescaled like any other.
"""

import random
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import SERIES, ArchiveSeries
from common.frames.minutes import FRAMES, MinuteFrames
from common.frames.spans import span_open
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.rescaling import Rescaling
from common.market.scale import Scale, Scales
from common.market.timeframes.timeframe import DAY_MS, MINUTE, MINUTE_MS, Timeframe, day_of
from common.market.trade import BUY, SELL
from common.series import MINUTE_SERIES, BlockCodec, MinuteCodec, MinuteSeries
from common.store import keys
from common.store.commit import Commit
from common.store.imports import ImportStore
from common.store.keys import SymbolKeys
from common.store.parts import Range, Seals
from common.store.reads import SymbolReader
from common.store.registry import Market
from feed.bars.closed import read_closed
from feed.bars.recipe import BarRecipe
from feed.reading.bounds import Bounds
from feed.reading.frame_cache import FrameCache
from feed.reading.history import History
from infra.doctor.audit import Auditor
from tests.kit import writer as writing
from tests.kit.archive.days import archive_all
from tests.kit.writer import INSTRUMENT, START_MS, Writer
from workers.change.claim import Claimant
from workers.change.cut import Cutter
from workers.change.procedure import Changer
from workers.change.request import Request
from workers.clock.due import due_work
from workers.imports.day import Day
from workers.imports.joined import reads_as, sealed
from workers.rollup.older import older_minutes
from workers.symbol.commit import Retention, make_commit

MEMBER = struct.Struct("<qq")
SCHEMA = pl.Schema({"open_ms": pl.Int64, "delta_lots": pl.Int64})
HOUR = Timeframe(1, "h")
MARKET, SYMBOL_KEYS = Market(INSTRUMENT), SymbolKeys(INSTRUMENT.symbol)
FIRST_MS = day_of(START_MS) + DAY_MS


def open_of(member: bytes) -> int:
    return int(MEMBER.unpack(member)[0])


def rescaled(rescaling: Rescaling, member: bytes) -> bytes:
    if not member:
        return member
    open_ms, delta = MEMBER.unpack(member)
    return MEMBER.pack(open_ms, rescaling.size(delta))


def pack(members: Sequence[bytes], name: Scale | None) -> bytes:
    return f"{name or ''};".encode() + b"".join(members)


def unpack(block: bytes, scales: Scales | None) -> list[bytes]:
    text, _, rows = block.partition(b";")
    members = [rows[at : at + MEMBER.size] for at in range(0, len(rows), MEMBER.size)]
    if scales is None:
        return members
    rescaling = Rescaling(Scale.parse(text.decode()) if text else scales.unnamed, scales.now)
    return members if rescaling.is_none else [rescaled(rescaling, member) for member in members]


def at(block: bytes, open_ms: int, scales: Scales | None) -> bytes | None:
    return next((member for member in unpack(block, scales) if open_of(member) == open_ms), None)


def rows(block: bytes) -> int:
    return len(unpack(block, None))


def decode(members: Sequence[bytes]) -> pl.DataFrame:
    return pl.DataFrame(list(map(MEMBER.unpack, members)), schema=SCHEMA, orient="row")


def unseal(sealed: Sequence[bytes], *, scales: Scales | None = None) -> pl.DataFrame:
    return decode([member for block in sealed for member in unpack(block, scales)])


def merge(deltas: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    opens = span_open(pl.col("open_ms"), timeframe)
    return deltas.group_by(opens.alias("open_ms")).agg(pl.sum("delta_lots")).sort("open_ms")


def told(period: Timeframe, archive_period: Timeframe) -> MinuteFrames:
    """The descriptor with its codec, and its frames."""
    blocks = BlockCodec(pack, unpack, at, rows)
    series = MinuteSeries(
        "deltas", MinuteCodec(open_of, rescaled, lambda: blocks), archive_period, "footprint_days", period
    )
    return MinuteFrames(series, SCHEMA, decode, unseal, partial(merge, timeframe=period))


@pytest.fixture(
    params=[(MINUTE, Timeframe(1, "d")), (HOUR, Timeframe(1, "M"))], ids=["minutes by day", "hours by month"]
)
def frames(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> MinuteFrames:
    """All that has to be told of it."""
    made = told(*request.param)
    monkeypatch.setitem(MINUTE_SERIES, made.series.name, made.series)
    monkeypatch.setitem(FRAMES, made.series.name, made)
    columns = {"open_ms": "open_time", "delta_lots": "delta"}
    monkeypatch.setitem(SERIES, made.series.name, ArchiveSeries.of_minutes(made, columns, 65_536))
    kinds = {f"deltas:{made.series.period.text}": "zset", "sealed:deltas": "hash"}
    kinds |= {"late:deltas": "zset", "archived:deltas": "zset"}
    table = "".join(f"\n| {{S}}:{name} | {kind} |" for name, kind in kinds.items())
    monkeypatch.setattr(keys, "__doc__", f"{keys.__doc__}{table}\n")
    monkeypatch.setattr(writing, "make_commit", with_deltas(made.series))
    return made


def with_deltas(series: MinuteSeries) -> Callable[..., Commit]:
    """make_commit, with what a builder of the series would add to it."""

    def made(*arguments: Any) -> Commit:
        commit = make_commit(*arguments)
        minutes = {
            open_ms: (*packed, delta_of(packed[0]) if series.period.open_of(open_ms) == open_ms else b"")
            for open_ms, packed in commit.minutes.items()
        }
        return replace(commit, minutes=minutes)

    return made


def delta_of(candle: bytes) -> bytes:
    minute = codec.unpack_candle(candle)
    return MEMBER.pack(minute.open_ms, minute.buy_lots - minute.sell_lots)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.open(str(tmp_path))


@pytest.fixture
def writer_options(frames: MinuteFrames, archive: Archive) -> dict[str, Any]:
    return {"archived": frozenset(MINUTE_SERIES), "older": partial(older_minutes, archive)}


async def write_days(writer: Writer, days: int) -> None:
    """Trades in the first minute of each hour, and in some others."""
    rng = random.Random(days)
    first_ms = max(FIRST_MS, day_of(writer.now_ms) + DAY_MS)
    for day_ms in range(first_ms, first_ms + days * DAY_MS, DAY_MS):
        times = [ms + rng.randrange(MINUTE_MS) for ms in range(day_ms, day_ms + DAY_MS, HOUR.longest_ms)]
        times += [rng.randrange(day_ms, day_ms + DAY_MS) for _ in range(40)]
        trades = [(ms, rng.randrange(1, 50), rng.choice((BUY, SELL))) for ms in sorted(times)]
        await writer.commit(*(writer.trade(ms, lots=lots, side=side) for ms, lots, side in trades))
    await writer.commit(writer.trade(first_ms + days * DAY_MS, side=BUY))


def expected(writer: Writer, series: MinuteSeries) -> dict[int, int]:
    """Of closed periods, by the trades that were applied: an hour has here what its first minute has."""
    sums = Counter[int]()
    for each in writer.applied:
        sign = {BUY: 1, SELL: -1}[each.trade.side]
        sums[each.trade.ts_ms // MINUTE_MS * MINUTE_MS] += sign * each.trade.size_lots
    closed_ms = writer.builder.watermark_ms // MINUTE_MS * MINUTE_MS
    return {ms: lots for ms, lots in sums.items() if series.period.open_of(ms) == ms and ms < closed_ms}


async def read(
    client: Redis, frames: MinuteFrames, archive: Archive, instrument: Instrument = INSTRUMENT
) -> dict[int, int]:
    """All of it, as the feed reads: from the newest part on."""
    history = History(SymbolReader(client, instrument.symbol, instrument), instrument, FrameCache(), archive)
    end_ms, found = 1 << 42, list[pl.DataFrame]()
    while True:
        part = await history.read(frames, Range(0, end_ms, newest=10, series=frames.series), 10)
        found = [*part.frames, *found]
        if part.ended:
            return dict(pl.concat(found).rows())
        end_ms = part.from_ms


async def test_it_is_written_sealed_archived_dropped_and_read(
    client: Redis, writer: Writer, frames: MinuteFrames, archive: Archive
) -> None:
    series = frames.series
    await write_days(writer, 4)
    assert await read(client, frames, archive) == expected(writer, series)
    await writer.roll_up()
    assert not await client.exists(SYMBOL_KEYS.minutes(series))
    assert len(await client.hkeys(SYMBOL_KEYS.sealed(series.name))) == 4
    assert await read(client, frames, archive) == expected(writer, series)
    # A late trade amends a day that is sealed.
    await writer.commit(writer.trade(FIRST_MS + DAY_MS + 7, lots=1_000, side=SELL))
    assert await read(client, frames, archive) == expected(writer, series)
    await writer.roll_up()
    seals = (await SymbolReader(client, INSTRUMENT.symbol).view(Seals(0))).seals
    per_day = Counter(day_of(open_ms) for open_ms in expected(writer, series))
    assert {seal.day_ms: seal.count(series) for seal in seals} == per_day
    assert (series.name,) in {work.rest for work in await due_work(client, archiving=True)}
    await archive_all(client, archive, MARKET)
    assert dict(archive.read(SERIES[series.name], INSTRUMENT, 0, 1 << 42).rows()) == expected(writer, series)
    # What the archive has is dropped; late trades of it wait for the archive, and are read until it has them.
    writer.retention = Retention(2, 1)
    await writer.commit(writer.trade(writer.now_ms + MINUTE_MS, side=BUY))
    state = (await SymbolReader(client, INSTRUMENT.symbol).view()).state
    assert state and state.candle_floor_ms < state.floor_ms(series) == day_of(writer.now_ms) - DAY_MS
    assert len(await client.hkeys(SYMBOL_KEYS.sealed(series.name))) == 1
    assert await read(client, frames, archive) == expected(writer, series)
    await writer.commit(writer.trade(FIRST_MS + 11, lots=2_000, side=BUY))
    assert await client.zcard(SYMBOL_KEYS.late(series.name)) == 1
    assert await read(client, frames, archive) == expected(writer, series)
    await writer.roll_up()
    await archive_all(client, archive, MARKET)
    assert not await client.exists(SYMBOL_KEYS.late(series.name))
    assert await read(client, frames, archive) == expected(writer, series)
    auditor = Auditor(client, MARKET, archive)
    for where in await auditor.objects(SERIES[series.name], 0, 1 << 42):
        assert not (await auditor.check(where)).wrong


async def test_bars_are_made_of_it(client: Redis, writer: Writer, frames: MinuteFrames, archive: Archive) -> None:
    await write_days(writer, 3)
    await writer.roll_up()
    timeframe, sums = Timeframe(4, "h"), Counter[int]()
    to_bars = partial(merge, timeframe=timeframe)
    recipe = BarRecipe(timeframe, frames, "deltas", 1_000, 1_000, False, len, to_bars, lambda trades, _: trades)
    store = SymbolReader(client, INSTRUMENT.symbol, INSTRUMENT)
    history = History(store, INSTRUMENT, FrameCache(), archive)
    closed = await read_closed(history, recipe, Bounds(0, 1 << 42, 1_000, oldest_first=False))
    for open_ms, lots in expected(writer, frames.series).items():
        sums[timeframe.open_of(open_ms)] += lots
    assert dict(closed.bars.rows()) == sums


async def test_an_import_leaves_it_as_it_is(client: Redis, writer: Writer, frames: MinuteFrames) -> None:
    """Also where open members lie beside the sealed ones: the day is sealed with both."""
    series, scales = frames.series, Scales.unchanged(INSTRUMENT.scale)
    await write_days(writer, 2)
    await writer.roll_up()
    await writer.commit(writer.trade(FIRST_MS + 7, lots=1_000, side=SELL))
    (stored,) = await ImportStore(client, INSTRUMENT.symbol, 10).read([FIRST_MS])
    assert stored[series.name].open and stored[series.name].sealed
    (made,) = sealed([Day(FIRST_MS, 0)], [stored], None, 0, scales)
    of_day = {ms: lots for ms, lots in expected(writer, series).items() if day_of(ms) == FIRST_MS}
    assert dict(unseal([made.blocks[series.name]]).rows()) == of_day
    staged = made.staged()
    assert staged and staged.counts[series.name] == len(of_day)
    assert reads_as({FIRST_MS: made.blocks}, [made], scales)
    assert not reads_as({FIRST_MS: {**made.blocks, series.name: b";"}}, [made], scales)


async def test_it_is_cut_and_rescaled_with_the_others(
    client: Redis, redis_url: str, writer: Writer, frames: MinuteFrames, archive: Archive
) -> None:
    series = frames.series
    await write_days(writer, 2)
    await writer.roll_up()
    await write_days(writer, 1)
    kept = {ms: lots for ms, lots in expected(writer, series).items() if ms >= FIRST_MS + DAY_MS}
    await Cutter("", INSTRUMENT.symbol, FIRST_MS + DAY_MS, 10_000, Claimant("tests", 60_000)).cut(client, MARKET)
    assert await read(client, frames, archive) == kept
    assert len(await client.hkeys(SYMBOL_KEYS.sealed(series.name))) == 1
    await Changer(redis_url, INSTRUMENT.symbol, Request(size_decimals=4), "tests:2", 6_000, 10_000).run()
    finer = {ms: 10 * lots for ms, lots in kept.items()}
    assert await read(client, frames, archive, replace(INSTRUMENT, size_decimals=4)) == finer
