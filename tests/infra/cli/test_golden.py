"""What commands print on a terminal of 80 columns, word for word: no price, no symbol and no job is cut."""

import ast
import re
import subprocess
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import orjson
import pytest
import redis
from rich.console import Console

from common.archive.series import CANDLE_ROWS, FOOTPRINT_ROWS
from common.market.timeframes.timeframe import DAY_MS
from common.store.jobs import QUEUED, failure
from common.store.keys import FAILURES, SYMBOLS, SymbolKeys
from infra.cli.commands import COMMANDS
from infra.cli.doctor import LEASE_COLUMNS, lease_row, print_finding
from infra.cli.tables import print_table
from infra.doctor.checks import Finding, Lease, Level
from infra.paths import ROOT
from tests.kit.processes.command import Fleet

LONG, LONGEST = "BINANCE_USDM:1000PEPEUSDT_261225", "KRAKEN:A.NAME-OF_32_CHARACTERS.X"
MARKETS = {
    "MY:X": {"price_decimals": 2, "size_decimals": 8, "ids": "unique", "source": {"kind": "inbox"}},
    LONG: {"price_decimals": 7, "size_decimals": 0, "ids": "contiguous", "kind": "future", "source": {"kind": "venue"}},
    LONGEST: {
        "price_decimals": 18,
        "size_decimals": 18,
        "ids": "unique",
        "calendar": "24x7",
        "zone": "America/Argentina/Buenos_Aires",
        "source": {"kind": "simulator"},
    },
}
JANUARY_MS = 1_704_067_200_000
REASON = "ArchiveUnavailable: [Errno 28] No space left on device: '/data/archive/candles/x.parquet'"


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setenv("FLEET_ARCHIVE_URL", str(tmp_path / "archive"))
    with redis.Redis.from_url(redis_url) as client:
        client.hset(SYMBOLS, mapping={symbol: orjson.dumps(market) for symbol, market in MARKETS.items()})
    return Fleet(redis_url, tmp_path / "data", columns=80)


def shown(text: str) -> str:
    assert all(len(line) <= 80 for line in text.splitlines()), text
    return "\n" + text


def test_symbols(fleet: Fleet) -> None:
    assert (
        shown(fleet("symbols", "list").out)
        == """
  kind    source        price      size  ids         trades
                     decimals  decimals
BINANCE_USDM:1000PEPEUSDT_261225
  future  venue             7         0  contiguous  24x7
KRAKEN:A.NAME-OF_32_CHARACTERS.X
  other   simulator        18        18  unique      24x7 America/Argentina/Buen
                                                     os_Aires
MY:X
  other   inbox             2         8  unique      24x7
"""
    )


def test_jobs(fleet: Fleet) -> None:
    failed = failure(f"archive_{LONG.replace(':', 'c')}_footprints_{JANUARY_MS}", REASON, 3, JANUARY_MS, refused=True)
    with redis.Redis.from_url(fleet.url) as client:
        client.hset(FAILURES, failed.job, failed.dump())
        client.rpush(QUEUED, "roll_MYcX_1704067200000")
    assert (
        shown(fleet("jobs").out)
        == """
1 queued, 0 running, 1 failed; 0 roll-up processes
  state   times  next   reason
                 try
archive_BINANCE_USDMc1000PEPEUSDT_261225_footprints_1704067200000
  failed      1  never  ArchiveUnavailable: [Errno 28] No space left on device:
                        '/data/archive/candles/x.parquet'
roll_MYcX_1704067200000
  queued
"""
    )


def test_archive(fleet: Fleet, tmp_path: Path) -> None:
    for series in (CANDLE_ROWS, FOOTPRINT_ROWS):
        for symbol in ("MY:X", LONG):
            path = tmp_path / "archive" / series.path(symbol, JANUARY_MS)
            path.parent.mkdir(parents=True)
            path.touch()
    with redis.Redis.from_url(fleet.url) as client:
        client.hset(SymbolKeys(LONG).archive, mapping={"candles_ms": JANUARY_MS + DAY_MS})
        client.zadd(SymbolKeys(LONG).unarchived, {f"candles:{JANUARY_MS + DAY_MS}": 1})
    assert (
        shown(fleet("archive", "list").out)
        == """
  series      objects  first       last        complete to  to be written
BINANCE_USDM:1000PEPEUSDT_261225
  candles           1  2024-01     2024-01     2024-01-02
  footprints        1  2024-01-01  2024-01-01
                                                                    1 day
MY:X
  candles           1  2024-01     2024-01
  footprints        1  2024-01-01  2024-01-01
"""
    )


