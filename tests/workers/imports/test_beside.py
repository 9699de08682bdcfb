"""Imports into a symbol that a venue feeds: history beside live trades, none lost, none twice, whatever is killed."""

import asyncio
import os
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from common.errors import BadInput
from common.market.builder.builder import Minute, candle_of, unpack_minute
from common.market.builder.gaps import NOT_IMPORTED, REPAIRED, UNFILLABLE, Gap
from common.market.builder.id_coverage import IdCoverage
from common.market.builder.spans import Hole, IdSpan
from common.market.candle import LIVE
from common.market.coding import codec
from common.market.footprint import Footprint
from common.market.instrument import Ids, Instrument
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, day_of, minute_of
from common.market.trade import SIDE_NAMES, Trade, Trades
from common.series import FOOTPRINTS
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.minute_archive import MinuteArchive
from common.store.owners import Owners
from common.store.reads import SymbolReader, View
from common.store.registry import Market, Registry
from common.store.symbol import SymbolStore
from common.store.wanted import WantedFleet
from infra import exchange as local
from infra.exchange.simulation import FIRST_TRADE_ID
from infra.paths import ROOT
from tests.kit import imports, venue_line
from tests.kit.archive.days import FIRST_MS
from tests.kit.archive.symbol import ArchivedSymbol, Died
from tests.kit.clocks import AttentiveClock
from tests.kit.delta_oracle import is_as
from tests.kit.folding import Folding
from tests.kit.served import Served, served
from tests.kit.venue_line import EASY, NAME, SETTINGS, SPEED, Line, told
from tests.kit.waiting import wait_until_async
from tests.kit.writer import Applied
from workers.imports.candles import CandleFile
from workers.imports.target import BINANCES
from workers.symbol.claims import Claimer, WorkerContext
from workers.symbol.commit import Retention
from workers.venues.registry import VENUES

pytestmark = pytest.mark.anyio

SYMBOL = venue_line.SYMBOL
# Some minutes of a UTC day are behind the market when it opens, and these days of history that it does not serve.
OPENS_MS, DAYS = 1_700_006_400_000, 40
KEPT = replace(SETTINGS, retention=Retention(400, 10))


def history(instrument: Instrument, count: int = 20_000) -> Trades:
    """Trades up to the first one of the local exchange, over some days."""
    rng = random.Random(11)
    times = sorted(OPENS_MS - 1 - int(rng.random() * DAYS * DAY_MS) for _ in range(count))
    prices = [6_000_000 + rng.randrange(2_000) for _ in times]
    sizes = [rng.randrange(1, 10**6) for _ in times]
    sides = bytes(rng.randrange(2) for _ in times)
    return Trades(times, list(range(FIRST_TRADE_ID - count, FIRST_TRADE_ID)), prices, sizes, sides)


def written(path: Path, trades: Trades, instrument: Instrument) -> Path:
    rows = (
        f"{t.ts_ms},{instrument.price_text(t.price_ticks)},{instrument.size_text(t.size_lots)},{SIDE_NAMES[t.side]},{t.id}"
        for t in trades.rows()
    )
    return imports.written(path, list(rows))


@dataclass
class Fed:
    """A symbol of the local exchange with a worker, in the real store."""

    line: Line
    url: str
    claimer: Claimer

    async def view(self) -> View:
        async with commit_client(self.url) as client:
            return await SymbolReader(client, SYMBOL).view()

    async def spans(self) -> list[IdSpan]:
        state = (await self.view()).state
        return list(state.coverage("contiguous").spans()) if state else []

    async def gaps(self) -> list[Gap]:
        async with commit_client(self.url) as client:
            return list((await SymbolReader(client, SYMBOL).gaps()).gaps.values())

    async def is_live(self) -> bool:
        """The worker holds the symbol, and has all up to a moment ago."""
        view, spans = await self.view(), await self.spans()
        newest = self.line.market.trades().ids[-1]
        return bool(view.owner.token and view.owner.holder == "worker" and spans and newest - spans[-1].last < 20)

    async def come_back(self, count: int) -> list[IdSpan]:
        """Wait until the worker has the symbol, and all that it missed; then coverage has so many spans."""
        await wait_until_async(self.is_live, timeout_s=30)
        await wait_until_async(lambda: _count(self.spans, count), timeout_s=30)
        return await self.spans()

    def truth(self, older: Trades, first: int, last: int) -> Trades:
        """Of history and of the exchange, in the decimals of the symbol."""
        scale = 10 ** (8 - self.line.market.listing.instrument.size_decimals)
        listed = self.line.market.trades(max(first, FIRST_TRADE_ID), last)
        listed.size_lots = [lots * scale for lots in listed.size_lots]
        chosen = [at for at, trade_id in enumerate(older.ids) if first <= trade_id <= last]
        return older.take(chosen) + listed

    async def assert_true(self, older: Trades) -> None:
        """Every minute is that of the trades that coverage has, and there is none too many or too few."""
        found = await imports.stored(self.url, self.line.instrument)
        trades = Trades()
        for span in IdCoverage.load(orjson.loads(found.coverage)).spans():
            trades += self.truth(older, span.first, span.last)
        expected = minutes_of(trades)
        minutes = {open_ms: codec.unpack_candle(member) for open_ms, member in found.candles.items()}
        if found.open[0]:
            growing = unpack_minute(*found.open)
            minutes[growing.candle.open_ms] = growing.candle
            found.footprints[growing.candle.open_ms] = found.open[1]
        assert minutes.keys() == expected.keys()
        assert all(is_as(told(candle), expected[at].candle) for at, candle in minutes.items())
        state = (await self.view()).state
        floor_ms = state.floor_ms(FOOTPRINTS) if state else 0
        kept = {at: codec.unpack_footprint(member)[1] for at, member in found.footprints.items()}
        assert kept == {at: m.footprint for at, m in expected.items() if at >= floor_ms}


