"""Bulk imports: what a replay would store, byte for byte, however the trades are cut, and whatever kills them."""

import asyncio
import gzip
import os
import random
import signal
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import BadInput, Fenced, Stale
from common.market.builder.builder import Builder
from common.market.candle import IMPORT, Candle
from common.market.coding import codec
from common.market.instrument import Ids
from common.market.timeframes.timeframe import DAY_MS
from common.series import FOOTPRINTS
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.imports import MAX_STEP_DAYS, ImportedDay, ImportStep, ImportStore
from common.store.lease import NOTHING_SEEN
from common.store.reads import SymbolReader, View
from common.store.registry import Market, open_store
from common.store.rollups import RollupStore, Staged
from common.store.symbol import Claim, SymbolStore
from infra.paths import ROOT
from tests.kit.imports import (
    FIRST_MS,
    INSTRUMENT,
    command,
    emptied,
    imported,
    importer,
    replayed,
    rows,
    sealed_count,
    stored,
    view_of,
    written,
)
from tests.kit.waiting import wait_until
from tests.scale import scaled
from workers.imports import files
from workers.imports.candles import CandleFile
from workers.imports.day import Day
from workers.imports.days import steps
from workers.imports.files import ImportFile
from workers.imports.reach import Reach
from workers.recordings.base import TooFineLine
from workers.replay import KIND
from workers.rollup.day import roll_day

pytestmark = pytest.mark.anyio


async def test_an_import_stores_what_a_replay_does(redis_url: str, tmp_path: Path) -> None:
    lines = rows(4_000)
    del lines[1_000:1_010]  # a hole in the ids: a gap
    path = written(tmp_path / "a.csv", lines)
    other = replace(INSTRUMENT, symbol="TEST:REPLAYED")
    await replayed(redis_url, path, other)
    done = await imported(redis_url, [path])
    assert done.trades == 3_990 and done.days == 4 and not done.refused
    found = await stored(redis_url)
    assert found == await stored(redis_url, other)
    assert len(found.gaps) == 1
    view = await view_of(redis_url)
    assert len(view.seals) == 3 and view.health["mode"] == "CLOSED" and not view.owner.token
    assert_no_trades_are_kept(view)
    async with commit_client(redis_url) as client:
        assert len((await RollupStore(client, INSTRUMENT.symbol).due()).days) == 3


async def test_the_roll_up_of_an_imported_day_seals_the_same_bytes(redis_url: str, tmp_path: Path) -> None:
    await imported(redis_url, [written(tmp_path / "a.csv", rows(2_000))])
    before = await view_of(redis_url)
    async with commit_client(redis_url) as client:
        store = RollupStore(client, INSTRUMENT.symbol)
        for day_ms in (await store.due()).days:
            assert await roll_day(client, Market(INSTRUMENT), day_ms)
        due = await store.due()
        rolled: Any = await client.zrange(store.keys.rolled("1d"), 0, -1)
    days = [codec.unpack_candle(member) for member in rolled]
    assert (await view_of(redis_url)).seals == before.seals
    assert not due.days and len(due.archive) == 6 and len(days) == 3
    sealed = await stored(redis_url)
    open_day_ms = before.seals[-1].day_ms + DAY_MS
    minutes = [codec.unpack_candle(member) for member in sealed.candles.values()]
    assert sum(day.trades for day in days) == sum(each.trades for each in minutes if each.open_ms < open_day_ms)


async def test_a_day_is_refused_from_who_lost_the_symbol_or_its_place(redis_url: str, tmp_path: Path) -> None:
    await imported(redis_url, [written(tmp_path / "a.csv", rows(2_000))])
    before = await view_of(redis_url)
    assert before.state
    day_ms, checkpoint = before.seals[0].day_ms, Builder.new(INSTRUMENT).checkpoint()
    async with commit_client(redis_url) as client:
        store, days = (
            SymbolStore(client, INSTRUMENT.symbol, StreamBounds(1, 1)),
            ImportStore(client, INSTRUMENT.symbol, 1),
        )
        claim = await store.claim("mine", NOTHING_SEEN, "test")
        assert isinstance(claim, Claim)
        staged = Staged({"candles": 1}, {"candles": "0" * 16})
        # The second day's blocks do not lie ready; of the first nothing is kept.
        both = [ImportedDay(day_ms, None), ImportedDay(day_ms + DAY_MS, staged)]
        step = ImportStep("mine", claim.seq, both, day_ms, day_ms, "", checkpoint)
        for refused, error in (
            (replace(step, token="another"), Fenced),
            (replace(step, seq=claim.seq - 1), Stale),
            (step, Stale),
        ):
            with pytest.raises(error):
                await days.write(refused)
    after = await view_of(redis_url)
    assert (after.state, after.seals, after.stream.entries) == (before.state, before.seals, before.stream.entries)


