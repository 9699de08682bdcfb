"""Archived trades: with them, every answer is that of a feed whose stream never lost any."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import TRADE_ROWS
from common.market.instrument import Instrument
from common.market.manifest import ManifestEntry
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.store.archived import ArchivedTrades
from common.store.keys import SymbolKeys
from feed.reading import trade_archive
from feed.reading.archived import Periods
from tests.kit.archive.trades import archive_trades
from tests.kit.bars_oracle import Bars
from tests.kit.folding import Folding
from tests.kit.served import Served, served
from tests.kit.trades_oracle import newest
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, START_MS, Writer, random_step
from tests.scale import scaled

Json = dict[str, Any]
S, ALL = INSTRUMENT.symbol, "TEST:ALL"
CANDLES, FOOTPRINT, TRADES = f"/v1/candles/{S}", f"/v1/footprint/{S}", f"/v1/trades/{S}"
TIMEFRAMES = ("1s", "250ms", "7s", "90s", "50000s")
STOCK = replace(INSTRUMENT, calendar="XNYS", zone="America/New_York")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.open(str(tmp_path / "archive"))


@pytest.fixture
async def feed(redis_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    """A feed that has the archive."""
    async with served(redis_url, archive_url=str(tmp_path / "archive")) as found:
        yield found


class Pair:
    """One symbol whose stream is cut behind the archive, and one that keeps all of the same trades."""

    def __init__(
        self,
        client: Redis,
        archive: Archive,
        rng: random.Random,
        kept: Sequence[int] = (1, 5, 50),
        instrument: Instrument = INSTRUMENT,
    ) -> None:
        self.client, self.archive, self.rng, self.kept = client, archive, rng, kept
        self.cut, self.whole = Writer(client, instrument), Writer(client, replace(instrument, symbol=ALL))

    async def begin(self) -> None:
        for writer in (self.cut, self.whole):
            await writer.register()
            await writer.claim()

    async def step(self) -> None:
        """The same random commit to both; now and then the archive catches up before it, and the stream is cut."""
        self.cut.trades_kept = 100_000
        if self.rng.random() < 0.4:
            await archive_trades(self.client, self.archive, self.cut.instrument)
            self.cut.trades_kept = self.rng.choice(self.kept)
        takeover, seed = self.rng.random() < 0.1, self.rng.random()
        for writer in (self.cut, self.whole):
            if takeover:
                await writer.claim()
            await random_step(writer, random.Random(seed))

    def window(self) -> Json:
        times = sorted(self.rng.randint(START_MS - 1, self.cut.now_ms + 1) for _ in range(2))
        chosen = self.rng.choice(((), ("start",), ("end",), ("start", "end")))
        bounds = {"start": times[0], "end": times[1]}
        return {name: bounds[name] for name in chosen} | {"limit": self.rng.choice((1, 4, 30, 10_000))}


async def days_apart(writer: Writer, days: int, count: int = 10) -> None:
    """So many trades on each of so many days, in order."""
    first_ms = day_of(START_MS) + DAY_MS
    for day_ms in range(first_ms, first_ms + days * DAY_MS, DAY_MS):
        await writer.commit(*(writer.trade(day_ms + at * 1_000, 10_000 + at) for at in range(count)))


async def cut_off(client: Redis, archive: Archive, writer: Writer) -> None:
    """All trades so far are in the archive, and but for the last commit nowhere else."""
    await archive_trades(client, archive, INSTRUMENT)
    writer.trades_kept = 1
    await writer.commit(writer.trade(writer.now_ms + 60_000))
    writer.trades_kept = 100_000


def without_orderisions(answer: Json) -> Json:
    """What must be equal: not how often it was written, by whom, or how many of the trades came late."""
    bars = [{name: value for name, value in bar.items() if name != "rev"} for bar in answer.get("bars", [])]
    return answer | {"bars": bars, "symbol": "", "cursor": answer["cursor"].split("-")[0], "health": None}


@pytest.mark.parametrize(("seed", "instrument"), [*((seed, INSTRUMENT) for seed in range(scaled(4))), (4, STOCK)])
async def test_answers_are_those_of_a_stream_that_keeps_everything(
    client: Redis,
    feed: Served,
    archive: Archive,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    instrument: Instrument,
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(trade_archive, "AT_ONCE", rng.choice((8, 65_536)))
    # Of two threads that look at a calendar for the first time, one would turn off the other's guard of warnings.
    assert (instrument.sessions is None) == (instrument is INSTRUMENT)
    pair = Pair(client, archive, rng, instrument=instrument)
    await pair.begin()
    for _ in range(12):
        await pair.step()
        window = pair.window()
        timeframe, fill = rng.choice(TIMEFRAMES), rng.choice(("none", "flat"))
        for path, asked in (
            ("trades", window | {"take": rng.choice(("newest", "oldest"))}),
            ("candles", window | {"timeframe": timeframe, "fill": fill}),
            ("footprint", window | {"timeframe": timeframe, "row": rng.choice(("0.01", "0.5"))}),
            ("candles", {"timeframe": timeframe}),
        ):
            found, wanted = await asyncio.gather(*(feed.json(f"/v1/{path}/{symbol}", **asked) for symbol in (S, ALL)))
            assert without_orderisions(found) == without_orderisions(wanted), (path, asked)
            # A late trade that the stream still has is told of.
            pairs = zip(found.get("bars", []), wanted.get("bars", []), strict=True)
            assert path == "footprint" or all(bar["rev"] <= other["rev"] for bar, other in pairs)
    stream = await client.xlen(SymbolKeys(S).trades)
    assert stream < pair.cut.seq


@pytest.mark.parametrize("seed", range(scaled(3)))
async def test_streams_follow_into_the_archive(client: Redis, feed: Served, archive: Archive, seed: int) -> None:
    """Late trades of archived bars: who listens, and who comes back, has the bars that history shows."""
    rng = random.Random(seed)
    # A reader must find the commit it reads of: with so many others still behind it, not the last one.
    pair = Pair(client, archive, rng, kept=(60,))
    await pair.begin()
    await pair.step()
    clients = [Folding(feed, S, timeframe, 5_000) for timeframe in ("1s", "90s", "50000s")]
    for one in clients:
        one.join()
    for _ in range(25):
        await pair.step()
        one = rng.choice(clients)
        if rng.random() < 0.3 and one.cursor:
            await one.leave()
            await pair.step()
            one.join()
        if rng.random() < 0.4:
            for one in clients:
                await agree(feed, one)
    for one in clients:
        await agree(feed, one)
        await one.leave()


async def agree(feed: Served, one: Folding) -> None:
    answer = await feed.json(CANDLES, timeframe=one.timeframe, limit=5_000)
    wanted = {bar["t"]: bar | {"rev": 0} for bar in answer["bars"]}

    def differing() -> Bars:
        held = {at: bar | {"rev": 0} for at, bar in one.bars.items()}
        return {at: held.get(at, {}) for at in held.keys() | wanted.keys() if held.get(at) != wanted.get(at)}

    with suppress(AssertionError):
        await wait_until_async(lambda: not differing())
    wrong = differing()
    assert not wrong, (one.timeframe, one.heard[-20:], wrong, {at: wanted.get(at) for at in wrong})


async def test_the_feed_and_duckdb_read_the_same_trades(
    client: Redis, feed: Served, archive: Archive, writer: Writer, tmp_path: Path
) -> None:
    rng = random.Random(7)
    for _ in range(60):
        await random_step(writer, rng)
    await cut_off(client, archive, writer)
    files = f"{tmp_path}/archive/{TRADE_ROWS.folder(S)}/*.parquet"
    for _ in range(40):
        start, end = sorted(rng.randint(START_MS, writer.now_ms - 60_000) for _ in range(2))
        asked = f"SELECT epoch_ms(trade_time), trade_id FROM '{files}' WHERE epoch_ms(trade_time) >= {start} "
        rows = duckdb.execute(asked + f"AND epoch_ms(trade_time) < {end} ORDER BY ALL").fetchall()
        answer = await feed.json(TRADES, start=start, end=end, limit=10_000)
        assert [(one["t"], one["id"]) for one in answer["trades"]] == rows
        assert answer["trades"] == newest([one.trade for one in writer.applied], start, end, 10_000)


async def test_walking_through_more_than_a_request_may_read_sees_everything_once(
    client: Redis, feed: Served, archive: Archive, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await days_apart(writer, 7)
    await cut_off(client, archive, writer)
    whole = (await feed.json(CANDLES, timeframe="1s"))["bars"]
    monkeypatch.setattr(trade_archive, "MAX_DAYS", 2)
    for path, name, wanted, asked in (
        (CANDLES, "bars", whole, {"timeframe": "1s", "end": writer.now_ms + 1}),
        (CANDLES, "bars", whole, {"timeframe": "1s", "start": START_MS}),
        (FOOTPRINT, "bars", whole, {"timeframe": "1s", "start": START_MS}),
        (TRADES, "trades", whole, {"end": writer.now_ms + 1}),
        (TRADES, "trades", whole, {"start": START_MS, "take": "oldest"}),
    ):
        found: list[int] = []
        requests = 0
        while True:
            answer = await feed.json(path, **asked)
            times = [one["t"] for one in answer[name]]
            found = found + times if "start" in asked else times + found
            requests += 1
            if "next" not in answer:
                break
            asked |= answer["next"]
        assert found == [bar["t"] for bar in wanted], asked
        assert requests == 4
    # A table has no place for it.
    refused = await feed.get(CANDLES, timeframe="1s", format="csv")
    assert refused.status_code == 400 and "expected start=" in refused.text
    assert (await feed.get(CANDLES, timeframe="1s", format="csv", limit=11)).status_code == 200


async def test_no_bar_is_filled_in_where_a_request_did_not_read(
    client: Redis, feed: Served, archive: Archive, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page, however long the pages, the bars are those of one request that may read everything."""
    await days_apart(writer, 7)
    await cut_off(client, archive, writer)
    wanted = (await feed.json(CANDLES, timeframe="90s", fill="flat", limit=6_000))["bars"]
    monkeypatch.setattr(trade_archive, "MAX_DAYS", 2)
    bounds = {"start": wanted[0]["t"], "end": wanted[-1]["t"] + 1}
    for name, limit in (("start", 10_000), ("end", 10_000), ("start", 2_500), ("end", 2_500)):
        asked, found = {"timeframe": "90s", "fill": "flat", "limit": limit, name: bounds[name]}, list[Json]()
        while len(found) < len(wanted):
            bars = (answer := await feed.json(CANDLES, **asked))["bars"]
            found = found + bars if name == "start" else bars + found
            after = {"start": bars[-1]["t"] + 1, "end": bars[0]["t"]}
            asked |= answer.get("next", {name: after[name]})
        assert (found if name == "start" else found[-len(wanted) :]) == wanted, (name, limit)