def minutes_of(trades: Trades) -> dict[int, Minute]:
    runs: dict[int, list[int]] = {}
    for at, ts_ms in enumerate(trades.ts_ms):
        runs.setdefault(minute_of(ts_ms), []).append(at)
    minutes = {}
    for open_ms, places in runs.items():
        run, footprint = trades.take(places), Footprint()
        footprint.add(run.price_ticks, run.size_lots, run.sides)
        minutes[open_ms] = Minute(candle_of(open_ms, run, LIVE), footprint)
    return minutes


@asynccontextmanager
async def fed(redis_url: str) -> AsyncIterator[Fed]:
    """From the moment the symbol is live."""
    market = local.ExchangeMarket(local.Simulation(local.listing_of(NAME), 7, 3.0), EASY)
    clock = AttentiveClock()
    exchange = local.Exchange([market], start_ms=OPENS_MS, history_ms=15 * MINUTE_MS, rules=EASY, clock=clock)
    async with local.serving(exchange) as address, commit_client(redis_url) as client:
        line = Line(exchange, address, local.MarketClock(exchange), client, 10 * MINUTE_MS, keeps_book=False)
        source = {"kind": "venue", "venue": "LOCAL", "name": NAME}
        await Registry(client).add_symbol(Market(line.instrument, source))
        place = WorkerContext(
            holder="worker",
            clock=line.judged,
            settings=KEPT,
            owners=Owners(client).look,
            stores=lambda symbol: SymbolStore(client, symbol, StreamBounds(100_000, 10_000)),
            sources=lambda market: line._source(),
        )
        made = Fed(line, redis_url, Claimer(WantedFleet(client), place, frozenset(["venue"]), max_symbols=1))
        exchange.speed = SPEED
        serving = asyncio.create_task(made.claimer.run())
        try:
            # The hole behind the first page of history.
            await wait_until_async(lambda: _count(made.spans, 1), timeout_s=30)
            yield made
        finally:
            made.claimer.stop()
            await serving


async def _count(read: Callable[[], Awaitable[list[IdSpan]]], count: int) -> bool:
    return len(await read()) == count


def written_by_day(folder: Path, trades: Trades, instrument: Instrument) -> list[Path]:
    """A file a day, so that each day is written as soon as the next one is read."""
    folder.mkdir()
    days: dict[int, list[int]] = {}
    for at, ts_ms in enumerate(trades.ts_ms):
        days.setdefault(day_of(ts_ms), []).append(at)
    return [written(folder / f"{day_ms}.csv", trades.take(places), instrument) for day_ms, places in days.items()]


async def started(paths: Sequence[Path], environ: dict[str, str]) -> Process:
    command = [sys.executable, "-m", "infra.cli", "import", "trades", *map(str, paths), "--symbol", SYMBOL]
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environ, stdout=PIPE)