def assert_no_trades_are_kept(view: View) -> None:
    """Bars of seconds are made of the kept trades: they begin where the import ended, and say so."""
    assert view.state and view.stream.first and view.stream.entries == [view.stream.first]
    assert (view.stream.first.seq > 1, view.stream.first.watermark_ms) == (True, view.state.watermark_ms)


async def test_a_first_import_within_one_day_lies_open(redis_url: str, tmp_path: Path) -> None:
    await imported(redis_url, [written(tmp_path / "a.csv", rows(50, days=0.1))])
    view = await view_of(redis_url)
    assert not view.seals and len(view.minutes[0]) > 10
    assert_no_trades_are_kept(view)


@settings(max_examples=scaled(8), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_however_trades_are_cut_into_files_and_batches_the_bytes_are_the_same(
    redis_url: str, tmp_path: Path, data: st.DataObject
) -> None:
    lines = rows(400, days=data.draw(st.sampled_from([2.5, 20.0])))
    ids: Ids = data.draw(st.sampled_from(["contiguous", "unique"]))
    instrument = replace(INSTRUMENT, ids=ids)
    count = data.draw(st.integers(1, 4))
    # Runs of lines: files reach into each other, and hold some trades twice.
    cuts = sorted(data.draw(st.lists(st.integers(1, 399), max_size=8, unique=True)))
    parts: list[list[str]] = [[] for _ in range(count)]
    for start, end in zip([0, *cuts], [*cuts, 400], strict=True):
        parts[data.draw(st.integers(0, count - 1))] += lines[start:end]
    paths = [written(tmp_path / f"{n}.csv", part) for n, part in enumerate(parts)]
    paths = data.draw(st.permutations(paths))
    batch_bytes = data.draw(st.sampled_from([200, 3_000, 1 << 20]))
    outcomes = []
    for chosen, size in (([written(tmp_path / "whole.csv", lines)], 1 << 20), (paths, batch_bytes)):
        emptied(redis_url)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "BATCH_BYTES", size)
            asyncio.run(imported(redis_url, chosen, instrument))
        outcomes.append(asyncio.run(stored(redis_url, instrument)))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("minutes", "levels", "count"), [(1, 1, 64), (1_440, 0, 34), (10, 50_000, 4), (60_000, 9**6, 1)]
)
def test_small_days_are_one_step_up_to_its_bounds(minutes: int, levels: int, count: int) -> None:
    rows_of = [pl.DataFrame({"open_ms": range(length)}) for length in (minutes, levels)]
    made = [Day(number * DAY_MS, 0, candles=rows_of[:1], levels=rows_of[1:]) for number in range(70)]
    found = list(steps(made))
    assert [len(step) for step in found] == [count] * (70 // count) + [70 % count] * (70 % count > 0)
    assert [day for step in found for day in step] == made
    apart = list(steps(made[:5], alone=lambda day_ms: day_ms == 2 * DAY_MS))
    assert [[day.day_ms // DAY_MS for day in step] for step in apart if count > 4] in ([], [[0, 1], [2], [3, 4]])


async def test_what_was_imported_before_is_not_applied_twice_and_older_history_finds_its_place(
    redis_url: str, tmp_path: Path
) -> None:
    lines = rows(3_000)
    whole = written(tmp_path / "whole.csv", lines)
    await imported(redis_url, [whole])
    expected = await stored(redis_url)
    async with commit_client(redis_url) as client:
        await client.flushall()
    newer, older = written(tmp_path / "new.csv", lines[1_500:]), written(tmp_path / "old.csv", lines[:1_600])
    await imported(redis_url, [newer])
    done = await imported(redis_url, [older])
    assert done.trades == 1_500 and done.refused == {"duplicate": 100}
    found = await stored(redis_url)
    assert found.gaps == [("307-1499", "repaired")]
    # One minute may have trades of both: it had been closed before.
    assert replace(found, candles={}, refused={}, gaps=[]) == replace(expected, candles={}, refused={})
    revised = [codec.unpack_candle(member) for member in found.candles.values()]
    assert [codec.pack_candle(replace(candle, rev=0)) for candle in revised] == list(expected.candles.values())
    assert sum(candle.rev > 0 for candle in revised) <= 1
    again = await imported(redis_url, [whole])
    assert again.trades == 0 and again.refused == {"duplicate": 3_100}
    assert replace(await stored(redis_url), refused={}) == replace(found, refused={})


@pytest.mark.parametrize("ids", ["contiguous", "unique"])
async def test_a_trade_of_a_day_that_is_written_amends_it_where_its_id_tells_that_it_is_new(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ids: Ids
) -> None:
    monkeypatch.setattr(files, "BATCH_BYTES", 1_000)
    lines = rows(1_000)
    first, late = lines[0], lines.pop(1)
    # Two days late: one trade that is new, and one that has been applied.
    path = written(tmp_path / "a.csv", [*lines, late, first])
    instrument = replace(INSTRUMENT, ids=ids)
    done = await imported(redis_url, [path], instrument)
    found = await stored(redis_url, instrument)
    revs = sum(codec.unpack_candle(member).rev for member in found.candles.values())
    if ids == "contiguous":
        # Only if its minute was there before; alone in a minute it is nothing that was shown otherwise.
        assert (done.trades, done.refused) == (1_000, {"duplicate": 1}) and revs <= 1
    else:
        assert (done.trades, done.refused) == (999, {"too_late": 2}) and revs == 0


@pytest.mark.parametrize("ids", ["contiguous", "unique"])
async def test_a_replay_goes_on_after_an_import_and_an_import_after_a_replay(
    redis_url: str, tmp_path: Path, ids: Ids
) -> None:
    instrument = replace(INSTRUMENT, ids=ids)
    lines = rows(3_000)
    parts = [written(tmp_path / f"{n}.csv", lines[n * 1_000 : n * 1_000 + 1_000]) for n in range(3)]
    whole = replace(instrument, symbol="TEST:WHOLE")
    await replayed(redis_url, written(tmp_path / "whole.csv", lines), whole)
    await imported(redis_url, parts[:1], instrument)
    await replayed(redis_url, parts[1], instrument)
    await imported(redis_url, parts[2:], instrument)
    found, expected = await stored(redis_url, instrument), await stored(redis_url, whole)
    if ids == "unique":
        # What an import leaves of unique ids is a time only.
        found, expected = (replace(one, coverage=b"") for one in (found, expected))
    assert found == expected


@pytest.mark.process
def test_killed_at_any_moment_and_run_again_it_loses_nothing_and_counts_nothing_twice(
    redis_url: str, tmp_path: Path
) -> None:
    """Of small days, of which several are one step."""
    path = written(tmp_path / "a.csv", rows(4_000, days=390))
    environ = {**os.environ, "REDIS_URL": redis_url, "FLEET_LEASE_TTL_MS": "300", "FLEET_FOOTPRINT_DAYS": "400"}
    subprocess.run(command(path), cwd=ROOT, env=environ, check=True, capture_output=True)
    expected = asyncio.run(stored(redis_url))
    emptied(redis_url)
    rng = random.Random(3)
    kills = 0
    for goal in sorted(rng.sample(range(1, 390 - MAX_STEP_DAYS), 2)):
        child = subprocess.Popen(command(path), cwd=ROOT, env=environ, stdout=subprocess.DEVNULL)

        def far(child: subprocess.Popen[bytes] = child, goal: int = goal) -> bool:
            return child.poll() is not None or sealed_count(redis_url) >= goal

        wait_until(far, timeout_s=30)
        kills += child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert kills, "the import was over before it could be killed"
    done = subprocess.run(command(path), cwd=ROOT, env=environ, check=True, capture_output=True, text=True)
    assert "refused" not in done.stdout
    found = asyncio.run(stored(redis_url))
    assert found == expected
    # The comparison would notice: a day that is lost, and one that is there twice.
    day_ms = FIRST_MS // DAY_MS * DAY_MS + DAY_MS
    lost = {open_ms: m for open_ms, m in found.candles.items() if not day_ms <= open_ms < day_ms + DAY_MS}
    assert replace(found, candles=lost) != expected
    open_ms, member = next(iter(found.candles.items()))
    candle = codec.unpack_candle(member)
    twice = found.candles | {open_ms: codec.pack_candle(candle.merge(candle))}
    assert replace(found, candles=twice) != expected


async def test_every_form_of_a_file_gives_the_same(redis_url: str, tmp_path: Path) -> None:
    lines = [line.replace("unknown", "buy") for line in rows(500)]
    plain = written(tmp_path / "a.csv", lines)
    frame = pl.read_csv(plain, infer_schema=False)
    is_maker = ["True" if line.split(",")[3] == "sell" else "False" for line in lines]
    ids, price, size, ts_ms = (frame[name].to_list() for name in ("id", "price", "size", "ts_ms"))
    fields = list(zip(ids, price, size, ts_ms, is_maker, strict=True))
    forms = {
        "spot-trades": [f"{i},{p},{q},0.0,{t}000,{m},True" for i, p, q, t, m in fields],
        "um-trades": ["id,price,qty,quote_qty,time,is_buyer_maker"]
        + [f"{i},{p},{q},0.0,{t},{m.lower()}" for i, p, q, t, m in fields],
        "spot-agg": [f"{i},{p},{q},7,9,{t},{m},True" for i, p, q, t, m in fields],
        "um-agg": ["agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"]
        + [f"{i},{p},{q},7,9,{t},{m.lower()}" for i, p, q, t, m in fields],
    }
    paths = [plain]
    for name, text in forms.items():
        packed = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}.csv", "\n".join(text) + "\n")
        paths.append(packed)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(plain.read_bytes().replace(b"\n", b"\r\n")))
    paths.append(tmp_path / "a.csv.gz")
    whole = frame.with_columns(pl.col("ts_ms", "id").cast(pl.Int64))
    for name, dtype in (("text", pl.String), ("floats", pl.Float64), ("decimals", pl.Decimal(20, 6))):
        paths.append(tmp_path / f"{name}.parquet")
        whole.with_columns(pl.col("price", "size").cast(dtype)).write_parquet(paths[-1])
    expected = pl.concat(rows.frame for rows in ImportFile(plain, INSTRUMENT).batches())
    assert len(expected) == 500
    for path in paths:
        assert pl.concat(rows.frame for rows in ImportFile(path, INSTRUMENT).batches()).equals(expected), path


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("1700000000000,1.005,1,buy,2", "line 3: price '1.005', expected a number of at most 2 decimals"),
        ("1700000000000,1.0000000000000000001,1,buy,2", "line 3: price '1.0000000000000000001', expected"),
        (
            "1700000000000,1,0.00001,buy,2",
            "line 3: size '0.00001', expected a number of at most 4 decimals",
        ),
        ("1700000000000,1,1e-9,buy,2", "line 3: size '1e-9', expected"),
        ("1700000000000,dear,1,buy,2", "line 3: price 'dear', expected"),
        ("1700000000000,1,1,both,2", "line 3: side 'both', expected buy, sell or unknown"),
        ("1700000000000.5,1,1,buy,2", "line 3: ts_ms '1700000000000.5', expected a whole number"),
        ("1700000000000,1,1,buy,2,3", "line 3: more '3', expected no more fields"),
        ("1700000000000,1,1,buy", "line 3: id None, expected a whole number"),
    ],
)
def test_a_bad_row_is_named_or_counted(tmp_path: Path, line: str, sentence: str) -> None:
    path = written(tmp_path / "a.csv", ["1700000000000,1.5,1e-4,buy,1", line, "", "1700000000001,.5,1,sell,3"])
    with pytest.raises(BadInput) as raised:
        list(ImportFile(path, INSTRUMENT).batches())
    assert sentence in str(raised.value)
    (found,) = ImportFile(path, INSTRUMENT, skip_bad=True).batches()
    assert found.bad == 1 and found.frame["size_lots"].to_list() == [1, 10_000]


