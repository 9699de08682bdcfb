"""`fleet status`"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple
from urllib.parse import urlsplit

import typer
from redis.asyncio import Redis

from common.errors import FleetError
from common.market.timeframes.calendars import is_known
from common.redact import redacted_url
from common.release import RELEASE
from common.settings import Settings, load
from common.store.client import commit_client
from common.store.health import STALE, HealthRules, HealthStanding, mode_of, standing_of
from common.store.presence import Process, processes
from common.store.reads import SymbolReader, View
from common.store.registry import Market, Registry
from common.store.server import ServerInfo, server_info
from infra.cli import tables
from infra.cli.options import DataOption
from infra.cli.tables import Cell, Column, Row
from infra.local import embedded
from infra.local.running import Launch, launches, now_ms
from infra.paths import data_folder

# Of what goes on below `feed` and `store`.
INDENT = 7
READY_TIMEOUT_S = 0.3
OK = 200

PROCESSES = (Column("process"), Column("pid", is_right=True), Column("since (UTC)"), Column("for", is_right=True))
SYMBOLS = (Column("symbol"), Column("mode"), Column("last trade", is_right=True), Column("source"), Column("worker"))
_COLOURS = {"LIVE": "green", "BACKFILLING": "green", "CLOSED": "", "IDLE": "", "STALE": "yellow"}


class SymbolStanding(NamedTuple):
    market: Market
    standing: HealthStanding
    holder: str
    # Of the last commit; None before the first.
    age_ms: int | None


@dataclass(frozen=True, slots=True)
class StoreStanding:
    info: ServerInfo
    processes: list[Process]
    symbols: list[SymbolStanding]


def status(data: DataOption = None) -> None:
    """Show what runs on this machine: where, and since when.

    And of each symbol how it is, and how old its last trade is. Exit code 1 if nothing runs.

    Examples:

    - `fleet status`
    - `fleet status --data /tmp/second`
    """
    settings = load()
    folder = data_folder(data or settings.data_dir)
    own = embedded.locate(folder)
    url = settings.redis_url if data is None and settings.redis_url else own
    found = [launch for _, launch in launches(folder)]
    running = [launch for launch in found if launch.launcher.is_alive]
    console = tables.console()
    for line in [f"fleet {RELEASE}, data in {folder}", *_fleet_lines(found, is_store_ours=own is not None)]:
        tables.print_sentence(console, line, INDENT)
    store = asyncio.run(_look(url, settings)) if url else None
    tables.print_sentence(console, _store_line(url, store), INDENT)
    if running:
        console.print()
        tables.print_table(console, PROCESSES, _process_rows(running))
    elif isinstance(store, StoreStanding) and store.processes and url != own:
        console.print(f"processes of it, here or elsewhere: {_counted(store.processes)}")
    if isinstance(store, StoreStanding) and store.symbols:
        console.print()
        tables.print_table(console, SYMBOLS, map(_symbol_row, store.symbols))
    if not running and not store:
        raise typer.Exit(1)


def age_text(ms: int) -> str:
    """In the two greatest units."""
    seconds = max(0, ms) // 1_000
    for unit_s, unit, part_s, part in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit_s:
            rest = seconds % unit_s // part_s
            return f"{seconds // unit_s} {unit} {rest} {part}" if rest else f"{seconds // unit_s} {unit}"
    return f"{max(0, ms) / 1_000:.1f} s" if seconds < 10 else f"{seconds} s"


def _fleet_lines(found: list[Launch], *, is_store_ours: bool) -> Iterator[str]:
    """`is_store_ours`: the folder's store runs."""
    if not any(launch.launcher.is_alive for launch in found):
        yield "no fleet runs here: infra/up starts one"
    for launch in found:
        launcher = launch.launcher
        if launcher.is_alive:
            ready = "ready" if _is_ready(launch.feed) else "does not answer yet"
            since, age = _utc(launcher.since_ms), age_text(now_ms() - launcher.since_ms)
            yield f"feed   {launch.feed}, {ready}; up since {since} UTC, {age} (launcher {launcher.pid})"
        else:
            left = ", ".join([*launch.left_behind, *["its store"] * is_store_ours])
            yield f"launcher {launcher.pid} was killed, and left {left or 'nothing'} behind: fleet down cleans up"


def _store_line(url: str | None, store: StoreStanding | str | None) -> str:
    if url is None:
        return "store  not running"
    where = redacted_url(url)
    if not isinstance(store, StoreStanding):
        return f"store  {where}: {store}"
    troubles = "".join(f"; {trouble.sentence}" for trouble in store.info.troubles)
    return f"store  {store.info.version}, fsync {store.info.persistence}, {where}{troubles}"


def _process_rows(running: list[Launch]) -> Iterator[Row]:
    for launch in running:
        for name, each in sorted(launch.children.items()):
            age = age_text(now_ms() - each.since_ms) if each.is_alive else "ended"
            yield name, str(each.pid), _utc(each.since_ms), age


def _symbol_row(each: SymbolStanding) -> Row:
    mode, reason = each.standing
    shown = f"{mode} ({reason})" if reason else mode
    age = f"{age_text(each.age_ms)} ago" if each.age_ms is not None else "none yet"
    return each.market.symbol, Cell(shown, _COLOURS.get(mode, "red")), age, each.market.kind, each.holder


async def _look(url: str, settings: Settings) -> StoreStanding | str:
    """What the store has; or why it does not say."""
    async with commit_client(url) as client:
        try:
            info = await server_info(client)
            found = await processes(client)
            markets = await Registry(client).stored_symbols()
            rules = HealthRules(settings.lease_ttl_ms)
            return StoreStanding(info, found, [await _symbol(client, each, rules) for each in markets.values()])
        except FleetError as error:
            return str(error)


async def _symbol(client: Redis, market: Market, rules: HealthRules) -> SymbolStanding:
    view = await SymbolReader(client, market.symbol).view()
    updated_ms = view.state.updated_ms if view.state else 0
    holder = view.owner.holder if view.owner.token else ""
    age_ms = view.server_ms - updated_ms if updated_ms else None
    return SymbolStanding(market, _standing(view, market, rules), holder, age_ms)


def _standing(view: View, market: Market, rules: HealthRules) -> HealthStanding:
    """As health has it; but to look up an exchange's calendar would take a second."""
    instrument = market.instrument
    if mode_of(view, market, rules.lease_ttl_ms) == STALE and not is_known(
        instrument.calendar, instrument.zone, instrument.hours
    ):
        return HealthStanding("quiet", instrument.calendar)
    return standing_of(view, market, rules)


def _is_ready(feed: str) -> bool:
    place = urlsplit(feed)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=READY_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _counted(found: list[Process]) -> str:
    kinds = Counter(process.kind for process in found)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _utc(ts_ms: int) -> str:
    return f"{datetime.fromtimestamp(ts_ms // 1_000, UTC):%Y-%m-%d %H:%M:%S}"