@pytest.mark.process
async def test_history_is_imported_beside_live_trades_killed_and_run_again(redis_url: str, tmp_path: Path) -> None:
    async with fed(redis_url) as made, served(redis_url) as feed:
        clients = [Folding(feed, SYMBOL, timeframe, 5_000) for timeframe in ("15m", "1h", "1w")]
        for one in clients:
            one.join()
        older = history(made.line.instrument)
        first_live = (await made.spans())[0].first
        paths = written_by_day(tmp_path / "old", older[:-1_000], made.line.instrument)
        environ = {**os.environ, "REDIS_URL": redis_url, "FLEET_LEASE_TTL_MS": "600", "FLEET_FOOTPRINT_DAYS": "10"}
        child = await started(paths, environ)
        await wait_until_async(lambda: child.returncode is not None or sealed_count(redis_url), timeout_s=30)
        assert child.returncode is None, "the import was over before it could be killed"
        child.kill()
        await child.wait()
        half = (await made.come_back(2))[0]
        assert half.first == older.ids[0] and half.last < older.ids[-1_001]
        await made.assert_true(older)

        said, _ = await (await started(paths, environ)).communicate()
        assert b"what its venue brings waits" in said
        # The first of the two has said so.
        market = await Registry(made.line.client).market(SYMBOL)
        assert market and (market.footprint_days or 0) > 10
        spans = await made.come_back(2)
        await made.assert_true(older)
        gaps = [gap for gap in await made.gaps() if gap.cause == NOT_IMPORTED]
        assert [span.first for span in spans] == [older.ids[0], first_live] and spans[0].last == older.ids[-1_001]
        expected = Gap(*hole_between(*spans), NOT_IMPORTED, gaps[-1].seen_ms, UNFILLABLE, ended_ms=gaps[-1].seen_ms)
        assert gaps == [replace(expected, missing=expected.last - expected.first + 1)]
        # Nobody fetches what was not imported.
        asked = made.line.exchange.stats.requests["historicalTrades"]
        await venue_line.pass_market_time(made.line, 2 * MINUTE_MS)
        assert made.line.exchange.stats.requests["historicalTrades"] - asked <= 2

        # What the gap lacks, what was there on both sides of it, and live trades.
        rest = made.truth(older, older.ids[-1_050], spans[1].last)
        path = written(tmp_path / "rest.csv", rest, made.line.instrument)
        kept: dict[str, Any] = {"lease_ttl_ms": 600, "footprint_days": 10}
        state = (await made.view()).state
        # Where its stream and what it fetched met, the worker may have had a trade twice.
        before = state.refused.get("duplicate", 0) if state else 0
        imported = await imports.imported(redis_url, [path], made.line.instrument, **kept)
        assert imported.trades == expected.last - expected.first + 1
        assert imported.refused["duplicate"] - before == len(rest) - imported.trades
        (span,) = await made.come_back(1)
        assert span.first == older.ids[0] and {gap.state for gap in await made.gaps()} == {REPAIRED}
        await made.assert_true(older)
        made.line.exchange.inject(local.Halt(NAME, ms=10_000_000))
        await wait_until_async(lambda: agree(feed, clients), timeout_s=30)
        for one in clients:
            await one.leave()


async def agree(feed: Served, clients: list[Folding]) -> bool:
    """Whether all who listen have what history shows."""
    for one in clients:
        answer = await feed.json(f"/v1/candles/{SYMBOL}", timeframe=one.timeframe, limit=5_000)
        if one.differences({bar["t"]: bar for bar in answer["bars"]}):
            return False
    return True


def hole_between(left: IdSpan, right: IdSpan) -> Hole:
    return Hole(left.last + 1, right.first - 1, left.to_ms, right.from_ms)


async def sealed_count(url: str) -> int:
    async with commit_client(url) as client:
        count: int = await client.zcard(SymbolReader(client, SYMBOL).keys.seals)
        return count


REAL = {"kind": "venue", "venue": "BINANCE", "name": NAME}
OURS = "1700000000000,1,1,buy,1"


@pytest.mark.parametrize(
    ("source", "ids", "text", "sentence"),
    [
        (REAL, "contiguous", "1,1.5,1,7,9,1700000000000,True,True", "dump of aggTrades.*goes by the ids of trades"),
        (REAL | {"venue": "KRAKEN"}, "contiguous", "1,1.5,1,1.5,1700000000000,True", "is fed by KRAKEN"),
        (REAL | {"simulated": True}, "contiguous", OURS, "has simulated trades.*never mixed"),
        ({"kind": "simulator"}, "contiguous", OURS, "has simulated trades.*never mixed"),
        ({"kind": "inbox"}, "unique", OURS, "fed by inbox without contiguous ids"),
        (REAL, "contiguous", OURS, "has not begun: let its worker run first"),
    ],
    ids=["aggregates", "another venue's", "simulated", "simulator", "ids", "not begun"],
)
async def test_what_can_not_be_joined_with_live_trades_is_refused(
    redis_url: str, tmp_path: Path, source: dict[str, Any], ids: Ids, text: str, sentence: str
) -> None:
    instrument = Instrument(SYMBOL, 2, 4, ids)
    async with commit_client(redis_url) as client:
        await Registry(client).add_symbol(Market(instrument, source))
    path = tmp_path / "a.csv"
    path.write_text(f"{imports.HEADER}\n{text}\n" if text == OURS else f"{text}\n", "utf-8")
    with pytest.raises(BadInput, match=sentence):
        await imports.imported(redis_url, [path], instrument)
    view = await imports.view_of(redis_url, instrument)
    assert view.state is None and not view.owner.token


