"""The architecture's arrows, read from the imports themselves (common.market <- frames, store <- workers, feed)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from infra.paths import ROOT

PARTS = (
    "common.market",
    "common.frames",
    "common.indicators",
    "common.store",
    "common.archive",
    "common.series",
    "common.tiles",
    "common",
    "workers.change",
    "workers.imports",
    "workers.rollup",
    "workers",
    "feed",
    "infra",
    "tests",
)

# What each part may import of this project, besides itself.
ALLOWED = {
    "common.market": {"common.errors"},
    "common.frames": {"common.market", "common.series", "common.errors"},
    "common.indicators": {"common.market", "common.frames", "common.errors"},
    "common.store": {
        "common.market",
        "common.series",
        "common.tiles",
        "common.byte_lru",
        "common.errors",
        "common.release",
        "common.retry",
    },
    "common.archive": {"common.market", "common.series", "common.frames", "common.errors"},
    "common.series": {"common.market"},
    "common.tiles": {"common.market", "common.series"},
    # Settings know the names of kinds.
    "common": {"common.errors", "common.market.kinds"},
    "workers.change": {"common", "common.market", "common.series", "common.frames", "common.store", "common.archive"},
    "workers.imports": {
        "common",
        "common.market",
        "common.series",
        "common.tiles",
        "common.frames",
        "common.store",
        "common.archive",
        "workers",
        "workers.rollup",
    },
    "workers.rollup": {
        "common",
        "common.market",
        "common.series",
        "common.tiles",
        "common.frames",
        "common.store",
        "common.archive",
    },
    "workers": {
        "common",
        "common.market",
        "common.series",
        "common.tiles",
        "common.store",
        "workers.rollup",
        "workers.change",
    },
    "feed": {
        "common",
        "common.market",
        "common.series",
        "common.tiles",
        "common.frames",
        "common.indicators",
        "common.store",
        "common.archive",
    },
    "infra": {
        "common",
        "common.market",
        "common.series",
        "common.tiles",
        "common.frames",
        "common.indicators",
        "common.store",
        "common.archive",
        "workers",
        "workers.change",
        "workers.imports",
        "workers.rollup",
        "feed",
    },
}
# The rooms of a part, and those of the same part that each may import: only downward. A module that is in no room may
# be imported by all but those of KNOWS_NO_PROCESS. A room that does not exist yet is held to its rule once it does.
FACE = {"feed.queries", "feed.stream", "feed.wire"}
ROOMS: dict[str, set[str]] = {
    "feed.reading": set(),
    "feed.bars": {"feed.reading"},
    "feed.wire": {"feed.reading", "feed.bars"},
    "feed.queries": {"feed.reading", "feed.bars", "feed.wire"},
    "feed.stream": {"feed.reading", "feed.bars", "feed.wire", "feed.queries"},
    "feed.publishing": FACE | {"feed.bars"},
    "feed.web": FACE | {"feed.faces", "feed.page", "feed.charts"},
    "feed.faces": FACE,
    "feed.page": FACE,
    "feed.charts": FACE,
    "workers.venues": set(),
    "workers.recordings": set(),
    "workers.rollup": set(),
    "workers.clock": {"workers.rollup"},
    "workers.change": set(),
    "workers.sources": {"workers.venues", "workers.recordings", "workers.change"},
    "workers.symbol": {"workers.sources"},
    "workers.imports": {"workers.recordings", "workers.rollup", "workers.symbol"},
    "common.market.depth": {"common.market.timeframes"},
    "common.market.simulation": set(),
    "common.market.coding": {"common.market.timeframes"},
    "common.market.builder": {"common.market.timeframes", "common.market.coding"},
    "common.market.timeframes": set(),
    "infra.exchange": set(),
    "infra.doctor": set(),
    "infra.local": {"infra.exchange"},
    "infra.bench": {"infra.local"},
    "infra.cli": {"infra.local", "infra.doctor"},
}
# What of the product each room of infra may import, beside all of `common`: the rooms below it have their own rules.
INFRA: dict[str, set[str]] = {
    # A venue of its own: it is asked over the wire, like any other.
    "infra.exchange": {"workers.recordings"},
    # It reads what is stored, and asks nothing that writes.
    "infra.doctor": {"workers.rollup"},
    "infra.local": {"workers.venues", "feed.access"},
    # It measures what runs from outside, and the worker's own loops.
    "infra.bench": {"workers"},
    "infra.cli": {"workers", "feed"},
}
# What reads, makes bars and speaks of neither a client nor a metric: these know nothing of the process around them.
KNOWS_NO_PROCESS = {"feed.reading", "feed.bars", "feed.wire"}
EXISTING = [room for room in ROOMS if (ROOT / room.replace(".", "/")).is_dir()]

# Who else imports more of redis than the client that it is handed: the store's process, RQ, and who reads its errors.
KNOWS_REDIS = {
    "infra/local/embedded.py",
    "infra/cli/doctor.py",
    "workers/rollup/rq_queue.py",
    "workers/rollup/rq_worker.py",
    "workers/rollup/serve.py",
}

# What the pure core may use of the rest of the world: nothing with a clock, a socket or a log.
PURE = {"orjson", "numpy", "polars", "zstandard", "exchange_calendars", "talib"}
SIDE_EFFECTS = {"asyncio", "socket", "logging", "time", "os", "random", "subprocess", "threading"}


def imports(path: Path) -> set[str]:
    """Modules imported anywhere in the file, except for types only."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} imports relatively"
            # `from common import log` imports the module common.log.
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= named if node.module in ("common", "workers", "feed", "infra") else {node.module}
    return found


