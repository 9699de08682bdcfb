"""Thousands of holes at once, through a real store: everything is applied, and what has no room may come again."""

import asyncio
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from common.market.builder import coverage
from common.market.builder.builder import Builder
from common.market.builder.coverage import TOO_MANY_HOLES
from common.market.builder.gaps import Ledger
from common.market.builder.id_coverage import IdCoverage
from common.market.builder.spans import Hole
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.trade import SIDE_CODES, Trade, Trades
from common.store.client import commit_client
from common.store.keys import SymbolKeys
from common.store.reads import SymbolReader
from common.store.registry import Market, Registry
from infra.bench.base import process
from tests.golden.data import folder
from tests.kit.imports import imported, stored
from tests.kit.replays import replayer
from tests.kit.shell import LATE_MS, Shell, unordered
from tests.kit.waiting import wait_until_async
from workers.recordings import TradeFile
from workers.replay import KIND
from workers.sources.replay import Replay
from workers.symbol.term import Progress

pytestmark = pytest.mark.anyio

SYMBOL = Instrument("TEST:HOLES", 2, 3, "contiguous")
START_MS = 1_700_000_000_000
# Of the recorded day's 53,325 trades, which take some 15 s of a core.
SHUFFLED_TRADES = int(os.environ.get("SHUFFLED_TRADES", "24000"))
_TYPES = {"timestamp": pl.Int64, "price": pl.String, "quantity": pl.String, "tradeId": pl.Int64}
LTC = ("LTC:REPLAY", "LTC:IMPORT", "LTC:INBOX")

Row = tuple[int, str, str, str, int]


def rows(ids: Sequence[int]) -> list[Row]:
    return [(START_MS + 100 * number, "100.25", "0.5", "buy", number) for number in ids]


def written(path: Path, lines: Sequence[Row]) -> Path:
    path.write_text("\n".join(["ts_ms,price,size,side,id", *(",".join(map(str, line)) for line in lines)]) + "\n")
    return path


async def replayed(url: str, path: Path, instrument: Instrument = SYMBOL) -> Progress:
    market = Market(instrument, {"kind": KIND, "simulated": False})
    work = replayer(url, market, Replay([TradeFile(path, instrument)], 4), batch_trades=1_000)
    progress = await work.run()
    assert work.ended
    return progress


async def read(url: str, symbol: str = SYMBOL.symbol) -> tuple[IdCoverage, Ledger]:
    async with commit_client(url) as client:
        reader = SymbolReader(client, symbol)
        state = (await reader.view()).state
        assert state
        found = state.coverage("contiguous")
        assert isinstance(found, IdCoverage)
        return found, await reader.gaps()


async def test_of_odd_ids_and_then_even_ones_each_trade_is_applied(redis_url: str, tmp_path: Path) -> None:
    """4,999 holes at once; one release kept 4,096, and called the trades of the others duplicates."""
    odd, even = range(1, 10_001, 2), range(2, 10_001, 2)
    assert (await replayed(redis_url, written(tmp_path / "odd.csv", rows(odd)))).applied == 5_000
    found, ledger = await read(redis_url)
    assert [hole[:2] for hole in found.holes()] == [(number, number) for number in range(2, 10_000, 2)]
    # Next to each other, and of one commit: there were five, of 1,000 trades.
    assert [gap.missing for gap in ledger.gaps.values()] == [999, 1_000, 1_000, 1_000, 1_000]
    progress = await replayed(redis_url, written(tmp_path / "even.csv", rows(even)))
    assert (progress.applied, progress.refused) == (5_000, {})
    found, ledger = await read(redis_url)
    assert [span[:2] for span in found.spans()] == [(1, 10_000)]
    assert {(gap.state, gap.missing) for gap in ledger.gaps.values()} == {("repaired", 0)}
    whole = replace(SYMBOL, symbol="TEST:WHOLE")
    await replayed(redis_url, written(tmp_path / "whole.csv", rows(range(1, 10_001))), whole)
    assert without_order((await stored(redis_url, SYMBOL)).candles) == without_order(
        (await stored(redis_url, whole)).candles
    )


