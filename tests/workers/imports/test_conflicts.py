"""Imported trades under the ids of others: compared wherever those are at hand, and never called duplicates there."""

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from common.archive.archive import Archive
from common.market.builder.coverage import DUPLICATE
from common.market.builder.recent import CONFLICT
from common.market.timeframes.timeframe import DAY_MS
from common.store.client import commit_client
from common.store.keys import SymbolKeys
from tests.kit.imports import (
    FIRST_MS,
    INSTRUMENT,
    archived_trades,
    importer,
    replayed,
    rows,
    stored,
    trades_of,
    view_of,
    written,
)
from workers.imports import again, files
from workers.imports.work import Done
from workers.symbol.conflicts import MAX_CONFLICTS_TOLD

pytestmark = pytest.mark.anyio

UNIQUE = replace(INSTRUMENT, ids="unique")
LINES = rows(3_000)


def other(line: str, *, price: str = "77.77", later_ms: int = 0) -> str:
    """Another trade with the line's id."""
    ts_ms, _, rest = line.split(",", 2)
    return f"{int(ts_ms) + later_ms},{price},{rest}"


async def imported(url: str, *paths: Path, archive: Path | None = None, instrument: Any = INSTRUMENT) -> Done:
    work = importer(url, paths, instrument)
    work.archive = Archive.open(str(archive)) if archive else None
    done = await work.run()
    assert work.ended
    return done


async def told(url: str) -> list[dict[str, Any]]:
    """The events, which have each conflict once."""
    async with commit_client(url) as client:
        entries: Any = await client.xrange(SymbolKeys(INSTRUMENT.symbol).events)
    events = [json.loads(fields[b"event"]) for _, fields in entries]
    return [event for event in events if event["type"] == CONFLICT]


def ids_of(done: Done) -> list[int]:
    return [conflict.refused.id for conflict in done.conflicts]


@pytest.mark.parametrize("batch_bytes", [3_000, 1 << 20])
@pytest.mark.parametrize("instrument", [INSTRUMENT, UNIQUE])
async def test_within_its_own_files_another_trade_under_an_id_is_a_conflict(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_bytes: int, instrument: Any
) -> None:
    monkeypatch.setattr(files, "BATCH_BYTES", batch_bytes)
    clean = written(tmp_path / "clean.csv", LINES)
    one = [*LINES[:1_000], other(LINES[990]), LINES[991], *LINES[1_000:1_500], other(LINES[1_400])]
    two = [LINES[1_499], other(LINES[1_490], later_ms=2_000), *LINES[1_500:], other(LINES[-1]), LINES[-2]]
    paths = [written(tmp_path / "one.csv", one), written(tmp_path / "two.csv", two)]
    done = await imported(redis_url, *paths, instrument=instrument)
    assert (done.trades, done.refused) == (3_000, {CONFLICT: 4, DUPLICATE: 3})
    assert done.conflict_count == 4 and sorted(ids_of(done)) == [990, 1_400, 1_490, 2_999]
    assert [event["id"] for event in await told(redis_url)] == ids_of(done)
    found = await stored(redis_url, instrument)
    async with commit_client(redis_url) as client:
        await client.flushall()
    await imported(redis_url, clean, instrument=instrument)
    expected = await stored(redis_url, instrument)
    assert replace(found, refused={}) == expected


async def test_both_trades_are_told(redis_url: str, tmp_path: Path) -> None:
    lines = [f"{FIRST_MS},100.25,1.5,buy,1", f"{FIRST_MS + DAY_MS},101.5,0.25,sell,1", f"{FIRST_MS + 1},100,1,buy,2"]
    done = await imported(redis_url, written(tmp_path / "a.csv", lines))
    assert done.trades == 2
    (event,) = await told(redis_url)
    assert event["applied"] == {"t": FIRST_MS, "id": 1, "p": 100.25, "q": 1.5, "side": "buy"}
    assert event["refused"] == {"t": FIRST_MS + DAY_MS, "id": 1, "p": 101.5, "q": 0.25, "side": "sell"}
    view = await view_of(redis_url)
    assert view.state and view.state.refused == {CONFLICT: 1} and event["symbol"] == INSTRUMENT.symbol


async def test_an_id_that_is_only_unique_counts_once_a_day_and_is_compared_with_its_own(
    redis_url: str, tmp_path: Path
) -> None:
    """The ids of a day begin again: what comes late is of the day before."""
    days = [[f"{FIRST_MS + day * DAY_MS + 1_000 * n},{100 + day},1,buy,{n}" for n in range(50)] for day in range(2)]
    late = [days[0][40], other(days[0][41]), days[1][3], other(days[1][4])]
    done = await imported(
        redis_url, written(tmp_path / "a.csv", [*days[0], *days[1][:20], *late, *days[1][20:]]), instrument=UNIQUE
    )
    assert (done.trades, done.refused) == (100, {CONFLICT: 2, DUPLICATE: 2})
    assert {conflict.applied.price_ticks for conflict in done.conflicts} == {10_000, 10_100}