def test_calendars(fleet: Fleet) -> None:
    assert fleet("calendars", "add", "XNSE", "2024-03-02", "--open", "09:15", "--close", "10:00").code == 0
    assert (
        shown(fleet("calendars", "list").out)
        == """
calendar  version  date        open   close
XNSE            1  2024-03-02  09:15  10:00
"""
    )


def findings(*found: Finding, leases: Sequence[Lease] = ()) -> str:
    out = StringIO()
    console = Console(file=out, width=80, soft_wrap=True, markup=False, highlight=False)
    for finding in found:
        print_finding(console, finding)
    if leases:
        print_table(console, LEASE_COLUMNS, map(lease_row, leases))
    return shown(out.getvalue())


def test_doctor() -> None:
    fine = Finding(Level.OK, "version", "Valkey 9.1.2")
    where = Finding(Level.OK, "reachable", f"unix:///home/somebody/{'a_long_folder/' * 6}.fleet/store/s")
    told = f"3, the last is archive_{LONG}_footprints_1: {REASON}"
    wrong = Finding(Level.FAIL, "failed jobs", told, "fleet jobs tells [JOB]")
    leases = [Lease(LONGEST, "a-machine-of-a-long-name.example.org:4711", "12", "123456", True, True)]
    assert (
        findings(fine, where, wrong, leases=leases)
        == """
OK    version      Valkey 9.1.2
OK    reachable    unix:///home/somebody/a_long_folder/a_long_folder/a_long_fold
                   er/a_long_folder/a_long_folder/a_long_folder/.fleet/store/s
FAIL  failed jobs  3, the last is
                   archive_BINANCE_USDM:1000PEPEUSDT_261225_footprints_1:
                   ArchiveUnavailable: [Errno 28] No space left on device:
                   '/data/archive/candles/x.parquet'
                   fleet jobs tells [JOB]
  lease  holder                                     epoch   beats
KRAKEN:A.NAME-OF_32_CHARACTERS.X
  alive  a-machine-of-a-long-name.example.org:4711     12  123456
"""
    )


def test_the_others_are_no_wider(fleet: Fleet) -> None:
    assert LONGEST in shown(fleet("doctor").out)
    assert "FLEET_ARCHIVE_S3_ENDPOINT" in shown(fleet("settings").out)
    assert LONGEST in shown(fleet("status").out)


def test_into_a_pipe_nothing_is_folded(fleet: Fleet) -> None:
    plain = subprocess.run(
        fleet.command("symbols", "list"), env=fleet.environ | {"COLUMNS": ""}, cwd=ROOT, capture_output=True, text=True
    )
    (line,) = [line for line in plain.stdout.splitlines() if line.startswith(LONGEST)]
    assert line.split() == [
        LONGEST,
        "other",
        "simulator",
        "18",
        "18",
        "unique",
        "24x7",
        "America/Argentina/Buenos_Aires",
    ]


def test_what_looks_like_markup_is_printed(fleet: Fleet) -> None:
    assert "Any <n><unit>: 10s, 1m" in " ".join(fleet("watch", "--help").out.split())
    assert "[JOB]" in fleet("jobs", "clear", "--help").out
    assert (
        fleet("symbols", "add", "A[b]").err == "fleet: symbol 'A[b]' is not 1 to 32 characters of A-Z, 0-9 and :_.-\n"
    )


GROUPS = {
    "symbols": ("list", "add", "remove", "change"),
    "archive": ("list", "verify"),
    "calendars": ("list", "add", "drop"),
    "jobs": ("list", "retry", "clear"),
    "import": ("trades", "candles"),
    "export": ("candles", "trades"),
    "token": ("new",),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_is_cut(fleet: Fleet, name: str) -> None:
    for more in ((), *((each,) for each in GROUPS.get(name, ()))):
        told = fleet(name, *more, "--help")
        assert told.code == 0 and "…" not in shown(told.out)


def helps(path: Path) -> Iterator[str]:
    """Texts that typer reads as Markdown, which takes <...> for HTML and [...] for a link."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield ast.get_docstring(node) or ""
        if isinstance(node, ast.keyword) and node.arg == "help":
            yield "".join(str(each.value) for each in ast.walk(node.value) if isinstance(each, ast.Constant))


@pytest.mark.parametrize("path", sorted((ROOT / "infra" / "cli").glob("*.py")), ids=lambda path: path.stem)
def test_no_help_has_brackets_that_would_be_eaten(path: Path) -> None:
    for text in helps(path):
        assert not re.search(r"[<\[]", re.sub(r"`[^`]*`", "", text)), text