async def test_beyond_the_bound_a_trade_is_refused_its_id_not_claimed_and_it_is_applied_when_it_comes_again(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "MAX_HOLES", 300)
    odd, path = range(1, 2_001, 2), tmp_path / "a.csv"
    progress = await replayed(redis_url, written(path, rows(odd)))
    assert (progress.applied, progress.refused) == (301, {TOO_MANY_HOLES: 699})
    found, _ = await read(redis_url)
    assert [span[:2] for span in found.spans()] == [(number, number) for number in range(1, 602, 2)]
    progress = await replayed(redis_url, written(path, rows(range(1, 2_001))))
    assert (progress.applied, progress.refused) == (1_699, {TOO_MANY_HOLES: 699, "duplicate": 301})
    found, _ = await read(redis_url)
    assert [span[:2] for span in found.spans()] == [(1, 2_000)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """All of a symbol but what the order of its trades decides, and what says where it came from."""

    minutes: dict[int, tuple[bytes, bytes]]
    coverage: list[list[int]]
    # The holes that a gap is of, and how many ids are missing.
    holes: list[Hole]
    missing: int


def without_order(members: dict[int, bytes]) -> dict[int, bytes]:
    candles = {open_ms: codec.unpack_candle(member) for open_ms, member in members.items()}
    return {open_ms: codec.pack_candle(replace(unordered(each), sources=1)) for open_ms, each in candles.items()}


async def outcome(url: str, symbol: str) -> Outcome:
    found, (spans, ledger) = await stored(url, replace(SYMBOL, symbol=symbol)), await read(url, symbol)
    candles, footprints = dict(found.candles), dict(found.footprints)
    if found.open[0]:
        open_ms = codec.candle_open(found.open[0])
        candles[open_ms], footprints[open_ms] = found.open
    minutes = {open_ms: (candle, footprints[open_ms]) for open_ms, candle in without_order(candles).items()}
    holes = [hole for hole in spans.holes() if ledger.gap_of(hole)]
    missing = sum(gap.missing for gap in ledger.gaps.values() if not gap.over)
    return Outcome(dict(sorted(minutes.items())), spans.dump(), holes, missing)


def expected_of(lines: Sequence[Row]) -> Outcome:
    """A single pass in order of the ids."""
    trades = (
        Trade(ms, number, SYMBOL.price_ticks(price), SYMBOL.size_lots(size), SIDE_CODES[side])
        for ms, price, size, side, number in sorted(lines, key=lambda line: line[4])
    )
    shell = Shell(Builder.new(SYMBOL))
    shell.step(Trades.of(trades), LATE_MS)
    minutes = {open_ms: pair for open_ms, pair in shell.all_minutes().items()}
    candles = without_order({open_ms: candle for open_ms, (candle, _) in minutes.items()})
    spans = shell.builder.coverage
    holes = spans.holes()
    found = {open_ms: (candles[open_ms], minutes[open_ms][1]) for open_ms in sorted(minutes)}
    return Outcome(found, spans.dump(), holes, sum(hole.last - hole.first + 1 for hole in holes))


def shuffled_day() -> list[Row]:
    """Trades of LTCUSDT, with holes of the recording's own, of which there are 16 in all."""
    paths = sorted((folder() / "binance_ltcusdt_gaps").glob("*.csv"))
    text = pl.concat([pl.read_csv(path, schema_overrides=_TYPES) for path in paths])
    lines = text.rows()[:SHUFFLED_TRADES]
    random.Random(1).shuffle(lines)
    return lines


async def pushed(url: str, symbol: str, lines: Sequence[Row]) -> None:
    """Into an inbox, which a worker reads in a process of its own."""
    keys = SymbolKeys(symbol)
    async with commit_client(url) as client:
        await Registry(client).add_symbol(Market(replace(SYMBOL, symbol=symbol), {"kind": "inbox"}))
        for some in chunks(lines):
            pipe = client.pipeline(transaction=False)
            for ms, price, size, side, number in some:
                pipe.xadd(keys.inbox, {"ts_ms": ms, "price": price, "size": size, "side": side, "id": number})
            await pipe.execute()

        async def applied() -> bool:
            state: Any = await client.hget(keys.state, "applied")
            return int(state or 0) == len(lines)

        async with process(url, "-m", "workers"):
            await wait_until_async(applied, timeout_s=60)


def chunks(lines: Sequence[Row]) -> Iterator[Sequence[Row]]:
    return (lines[at : at + 5_000] for at in range(0, len(lines), 5_000))


@pytest.mark.process
async def test_a_shuffled_day_is_the_same_by_replay_import_and_inbox(redis_url: str, tmp_path: Path) -> None:
    """A fourth as many holes at once as there are trades."""
    lines = shuffled_day()
    path, expected = written(tmp_path / "ltc.csv", lines), expected_of(lines)
    assert len(expected.holes) > 5 and len({line[4] for line in lines}) == len(lines)
    by_replay, by_import, by_inbox = LTC
    market = Market(replace(SYMBOL, symbol=by_replay), {"kind": KIND, "simulated": False})
    source = Replay([TradeFile(path, market.instrument)], 4)
    progress = await replayer(redis_url, market, source, batch_trades=10_000).run()
    assert (progress.applied, progress.refused) == (len(lines), {})
    done = await imported(redis_url, [path], replace(SYMBOL, symbol=by_import))
    assert (done.trades, done.refused) == (len(lines), {})
    await asyncio.wait_for(pushed(redis_url, by_inbox, lines), 90)
    for symbol in LTC:
        found = await outcome(redis_url, symbol)
        assert found == expected, symbol