async def test_candles_have_no_ids_and_are_refused_beside_live_trades(redis_url: str, tmp_path: Path) -> None:
    instrument = Instrument(SYMBOL, 2, 4, "contiguous")
    async with commit_client(redis_url) as client:
        await Registry(client).add_symbol(Market(instrument, REAL))
    path = tmp_path / "a.csv"
    path.write_text("open_ms,open,high,low,close,volume\n60000,1,1,1,1,1\n", "utf-8")
    work = imports.importer(redis_url, [], instrument)
    work.files = [CandleFile(path, instrument)]
    with pytest.raises(BadInput, match="has candles, without ids"):
        await work.run()


def test_the_venues_that_number_trades_as_binance_does_are_venues() -> None:
    assert BINANCES <= set(VENUES)


@asynccontextmanager
async def with_dropped_days(redis_url: str, tmp_path: Path, kept: Retention) -> AsyncIterator[ArchivedSymbol]:
    """A symbol of which the archive alone has the older days."""
    rng = random.Random(0)
    async with commit_client(redis_url) as client:
        made = ArchivedSymbol(client, tmp_path / "archive")
        made.writer.next_id, made.writer.retention = 5_000, kept
        await made.writer.register()
        await made.writer.claim()
        for _ in range(8):
            await made.write_day(rng)
            # Left out: an import brings them.
            made.writer.missing += [made.trade(rng, made.writer.now_ms) for _ in range(3)]
            await made.settle()
        assert FIRST_MS < (await made.floors())[1]
        # Written by a worker, it would have a position.
        await client.hset(made.store.keys.state, "position", "1-1")
        yield made


@pytest.mark.parametrize(("kept", "dying"), [(Retention(4, 2), 0), (Retention(4, 2), 4), (Retention(20, 2), 0)])
async def test_days_that_the_store_has_dropped_go_into_the_archive_and_into_every_answer_once(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: Retention, dying: int
) -> None:
    async with with_dropped_days(redis_url, tmp_path, kept) as dropped:
        deaths = dying_now_and_then(monkeypatch, dying)
        await import_older(redis_url, tmp_path / "old.csv", dropped)
        assert len(deaths) == dying


async def import_older(redis_url: str, path: Path, dropped: ArchivedSymbol) -> None:
    """What was left out, and days before the first one, of which some are older than the store would keep candles."""
    rng, writer = random.Random(1), dropped.writer
    older_ms = sorted(FIRST_MS - 1 - rng.randrange(20 * DAY_MS) for _ in range(200))
    first_id = 5_000 - len(older_ms)
    older = [Trade(at_ms, first_id + n, 10_000 + n, n % 50, n % 2) for n, at_ms in enumerate(older_ms)]
    written(path, Trades.of(older + writer.missing), writer.instrument)
    watermark_ms = writer.builder.watermark_ms
    while True:
        work = imports.importer(redis_url, [path], writer.instrument, archive_url="there")
        work.sources, work.older = writer.sources, dropped.archive
        try:
            await work.run()
            break
        except Died:
            pass
    assert (work.done.too_old, work.done.bare) == (0, 0)
    writer.applied += [Applied(trade, -1) for trade in older]
    writer.applied += [Applied(trade, watermark_ms) for trade in writer.missing]
    await writer.claim()
    await writer.commit(writer.trade())
    await dropped.check()
    await dropped.settle()
    await dropped.check()
    await dropped.check_archive()


def dying_now_and_then(monkeypatch: pytest.MonkeyPatch, count: int) -> list[int]:
    """Have so many confirmations of the archive never come: objects are written, and the import dies."""
    confirm, deaths, calls = MinuteArchive.archived, list[int](), 0

    async def archived(*args: Any, **more: Any) -> int:
        nonlocal calls
        calls += 1
        if len(deaths) < count and calls % 3 == 0:
            deaths.append(calls)
            raise Died
        return await confirm(*args, **more)

    monkeypatch.setattr(MinuteArchive, "archived", archived)
    return deaths