def part_of(module: str) -> str | None:
    return next((part for part in PARTS if module == part or module.startswith(part + ".")), None)


def files_of(part: str) -> list[Path]:
    """Those of the part itself, not of a part within it."""
    place = ROOT / part.replace(".", "/")
    found = sorted(place.rglob("*.py")) or [place.with_suffix(".py")]
    return [path for path in found if part_of(".".join(path.relative_to(ROOT).with_suffix("").parts)) == part]


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_follow_the_arrows(part: str) -> None:
    files = files_of(part)
    assert files, f"{part} has no files: this test would hold anything"
    for path in files:
        for module in imports(path):
            target = part_of(module)
            allowed = target in (None, part) or target in ALLOWED[part] or module in ALLOWED[part]
            assert allowed, f"{path.relative_to(ROOT)} imports {module}"


def room_of(module: str) -> str | None:
    return next((room for room in ROOMS if module == room or module.startswith(room + ".")), None)


@pytest.mark.parametrize("room", EXISTING)
def test_rooms_import_only_downward(room: str) -> None:
    part, files = room.rpartition(".")[0], sorted((ROOT / room.replace(".", "/")).rglob("*.py"))
    assert len(files) > 1, f"{room} has no files: this test would hold anything"
    for path in files:
        for module in imports(path):
            target = room_of(module)
            assert target in (None, room) or not target.startswith(part + ".") or target in ROOMS[room], (
                f"{path.relative_to(ROOT)} imports {module}"
            )
            is_of_process = module.startswith(part + ".") and target is None
            assert not (room in KNOWS_NO_PROCESS and is_of_process), f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("room", INFRA)
def test_rooms_of_infra_import_no_more_of_the_product_than_they_are_for(room: str) -> None:
    for path in sorted((ROOT / room.replace(".", "/")).rglob("*.py")):
        for module in imports(path):
            is_product = module.partition(".")[0] in ("workers", "feed")
            allowed = any(module == each or module.startswith(each + ".") for each in INFRA[room])
            assert allowed or not is_product, f"{path.relative_to(ROOT)} imports {module}"


def test_no_room_of_infra_is_without_a_rule() -> None:
    rooms = {f"infra.{place.parent.name}" for place in (ROOT / "infra").glob("*/__init__.py")}
    assert rooms == set(INFRA) == {room for room in ROOMS if room.startswith("infra.")}


def test_what_tests_share_lives_in_the_kit() -> None:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                shared = [name for name in names if name.startswith("test_")]
                assert not shared, f"{path.relative_to(ROOT)} imports {shared}"


@pytest.mark.parametrize("part", ["feed", "workers", "infra"])
def test_only_the_store_speaks_redis(part: str) -> None:
    """Others hand its client on, and name its type; the bench measures it."""
    for path in sorted((ROOT / part).rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        if place in KNOWS_REDIS or place.startswith("infra/bench/"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            module = (node.module or "") if isinstance(node, ast.ImportFrom) else "".join(names)
            if module.partition(".")[0] == "redis":
                assert (module, names) == ("redis.asyncio", ["Redis"]), f"{place} imports {names} of {module}"


@pytest.mark.parametrize(
    "part", ["common.market", "common.series", "common.tiles", "common.frames", "common.indicators"]
)
def test_the_core_is_pure(part: str) -> None:
    for path in files_of(part):
        top = {module.partition(".")[0] for module in imports(path)}
        foreign = top - PURE - set(sys.stdlib_module_names) - {"common"}
        assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"
        assert not top & SIDE_EFFECTS, f"{path.relative_to(ROOT)} imports {top & SIDE_EFFECTS}"


def test_a_symbol_process_stays_small() -> None:
    """Polars and numpy would double a worker: a replay of Parquet, in a process of its own, loads them, or a change."""
    heavy = {"polars", "numpy", "pydantic", "pydantic_settings"}
    for path in [*files_of("workers"), *files_of("workers.change")]:
        if path.name not in ("parquet.py", "fit.py", "__main__.py"):
            found = {module.partition(".")[0] for module in imports(path)} & heavy
            assert not found, f"{path.relative_to(ROOT)} imports {found}"


@pytest.mark.process
def test_clock_and_roll_up_start_small_and_before_the_fork_without_threads() -> None:
    """Polars has threads, which don't survive the fork of a job; pandas costs 60 MB (exchange calendars bring it)."""
    modules = "workers.clock.__main__, workers.rollup.__main__"
    code = f"import sys, {modules}; print(*{{'polars', 'pandas', 'exchange_calendars'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


@pytest.mark.process
def test_the_library_of_indicators_is_loaded_with_the_first_question() -> None:
    """It takes a quarter of a second and 30 MB."""
    code = "import sys, common.indicators.values; print('talib' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.process
@pytest.mark.parametrize("arguments", [["--help"], ["symbols", "list", "--help"], ["archive", "list", "--help"]])
def test_a_small_command_loads_neither_polars_nor_the_feed(arguments: list[str]) -> None:
    """Each would add half a second to a command that takes a fifth of one."""
    code = "import atexit, sys; from infra.cli import main; atexit.register(lambda: print(*sys.modules)); main()"
    command = [sys.executable, "-c", code, *arguments]
    loaded = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    heavy = {"polars", "numpy", "pandas", "feed", "httpx", "websockets", "workers.venues.registry"}
    assert "infra.cli" in loaded
    assert not heavy & set(loaded)