async def test_it_is_compared_with_the_last_trades_that_were_applied_before(redis_url: str, tmp_path: Path) -> None:
    await replayed(redis_url, written(tmp_path / "a.csv", LINES[:2_000]))
    more = [other(LINES[1_990]), LINES[1_991], *LINES[2_000:]]
    done = await imported(redis_url, written(tmp_path / "b.csv", more))
    assert (done.trades, done.refused) == (1_000, {CONFLICT: 1, DUPLICATE: 1}) and ids_of(done) == [1_990]
    # By now they are in the days, and the trades are not kept.
    done = await imported(redis_url, written(tmp_path / "c.csv", [other(LINES[1_980])]))
    assert done.conflict_count == 0 and done.refused == {CONFLICT: 1, DUPLICATE: 2}


async def test_it_is_compared_with_the_archive_where_trades_are_archived(redis_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    whole = written(tmp_path / "a.csv", LINES)
    await imported(redis_url, whole, archive=folder)
    before = await stored(redis_url)
    wrong, same = [5, 700, 1_500, 2_999], range(100, 2_900, 100)
    lines = sorted([*(other(LINES[n]) for n in wrong), *(LINES[n] for n in same)])
    done = await imported(redis_url, written(tmp_path / "b.csv", lines), archive=folder)
    assert (done.trades, done.refused) == (0, {CONFLICT: 4, DUPLICATE: len(same)}) and ids_of(done) == wrong
    assert [event["id"] for event in await told(redis_url)] == wrong
    assert archived_trades(folder).equals(trades_of(whole))
    assert replace(await stored(redis_url), refused={}) == replace(before, refused={})
    # Some that are new with them.
    more = [f"{int(LINES[-1].split(',')[0]) + n},100,1,buy,{2_999 + n}" for n in (1, 2)]
    done = await imported(redis_url, written(tmp_path / "c.csv", [other(LINES[2_000]), *more]), archive=folder)
    assert (done.trades, done.conflict_count, ids_of(done)) == (2, 1, [2_000])


@pytest.mark.parametrize("number", [0, 1])
async def test_an_id_that_comes_again_at_the_border_of_two_days_is_compared_with_the_day_before_and_after(
    redis_url: str, tmp_path: Path, number: int
) -> None:
    """As of binance-public-data#353, of which each file is imported when it is there."""
    folder = tmp_path / "archive"
    border_ms = FIRST_MS - FIRST_MS % DAY_MS + DAY_MS
    days = [[f"{border_ms + (n - 10) * 1_000},100,1,buy,{n}" for n in range(10)]]
    days.append([f"{border_ms + n * 1_000},101,2,sell,{n - 1}" for n in range(10, 20)])
    first, second = (days[number], days[1 - number])
    await imported(redis_url, written(tmp_path / "first.csv", first), archive=folder)
    done = await imported(redis_url, written(tmp_path / "second.csv", second), archive=folder)
    assert (done.trades, done.refused) == (9, {CONFLICT: 1})
    (conflict,) = done.conflicts
    assert {conflict.applied.price_ticks, conflict.refused.price_ticks} == {10_000, 10_100}


async def test_the_first_hundred_are_told_and_all_are_counted(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = chain.from_iterable((line, other(line)) for line in LINES)
    done = await imported(redis_url, written(tmp_path / "a.csv", list(lines)))
    assert (done.trades, done.refused, done.conflict_count) == (3_000, {CONFLICT: 3_000}, 3_000)
    assert ids_of(done) == list(range(MAX_CONFLICTS_TOLD))
    assert len(await told(redis_url)) == MAX_CONFLICTS_TOLD
    assert len([record for record in caplog.records if record.name == "workers.symbol.conflicts"]) == MAX_CONFLICTS_TOLD


async def test_of_its_own_trades_the_last_ones_are_at_hand(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again, "MIN_ROWS_AT_HAND", 100)
    monkeypatch.setattr(files, "BATCH_BYTES", 2_000)
    lines = [*LINES[:2_000], other(LINES[10]), other(LINES[1_950]), *LINES[2_000:]]
    done = await imported(redis_url, written(tmp_path / "a.csv", lines))
    assert (done.trades, done.refused) == (3_000, {CONFLICT: 1, DUPLICATE: 1}) and ids_of(done) == [1_950]


async def test_an_import_that_goes_on_tells_of_none_twice(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the file of the oldest day that was not written from its beginning."""
    monkeypatch.setattr(files, "BATCH_BYTES", 2_000)
    lines = [*LINES[:200], other(LINES[150]), *LINES[200:2_900], other(LINES[2_890]), *LINES[2_900:]]
    path = written(tmp_path / "a.csv", lines)
    work = importer(redis_url, [path])
    work.on_progress = lambda done: work.stop() if done.days >= 1 else None
    first = await work.run()
    assert not work.ended and first.trades < 3_000 and ids_of(first) == [150] and first.conflict_count == 1
    done = await imported(redis_url, path)
    assert done.conflict_count == 1 and ids_of(done) == [2_890]
    assert [event["id"] for event in await told(redis_url)] == [150, 2_890]
    assert done.refused == {CONFLICT: 2}
