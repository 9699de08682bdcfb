"""A replay as a source, and as the command's engine: paced, resumed, and committed to the last trade."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import BadInput
from common.market.builder.builder import Builder, pack_minute
from common.market.candle import IMPORT
from common.market.instrument import Instrument
from common.market.trade import Trade, Trades
from common.series import FOOTPRINTS
from common.store.client import commit_client
from common.store.parts import Entries, Minutes, Range
from common.store.reads import SymbolReader, View
from common.store.registry import Market, Registry
from tests.kit.clocks import FakeClock
from tests.kit.fakes import NOTHING_APPLIED
from tests.kit.replays import replayer
from workers.recordings import TradeFile, text
from workers.replay import KIND
from workers.sources.replay import Replay

pytestmark = pytest.mark.anyio

INSTRUMENT = Instrument("TEST:REPLAY", 2, 4, "contiguous")
MARKET = Market(INSTRUMENT, {"kind": KIND})
EVERYTHING = Range(0, 1 << 50)
BOTH = Minutes(EVERYTHING, replace(EVERYTHING, series=FOOTPRINTS))


def recorded(path: Path, count: int = 3_000, *, shuffled: bool = False) -> Path:
    """A CSV of `count` trades over half an hour; shuffled: late by up to a few minutes."""
    rng = random.Random(7)
    rows = [
        f"{1_700_000_000_000 + 600 * i},{100 + rng.randrange(100) / 100},{rng.randrange(1, 99)},buy,{i}"
        for i in range(count)
    ]
    if shuffled:
        rows = [row for _, row in sorted((i + rng.uniform(0, 300), row) for i, row in enumerate(rows))]
    path.write_text("ts_ms,price,size,side,id\n" + "\n".join(rows) + "\n", "utf-8")
    return path


async def stored(url: str) -> View:
    async with commit_client(url) as client:
        return await SymbolReader(client, INSTRUMENT.symbol).view(BOTH, Entries(0))


async def read_all(source: Replay, limit: int) -> list[Trade]:
    rows: list[Trade] = []
    while not (batch := await source.read(limit, 10)).ended:
        rows += batch.trades.rows()
    return rows


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "CHUNK_LINES", 70)


@pytest.mark.usefixtures("small_chunks")
async def test_several_files_are_one_sequence_and_any_position_goes_on_exactly(tmp_path: Path) -> None:
    files = [TradeFile(recorded(tmp_path / name, 200), INSTRUMENT) for name in ("a.csv", "b.csv")]
    source = Replay(files, IMPORT)
    await source.open("", NOTHING_APPLIED)
    whole = await read_all(source, 33)
    assert len(whole) == 400
    await source.open("", NOTHING_APPLIED)
    taken: list[Trade] = []
    while not (batch := await source.read(33, 10)).ended:
        taken += batch.trades.rows()
        again = Replay(files, IMPORT)
        await again.open(batch.position, NOTHING_APPLIED)
        assert taken + await read_all(again, 50) == whole
        await again.close()


async def test_another_recording_begins_at_its_beginning(tmp_path: Path) -> None:
    one, other = (Replay([TradeFile(recorded(tmp_path / n, c), INSTRUMENT)], IMPORT) for n, c in (("a", 50), ("b", 60)))
    await one.open("", NOTHING_APPLIED)
    end = (await one.read(1_000, 10)).position
    await one.close()
    await other.open(end, NOTHING_APPLIED)
    assert len(await read_all(other, 1_000)) == 60


async def test_a_position_that_is_no_replays_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="position '12-0' is not a replay's"):
        await Replay([TradeFile(recorded(tmp_path / "a", 5), INSTRUMENT)], IMPORT).open("12-0", NOTHING_APPLIED)


async def test_at_ten_times_the_pace_a_trade_comes_when_its_time_has_come(tmp_path: Path) -> None:
    clock = FakeClock()
    source = Replay([TradeFile(recorded(tmp_path / "a", 100), INSTRUMENT)], IMPORT, 10.0, clock)
    await source.open("", NOTHING_APPLIED)
    assert len((await source.read(1_000, 0)).trades) == 1
    assert not (await source.read(1_000, 0)).trades
    clock.advance(600)  # 6 s of the recording: ten trades
    batch = await source.read(1_000, 0)
    assert len(batch.trades) == 10
    assert batch.complete_ms == 1_700_000_000_000 + 6_000
    await source.close()


@pytest.mark.parametrize("shuffled", [False, True])
async def test_a_replay_stores_what_the_builder_makes_of_the_file(
    redis_url: str, tmp_path: Path, shuffled: bool
) -> None:
    path = recorded(tmp_path / "a", shuffled=shuffled)
    work = replayer(redis_url, MARKET, Replay([TradeFile(path, INSTRUMENT)], IMPORT))
    progress = await work.run()
    assert work.ended and progress.applied == 3_000
    trades = Trades.of(trade for chunk in TradeFile(path, INSTRUMENT).chunks() for trade in chunk.trades.rows())
    builder = Builder.new(INSTRUMENT, IMPORT)
    changes = builder.step(trades, max(trades.ts_ms), {})
    found = await stored(redis_url)
    expected = [pack_minute(minute) for _, minute in sorted(changes.closed.items())]
    assert list(zip(*found.minutes, strict=True)) == expected
    assert found.state is not None
    assert found.state.coverage("contiguous") == builder.coverage
    assert (found.state.candle, found.state.open_of(FOOTPRINTS)) == pack_minute(builder.open) if builder.open else False
    assert found.health["mode"] == "CLOSED" and not found.owner.token


async def test_a_stopped_replay_goes_on_and_a_finished_one_has_nothing_to_do(redis_url: str, tmp_path: Path) -> None:
    path = recorded(tmp_path / "a")
    first = replayer(redis_url, MARKET, Replay([TradeFile(path, INSTRUMENT)], IMPORT))
    first.on_progress = lambda progress, batch: first.stop() if progress.applied >= 1_000 else None
    assert (await first.run()).applied == 1_000 and not first.ended
    second = replayer(redis_url, MARKET, Replay([TradeFile(path, INSTRUMENT)], IMPORT))
    assert (await second.run()).applied == 2_000 and second.ended
    third = replayer(redis_url, MARKET, Replay([TradeFile(path, INSTRUMENT)], IMPORT))
    assert (await third.run()).applied == 0 and third.ended
    found = await stored(redis_url)
    assert found.state is not None and not found.state.refused


async def test_a_bad_line_ends_the_replay_with_its_sentence_and_what_came_before_is_kept(
    redis_url: str, tmp_path: Path
) -> None:
    path = recorded(tmp_path / "a", 50)
    with path.open("a") as file:
        file.write("1700000090000,dear,1,buy,50\n")
    with pytest.raises(BadInput, match=r"a line 52: price: 'dear' is not a decimal number"):
        await replayer(redis_url, MARKET, Replay([TradeFile(path, INSTRUMENT)], IMPORT)).run()
    skipping = Replay([TradeFile(path, INSTRUMENT, skip_bad=True)], IMPORT)
    progress = await replayer(redis_url, MARKET, skipping).run()
    assert progress.applied == 50 and progress.refused == {"bad_line": 1}


async def test_two_replays_of_one_symbol_share_the_work_without_a_trade_twice(redis_url: str, tmp_path: Path) -> None:
    path = recorded(tmp_path / "a")
    both = [
        replayer(redis_url, MARKET, Replay([TradeFile(path, INSTRUMENT)], IMPORT), lease_ttl_ms=600) for _ in range(2)
    ]
    done = await asyncio.gather(*(one.run() for one in both))
    assert sum(progress.applied for progress in done) == 3_000
    assert all(one.ended for one in both)


async def test_a_symbol_of_another_source_or_other_units_is_refused(redis_url: str, tmp_path: Path) -> None:
    source = Replay([TradeFile(recorded(tmp_path / "a", 5), INSTRUMENT)], IMPORT)
    async with commit_client(redis_url) as client:
        await Registry(client).add_symbol(Market(INSTRUMENT, {"kind": "inbox"}))
        with pytest.raises(BadInput, match="is fed by inbox: a replay needs a symbol of its own"):
            await replayer(redis_url, MARKET, source).run()
        await Registry(client).remove_symbol(INSTRUMENT.symbol)
        await Registry(client).add_symbol(Market(replace(INSTRUMENT, price_decimals=3), {"kind": KIND}))
        way_out = (
            "exists with price_decimals 3, not 2: give --price-decimals 3, or `fleet symbols change TEST:REPLAY "
            "--price-decimals 2` changes it, or `fleet symbols remove TEST:REPLAY --purge` deletes it with its data"
        )
        with pytest.raises(BadInput, match=way_out):
            await replayer(redis_url, MARKET, source).run()