KLINE = "{t},{o},{h},{l},{c},{v},{e},{q},{n},{b},0,0"


async def test_candles_of_every_form_are_stored_as_they_are_and_never_twice(redis_url: str, tmp_path: Path) -> None:
    values = [
        {
            "t": FIRST_MS + 60_000 * at,
            "o": 1.5,
            "h": 2,
            "l": 1,
            "c": 1.25,
            "v": 3.5,
            "q": "4.125000",
            "n": 7,
            "b": "1.25",
        }
        for at in range(0, 1_000, 3)
    ]
    ours = tmp_path / "ours.csv"
    header = "open_ms,open,high,low,close,volume,buy_volume,turnover,trades"
    lines = [",".join(str(row[name]) for name in "tohlcvbqn") for row in values]
    ours.write_text("\n".join([header, *lines]), "utf-8")
    klines = tmp_path / "klines.csv"
    in_us = [{**row, "t": f"{row['t']}000", "e": row["t"] * 1_000 + 59_999_999} for row in values]  # type: ignore[operator]
    # And one of a minute without trades.
    quiet = {**in_us[0], "t": FIRST_MS + 60_000, "e": FIRST_MS + 119_999, "v": 0, "q": 0, "n": 0, "b": 0}
    klines.write_text("\n".join(KLINE.format(**row) for row in [*in_us, quiet]), "utf-8")
    columnar = tmp_path / "a.parquet"
    pl.read_csv(ours, schema_overrides={"turnover": pl.String, "buy_volume": pl.Float64}).write_parquet(columnar)
    instrument = replace(INSTRUMENT, ids="unique")
    frames = [pl.concat(rows.frame for rows in CandleFile(p, instrument).batches()) for p in (ours, klines, columnar)]
    assert frames[0].equals(frames[1]) and frames[0].equals(frames[2])

    work = importer(redis_url, [], instrument)
    work.files = [CandleFile(klines, instrument), CandleFile(ours, instrument, are_minutes=True)]
    done = await work.run()
    assert (done.trades, done.refused) == (334, {"duplicate": 334})
    found = await stored(redis_url, instrument)
    assert [codec.unpack_candle(member) for member in found.candles.values()] == [
        Candle(
            open_ms=row["t"],  # type: ignore[arg-type]
            open_ticks=150,
            high_ticks=200,
            low_ticks=100,
            close_ticks=125,
            volume_lots=35_000,
            buy_lots=12_500,
            sell_lots=22_500,
            turnover=4_125_000,
            trades=7,
            first_ts_ms=row["t"],  # type: ignore[arg-type]
            first_id=0,
            last_ts_ms=row["t"] + 59_999,  # type: ignore[operator]
            last_id=0,
            sources=IMPORT,
        )
        for row in values
    ]
    last_ms = FIRST_MS + 60_000 * 999
    assert not found.footprints and found.open == (b"", b"") and found.watermark_ms == last_ms + 60_000