async def test_a_page_reads_one_day_once(
    client: Redis, feed: Served, archive: Archive, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await days_apart(writer, 5)
    await cut_off(client, archive, writer)
    read = Archive.packed
    days: list[int] = []

    def counted(self: Archive, series: Any, instrument: Instrument, day_ms: int, *expected: ManifestEntry) -> Any:
        days.append(day_ms)
        return read(self, series, instrument, day_ms, *expected)

    monkeypatch.setattr(Archive, "packed", counted)
    third_ms = day_of(START_MS) + 3 * DAY_MS
    for end_ms in (third_ms + 9_000, third_ms + 6_000, third_ms + 3_000):
        answer = await feed.json(TRADES, end=end_ms, limit=3)
        assert [one["t"] for one in answer["trades"]] == [end_ms - ago for ago in (3_000, 2_000, 1_000)]
    assert [bar["n"] for bar in (await feed.json(CANDLES, timeframe="2s", start=third_ms, limit=2))["bars"]] == [2, 2]
    assert days == [third_ms]


@pytest.mark.parametrize("confirm", [False, True])
@pytest.mark.parametrize(("path", "limit"), [(TRADES, 500), (CANDLES, 500), (FOOTPRINT, 500), (TRADES, 3)])
async def test_what_is_applied_and_archived_under_the_reading_does_not_show(
    client: Redis,
    feed: Served,
    archive: Archive,
    writer: Writer,
    monkeypatch: pytest.MonkeyPatch,
    confirm: bool,
    path: str,
    limit: int,
) -> None:
    await days_apart(writer, 3)
    await cut_off(client, archive, writer)
    asked: Json = {"limit": limit, "end": writer.now_ms - DAY_MS} | ({} if path == TRADES else {"timeframe": "1s"})
    before = await feed.json(path, **asked)

    async def late() -> None:
        await writer.commit(writer.trade(asked["end"] - 1))
        await archive_trades(client, archive, INSTRUMENT, confirm=confirm)

    after_view(monkeypatch, late)
    feed.services.queries.packed = trade_archive.PackedDays()
    assert await feed.json(path, **asked) | {"health": None} == before | {"health": None}
    after = await feed.json(path, **asked)
    assert without_orderisions(after) != without_orderisions(before)


def after_view(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[None]]) -> None:
    """Let something happen once, when the view is taken and nothing of the archive has been read."""
    periods, waiting = trade_archive.TradeHistory._periods, [happens]

    async def hooked(self: trade_archive.TradeHistory, known: ArchivedTrades) -> Periods:
        while waiting:
            await waiting.pop()()
        return await periods(self, known)

    monkeypatch.setattr(trade_archive.TradeHistory, "_periods", hooked)


