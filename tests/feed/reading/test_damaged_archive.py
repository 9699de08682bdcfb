"""Objects of the archive that are lost, damaged or no files: nobody takes what they had for time without trades."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from common.archive.archive import Archive
from common.archive.series import SERIES
from common.market.manifest import Fault
from common.market.timeframes.timeframe import DAY_MS
from infra.doctor import checks
from infra.doctor.audit import Auditor, find_faults
from tests.kit.archive.days import FIRST_MS, MARKET, archive_all, drop_before, write_days
from tests.kit.archive.trades import archive_trades
from tests.kit.served import Served, served
from tests.kit.writer import INSTRUMENT, Writer

S, DAYS = INSTRUMENT.symbol, 3
# Of a day that the archive alone has.
FIRST: dict[str, Any] = {"start": FIRST_MS, "end": FIRST_MS + DAY_MS, "limit": 100}
QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "candles": (f"/v1/candles/{S}", {"timeframe": "1m"}),
    "footprints": (f"/v1/footprint/{S}", {"timeframe": "1m"}),
    "trades": (f"/v1/trades/{S}", {}),
}


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def _in_its_place(make: Callable[[Path], object], path: Path) -> None:
    path.unlink()
    make(path)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "is missing"),
    "truncated": (lambda path: os.truncate(path, path.stat().st_size // 2), ""),
    "flipped": (_flip, ""),
    "a folder": (partial(_in_its_place, Path.mkdir), "is a folder, expected a file"),
    "a link": (_link, "is a link, expected a file"),
    "a pipe": (partial(_in_its_place, os.mkfifo), "is a named pipe, expected a file"),
}


@pytest.fixture
async def archive(client: Redis, tmp_path: Path) -> Archive:
    """Of a symbol of which it alone has the first days."""
    made = Archive.open(str(tmp_path))
    writer = await Writer.begun(client, archived=frozenset(("candles", "footprints")))
    await write_days(writer, DAYS)
    await writer.roll_up()
    await archive_all(client, made)
    await archive_trades(client, made, INSTRUMENT)
    writer.trades_kept = 1
    await drop_before(writer, FIRST_MS + 2 * DAY_MS)
    await writer.commit(writer.trade(writer.now_ms + 60_000))
    return made


def _objects(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.parquet"))


async def _told(feed: Served) -> tuple[int, list[dict[str, Any]]]:
    kept = (await feed.json(f"/v1/health/{S}"))["history"]["archive"]
    return kept["damaged"], kept["faults"]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("series", QUESTIONS)
async def test_what_is_damaged_is_told_with_its_reason_and_is_well_again_when_a_copy_is_put_back(
    client: Redis, archive: Archive, redis_url: str, tmp_path: Path, series: str, damage: str
) -> None:
    path = _objects(tmp_path / series)[0]
    whole, (spoil, reason) = path.read_bytes(), DAMAGES[damage]
    where, params = QUESTIONS[series]
    async with served(redis_url, archive_url=str(tmp_path)) as feed:
        before = await feed.json(where, **FIRST, **params)
        assert "faults" not in before and before.get("trades", before.get("bars"))
    spoil(path)
    async with served(redis_url, archive_url=str(tmp_path)) as feed:
        began_s = time.monotonic()
        answer = await feed.get(where, **FIRST, **params)
        assert time.monotonic() - began_s < 5
        if answer.status_code == 200:
            found = answer.json()
            assert not found.get("complete") and all(bar.get("partial") for bar in found.get("bars", []))
            assert found["faults"][0]["reason"].startswith(reason)
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "archive_unavailable")
            assert reason in answer.json()["error"]["message"]
        (fault,) = await find_faults(client, MARKET, archive)
        count, faults = await _told(feed)
        assert (count, faults[0]["series"], faults[0]["period"]) == (1, series, path.stem)
        assert fault.json() == faults[0]
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.write_bytes(whole)
        # But for how long ago something came.
        assert await feed.json(where, **FIRST, **params) | {"health": None} == before | {"health": None}
        assert await _told(feed) == (0, [])


async def test_the_proof_of_the_archive_misses_what_was_confirmed(
    client: Redis, archive: Archive, tmp_path: Path
) -> None:
    """Also where neither the store nor another series has anything of it."""
    for path in _objects(tmp_path):
        path.unlink()
    auditor = Auditor(client, MARKET, archive)
    for series in {fault.series for fault in await find_faults(client, MARKET, archive)}:
        objects = await auditor.objects(SERIES[series], 0, 1 << 42)
        assert objects and all([(await auditor.check(one)).wrong for one in objects])


def test_doctor_names_what_is_damaged() -> None:
    fault = Fault("candles", "2024-08", 0, 1, "is missing")
    finding = checks.damaged({"A:B": [fault], "C:D": []})
    assert (finding.level, finding.found) == (
        checks.Level.FAIL,
        "1 objects are not what was confirmed: A:B: candles 2024-08 is missing",
    )
    assert checks.damaged({"A:B": []}).level is checks.Level.OK