MINUTE = FIRST_MS // 60_000 * 60_000


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"{MINUTE + 1},1,1,1,1,1,{MINUTE + 60_000}", f"open_ms '{MINUTE + 1}', expected the first ms of a minute"),
        (f"{MINUTE},1,1,1,1,1,{MINUTE + 3_599_999}", "span '3600 s', expected a candle of one minute"),
        (f"{MINUTE},1,1,1,1,1,{MINUTE + 999}", "span '1 s', expected a candle of one minute"),
        (f"{MINUTE},1,1,1,1,1,soon", "close_ms 'soon', expected a whole number of ms"),
        (f"60000,1,1,1,1,1,{119_999}", "open_ms '60000', expected a time from 1990 to 2248"),
        (f"{MINUTE},2,1,3,2,1,{MINUTE + 59_999}", f"candle '{MINUTE},2,1,3,2,1', expected a candle whose high is not"),
        (f"{MINUTE},4,3,1,2,1,{MINUTE + 59_999}", "expected a candle whose open and close are between its low and its"),
        (f"{MINUTE},1,1,0,1,1,{MINUTE + 59_999}", "expected a candle of prices above 0"),
        (f"{MINUTE},1,1,1,1,-1,{MINUTE + 59_999}", "volume '-1', expected a number of at most 4 decimals, not below 0"),
        (f"{MINUTE},1.005,1,1,1,1,{MINUTE + 59_999}", "open '1.005', expected a number of at most 2 decimals"),
    ],
)
def test_what_is_no_minute_candle_is_refused_by_the_reason_that_holds(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{OPENS},close_ms\n{line}\n", "utf-8")
    with pytest.raises(BadInput) as refused:
        list(CandleFile(path, INSTRUMENT).batches())
    assert str(refused.value).startswith(f"{path} line 2: ") and reason in str(refused.value)
    # Also before anything is registered, where most of a file are none.
    with pytest.raises(BadInput, match="line 2: "):
        CandleFile(path, INSTRUMENT, skip_bad=True).check()


def test_candles_with_more_decimals_than_the_symbol_are_refused_for_that(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = [f"{MINUTE + 60_000 * number},1.005,1.005,1.005,1.005,1" for number in range(9)]
    path.write_text("\n".join([OPENS, *lines]), "utf-8")
    with pytest.raises(TooFineLine, match="line 2: open '1.005', expected a number of at most 2 decimals"):
        CandleFile(path, INSTRUMENT).check()


async def test_a_number_that_is_too_fine_takes_the_new_symbol_back_with_all_that_was_written(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found late: the days before it had been written, and the next try met a symbol of the wrong decimals."""
    monkeypatch.setattr("workers.imports.files.BATCH_BYTES", 4_096)
    lines = rows(2_000, days=8)
    ts_ms, price, rest = lines[-1].split(",", 2)
    path = written(tmp_path / "a.csv", [*lines[:-1], f"{ts_ms},{price}5,{rest}"])
    work = importer(redis_url, [path])
    with pytest.raises(TooFineLine) as refused:
        await work.run()
    assert (refused.value.of, refused.value.decimals, work.done.days > 0) == ("price", 3, True)
    async with commit_client(redis_url) as client:
        assert await client.keys("{TEST:IMPORT}*") == [] and await client.hkeys("symbols") == []
    # Data of a symbol that was removed without it is none of the import's.
    await imported(redis_url, [written(tmp_path / "b.csv", lines[:9])])
    async with open_store(redis_url) as registry:
        await registry.remove_symbol("TEST:IMPORT")
    with pytest.raises(TooFineLine):
        await importer(redis_url, [path]).run()
    assert (await stored(redis_url)).footprints


OPENS = "open_ms,open,high,low,close,volume"


def candle_lines(step_ms: int, count: int = 48, *, with_ends: bool = False) -> list[str]:
    first_ms = FIRST_MS // DAY_MS * DAY_MS
    opens = range(first_ms, first_ms + count * step_ms, step_ms)
    ends = (f",{open_ms + step_ms - 1}" if with_ends else "" for open_ms in opens)
    rows = [f"{open_ms},2,2,1,1,5{end}" for open_ms, end in zip(opens, ends, strict=True)]
    return [OPENS + ",close_ms" * with_ends, *rows]


@pytest.mark.parametrize("step_ms", [3_600_000, 180_000, 30_000])
@pytest.mark.parametrize("skip_bad", [False, True])
async def test_candles_whose_span_is_not_known_are_refused(
    redis_url: str, tmp_path: Path, step_ms: int, skip_bad: bool
) -> None:
    """Before: an export of hours was imported as minutes, exit code 0."""
    path = tmp_path / "a.csv"
    path.write_text("\n".join(candle_lines(step_ms)), "utf-8")
    columnar = tmp_path / "a.parquet"
    pl.read_csv(path).write_parquet(columnar)
    for found in (path, columnar):
        work = importer(redis_url, [])
        work.files = [CandleFile(found, INSTRUMENT, skip_bad)]
        with pytest.raises(
            BadInput,
            match="minutes apart|2[34] of 4[78] rows are no candles of a minute, .* expected the first ms",
        ):
            await work.run()
    async with open_store(redis_url) as registry:
        assert await registry.market(INSTRUMENT.symbol) is None


@pytest.mark.parametrize("step_ms", [3_600_000, 60_000])
def test_candles_that_say_when_they_end_are_taken_by_that(tmp_path: Path, step_ms: int) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(candle_lines(step_ms, 1, with_ends=True)), "utf-8")
    file = CandleFile(path, INSTRUMENT)
    if step_ms == 60_000:
        file.check()
        assert sum(len(rows.frame) for rows in file.batches()) == 1
    else:
        for read in (file.check, lambda: list(file.batches())):
            with pytest.raises(BadInput, match="line 2: span '3600 s', expected a candle of one minute"):
                read()


async def test_a_file_without_a_good_row_is_not_passed_over(redis_url: str, tmp_path: Path) -> None:
    paths = [written(tmp_path / "bad.csv", ["x,1,1,buy,2"] * 30), written(tmp_path / "good.csv", rows(20))]
    with pytest.raises(BadInput, match=r"bad\.csv line 2: ts_ms 'x'"):
        await imported(redis_url, paths)
    work = importer(redis_url, [])
    work.files = [ImportFile(path, INSTRUMENT, skip_bad=True) for path in paths]
    done = await work.run()
    assert (done.trades, done.refused) == (20, {"bad_line": 30})


async def test_bad_rows_and_refused_trades_are_counted(redis_url: str, tmp_path: Path) -> None:
    lines = ["1700000000000,1,1,buy,1", "x,1,1,buy,2", "1700000000000,0,1,buy,3", "1700000000000,1,-1,buy,4"]
    lines += ["9000000000000,1,1,buy,5", "1700000000001,1,1,buy,1"]
    work = importer(redis_url, [written(tmp_path / "a.csv", lines)])
    work.files = [ImportFile(file.path, INSTRUMENT, skip_bad=True) for file in work.files]
    done = await work.run()
    # A negative size is not read at all.
    assert done.trades == 1
    assert done.refused == {"bad_line": 2, "bad_price": 1, "bad_time": 1, "duplicate": 1}


async def test_within_retention_what_is_older_is_left_out_and_can_come_later(redis_url: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", rows(2_000, days=8))
    work = importer(redis_url, [path], candle_days=4, footprint_days=4)
    work.within_retention = True
    done = await work.run()
    view, found = await view_of(redis_url), await stored(redis_url)
    assert view.state
    newest_ms = view.state.watermark_ms // DAY_MS * DAY_MS
    assert (done.days, done.too_old, done.bare) == (5, 4, 0)
    assert min(found.candles) // DAY_MS * DAY_MS == view.state.candle_floor_ms == newest_ms - 4 * DAY_MS
    assert min(found.footprints) // DAY_MS * DAY_MS == view.state.floor_ms(FOOTPRINTS)
    again = await imported(redis_url, [path], candle_days=4, footprint_days=4)
    whole = await stored(redis_url)
    async with commit_client(redis_url) as client:
        await client.flushall()
    await imported(redis_url, [path])
    expected = await stored(redis_url)
    assert (again.days, again.too_old, again.bare) == (4, 0, 0)
    assert (whole.footprints, set(whole.candles)) == (expected.footprints, set(expected.candles))


async def test_an_import_that_reaches_further_back_says_so_first_and_has_its_days_kept(
    redis_url: str, tmp_path: Path
) -> None:
    """Before: what the worker or the import itself would drop was imported, and gone."""
    told = list[tuple[dict[str, int], int]]()
    paths = [written(tmp_path / f"{at}.csv", rows(2_000, days=8)[at : at + 500]) for at in range(0, 2_000, 500)]
    work = importer(redis_url, paths, candle_days=4, footprint_days=2)
    work.on_reach = lambda reach: told.append((reach.raised, work.done.days))
    await work.run()
    async with open_store(redis_url) as registry:
        market = await registry.market(INSTRUMENT.symbol)
    assert market and (market.candle_days, market.footprint_days) == (8, 8)
    assert told == [({"candles": 8, "footprints": 8}, 0)]
    assert (work.done.days, work.done.too_old, work.done.bare) == (9, 0, 0)
    # And what comes next drops none of it.
    last = rows(2_000, days=8)[-1].split(",")
    await replayed(redis_url, written(tmp_path / "next.csv", [",".join([str(int(last[0]) + 1), *last[1:4], "2000"])]))
    found = await stored(redis_url)
    first_ms = FIRST_MS // DAY_MS * DAY_MS
    assert min(found.candles) // DAY_MS * DAY_MS == min(found.footprints) // DAY_MS * DAY_MS == first_ms


async def test_the_days_of_the_symbol_count_and_not_the_settings(redis_url: str, tmp_path: Path) -> None:
    told = list[Reach]()
    async with open_store(redis_url) as registry:
        await registry.add_symbol(Market(INSTRUMENT, {"kind": KIND}, candle_days=30, footprint_days=3))
    work = importer(redis_url, [written(tmp_path / "a.csv", rows(2_000, days=8))], candle_days=4, footprint_days=2)
    work.within_retention, work.on_reach = True, told.append
    done = await work.run()
    assert (done.days, done.too_old, done.bare) == (9, 0, 5)
    assert [list(reach.short) for reach in told] == [["footprints"]]


@pytest.mark.parametrize("form", ["csv", "csv.gz", "zip", "parquet"])
@pytest.mark.parametrize("count", [1, 2, 9_000])
def test_the_last_time_of_a_file_is_seen_from_its_end(tmp_path: Path, form: str, count: int) -> None:
    lines = rows(count)
    path = written(tmp_path / "a.csv", lines)
    text = path.read_bytes()
    other = tmp_path / f"b.{form}"
    if form == "parquet":
        pl.read_csv(path, schema_overrides={"price": pl.String, "size": pl.String}).write_parquet(other)
    elif form == "zip":
        with zipfile.ZipFile(other, "w") as archive:
            archive.writestr("a.csv", text)
    else:
        other.write_bytes(gzip.compress(text) if form == "csv.gz" else text)
    assert ImportFile(other, INSTRUMENT).last_ms() == int(lines[-1].split(",")[0])


async def test_a_floor_that_rose_above_nothing_goes_back_to_what_is_imported_for_the_archive(
    redis_url: str, tmp_path: Path
) -> None:
    lines = rows(2_000, days=8)
    older, newer = written(tmp_path / "old.csv", lines[:1_000]), written(tmp_path / "new.csv", lines[1_000:])
    await imported(redis_url, [newer])
    async with commit_client(redis_url) as client:
        for name in ("candle_floor_ms", "footprint_floor_ms"):
            # As commits leave it, in the end, of a symbol whose first day that was.
            first = (await view_of(redis_url)).seals[0]
            await client.hset(SymbolReader(client, INSTRUMENT.symbol).keys.state, name, str(first.day_ms))
    done = await imported(redis_url, [older], archive_url="/somewhere", candle_days=2, footprint_days=1)
    view, found = await view_of(redis_url), await stored(redis_url)
    first_ms = FIRST_MS // DAY_MS * DAY_MS
    assert view.state and (view.state.candle_floor_ms, view.state.floor_ms(FOOTPRINTS)) == (first_ms, first_ms)
    async with commit_client(redis_url) as client:
        await client.flushall()
    await imported(redis_url, [written(tmp_path / "whole.csv", lines)])
    whole = await stored(redis_url)
    assert (found.footprints, set(found.candles)) == (whole.footprints, set(whole.candles))
    assert (done.too_old, done.bare) == (0, 0)


async def test_what_was_dropped_stays_dropped_and_so_does_all_before_it(redis_url: str, tmp_path: Path) -> None:
    lines = rows(2_000, days=8)
    await imported(redis_url, [written(tmp_path / "new.csv", lines[1_000:])])
    async with open_store(redis_url) as registry:
        await registry.change_symbol(INSTRUMENT.symbol, lambda now: replace(now, candle_days=2, footprint_days=1))
    # The next minute that is written drops them.
    at_ms, *rest, _ = lines[-1].split(",")
    await replayed(redis_url, written(tmp_path / "next.csv", [",".join([str(int(at_ms) + 60_000), *rest, "2000"])]))
    before = await stored(redis_url)
    # Between this and what is there would be a hole that nobody knows of.
    path = written(tmp_path / "old.csv", lines[:1_000])
    done = await imported(redis_url, [path], archive_url="/somewhere")
    after = await stored(redis_url)
    assert (after.candles, after.footprints) == (before.candles, before.footprints)
    assert done.days == done.too_old == 5


async def test_of_two_imports_of_one_symbol_the_second_finds_nothing_to_do(redis_url: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", rows(2_000))
    both = await asyncio.gather(*(imported(redis_url, [path], lease_ttl_ms=600) for _ in range(2)))
    assert sum(done.trades for done in both) == 2_000