async def test_a_store_that_goes_back_in_time_under_the_reading_is_read_again(
    client: Redis, feed: Served, archive: Archive, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await days_apart(writer, 2)
    await cut_off(client, archive, writer)
    saved = await writer.save()
    await writer.commit(writer.trade())

    async def rewind() -> None:
        await writer.rewind(saved)
        await writer.commit(writer.trade(writer.now_ms + 5))
        await writer.commit(writer.trade(writer.now_ms + 5))

    after_view(monkeypatch, rewind)
    answer = await feed.json(TRADES)
    assert answer["cursor"] == writer.cursor and answer["complete"]
    assert answer["trades"] == newest([one.trade for one in writer.applied])


async def test_what_the_archive_has_not_got_is_not_complete(
    client: Redis, feed: Served, archive: Archive, writer: Writer
) -> None:
    await days_apart(writer, 4)
    await cut_off(client, archive, writer)
    first_ms = day_of(START_MS) + DAY_MS
    key = SymbolKeys(S).archive

    async def complete(start_ms: int, end_ms: int) -> bool:
        trades = await feed.json(TRADES, start=start_ms, end=end_ms)
        bars = await feed.json(CANDLES, timeframe="1s", start=start_ms, end=end_ms)
        assert [one["t"] for one in trades["trades"]] == [bar["t"] for bar in bars["bars"]]
        assert trades["complete"] == (not any("partial" in bar for bar in bars["bars"]))
        return bool(trades["complete"])

    assert await complete(first_ms, writer.now_ms)
    await client.hset(key, "trades_lost", f"{first_ms + DAY_MS}:{first_ms + DAY_MS + 2_500}")
    assert not await complete(first_ms, writer.now_ms)
    assert await complete(first_ms, first_ms + DAY_MS)
    assert await complete(first_ms + DAY_MS + 3_000, writer.now_ms)
    await client.hset(key, "trades_from_ms", first_ms + 2 * DAY_MS)
    assert not await complete(first_ms + 2 * DAY_MS, first_ms + 3 * DAY_MS)
    assert await complete(first_ms + 2 * DAY_MS + 1_000, writer.now_ms)


async def test_an_archive_that_is_away_is_missed_only_where_it_is_needed(
    client: Redis, feed: Served, archive: Archive, writer: Writer, tmp_path: Path
) -> None:
    await days_apart(writer, 2)
    await cut_off(client, archive, writer)
    for at in range(5):
        await writer.commit(writer.trade(writer.now_ms + 1_000 * at))
    folder = tmp_path / "archive" / "trades"
    folder.rename(tmp_path / "away")
    one = Folding(feed, S, "1s", 3)
    one.join()
    for path, asked in ((TRADES, {}), (CANDLES, {"timeframe": "1s"}), (FOOTPRINT, {"timeframe": "1s"})):
        assert len((await feed.json(path, limit=3, **asked))["cursor"])
        refused = await feed.get(path, limit=20, **asked)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "archive_unavailable")
    current = await feed.json(f"{CANDLES}/current", timeframe="86399s")
    assert current["bar"]["partial"]
    # The subscription goes on, also past a trade of a bar that only the archive has.
    await writer.commit(writer.trade(START_MS + DAY_MS))
    await writer.commit(writer.trade(writer.now_ms + 1_000))
    await wait_until_async(lambda: one.cursor == writer.cursor)
    (tmp_path / "away").rename(folder)
    assert (await feed.json(TRADES, limit=500))["complete"]
    whole = await feed.json(f"{CANDLES}/current", timeframe="86399s")
    assert "partial" not in whole["bar"] and whole["bar"]["n"] > current["bar"]["n"]
    await one.leave()
