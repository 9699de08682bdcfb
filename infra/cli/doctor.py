"""`fleet doctor`"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import typer
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from rich.console import Console
from rich.text import Text

from common.errors import ArchiveUnavailable, OperatorError, StoreUnavailable
from common.redact import redacted, redacted_url
from common.series import MINUTE_SERIES
from common.settings import Settings, load
from common.store.calendars import outside_of
from common.store.client import commit_client
from common.store.clock_lease import clock_holder
from common.store.cut import Wrong, wrong_times
from common.store.format import stated_format, symbols_by_format
from common.store.jobs import Jobs
from common.store.keys import SYMBOLS, SymbolKeys
from common.store.presence import processes
from common.store.reads import SymbolReader
from common.store.registry import Market, Registry
from common.store.trade_archive import TRADES
from common.store.upkeep import Upkeep, upkeep_of
from common.store.wanted import WantedFleet
from infra.cli import tables
from infra.cli.agreement import to_write
from infra.cli.options import DataOption, store_url
from infra.cli.tables import Cell, Column, Row, folded
from infra.doctor import checks
from infra.doctor.checks import Finding, Lease, Level
from workers.clock.due import due_work

# A holder beats several times per lease: within half of one it does if it is there, a whole one without a beat means
# that it is gone.
RECENT_SHARE = 0.5
BEAT_POLL_S = 0.1

LEASE_COLUMNS = (
    Column("symbol"),
    Column("lease"),
    Column("holder"),
    Column("epoch", is_right=True),
    Column("beats", is_right=True),
)
# Of what a check has found, and of what to do.
INDENT = 19

_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}

Owners = dict[str, dict[str, str]]


def doctor(data: DataOption = None) -> None:
    """Check the store and the leases, and say what to do. Exit code 1 if a check fails.

    Examples:

    - `fleet doctor`
    - `fleet doctor --data /tmp/second`
    - `REDIS_URL=redis://db.example:6379/0 fleet doctor`
    """
    settings = load()
    url = store_url(settings, data, whatever_it_is=True)
    console = tables.console()
    apart = []
    try:
        # That a store does not answer is found out, and told, below.
        with suppress(StoreUnavailable):
            settings = to_write(settings, url)
    except OperatorError as error:
        apart.append(Finding(Level.FAIL, "settings", str(error), "Until then commands that import do nothing."))
    findings, found = asyncio.run(_examine(settings, url, console))
    findings += apart
    for finding in findings:
        print_finding(console, finding)
    if found:
        tables.print_table(console, LEASE_COLUMNS, map(lease_row, found))
    if any(finding.level is Level.FAIL for finding in findings):
        raise typer.Exit(1)


async def _examine(settings: Settings, url: str, console: Console) -> tuple[list[Finding], list[Lease]]:
    async with commit_client(url) as client:
        try:
            info: Mapping[str, Any] = await client.info("everything")
            reached = Finding(Level.OK, "reachable", redacted_url(url))
            findings = [reached, *_judge(info, await _appendfsync(client)), await _clock(client)]
            findings.append(checks.form(await stated_format(client), await symbols_by_format(client)))
            if findings[-1].level is Level.FAIL:
                # What else there is can't be understood.
                return findings, []
            queue = await _queue(settings.queue_redis_url or url, await clock_holder(client))
            findings += queue
            with console.status("waiting for the workers' heartbeats"):
                found = await _leases(client, settings.lease_ttl_ms / 1_000)
            # After it: a symbol that was just added is given a worker meanwhile.
            findings.append(await _processes(client, settings))
            archiving = settings.archive_url is not None
            trades_kept = settings.trades_kept if settings.archives_trades else None
            findings.append(checks.due(await due_work(client, archiving=archiving, trades_kept=trades_kept)))
            markets = await Registry(client).stored_symbols()
            upkeep = {symbol: await upkeep_of(client, symbol) for symbol in markets}
            findings.append(checks.instruments(markets))
            in_hand = [symbol for symbol, market in markets.items() if not market.is_fed]
            is_at_work = all(finding.level is Level.OK for finding in queue)
            findings.append(checks.behind(upkeep, archiving=archiving, in_hand=in_hand if is_at_work else ()))
            findings.append(checks.trades(upkeep, trades_kept))
            findings.append(checks.scales(upkeep))
            findings.append(await _months(client, markets))
            findings += await _archive(client, settings, markets)
            calendars = {symbol: market.instrument.calendar for symbol, market in markets.items()}
            findings.append(checks.sessions(await outside_of(client, markets), calendars))
            findings.append(checks.times(await _wrong_times(client, markets)))
            return [*findings, checks.leases(found), checks.leftovers(_leftovers(markets, upkeep, found))], found
        except (RedisError, OSError, StoreUnavailable) as error:
            advice = "Start it with infra/up, or check REDIS_URL and the network in between."
            return [Finding(Level.FAIL, "reachable", f"{redacted_url(url)}: {error}", advice)], []


def _judge(info: Mapping[str, Any], appendfsync: str | None) -> Iterator[Finding]:
    yield checks.version(info)
    yield checks.role(info)
    yield checks.persistence(info, appendfsync)
    yield checks.eviction(info)
    yield checks.memory(info)


async def _appendfsync(client: Redis) -> str | None:
    try:
        found: Mapping[Any, Any] = await client.config_get("appendfsync")
    except ResponseError:
        return None
    return next((_text(value) for value in found.values()), None)


async def _processes(client: Redis, settings: Settings) -> Finding:
    wanted = len(await _wanted(client))
    return checks.processes(await processes(client), wanted, settings.symbols_per_worker)


async def _wrong_times(client: Redis, markets: Mapping[str, Market]) -> dict[str, Wrong]:
    found = {}
    for symbol, market in markets.items():
        state = (await SymbolReader(client, symbol).view()).state
        if state and (wrong := wrong_times(market, state)):
            found[symbol] = wrong
    return found


async def _clock(client: Redis) -> Finding:
    before_s = time.time()
    seconds, micros = await client.time()
    # The server read its clock about half way through.
    ours_s = (before_s + time.time()) / 2
    return checks.clock((seconds + micros / 1e6 - ours_s) * 1_000)


async def _queue(url: str, clock: str) -> list[Finding]:
    try:
        async with commit_client(url) as client:
            view = await Jobs(client).view()
    except StoreUnavailable as error:
        advice = "Start it, or check FLEET_QUEUE_REDIS_URL: until then days are neither rolled up nor archived."
        return [Finding(Level.FAIL, "queue", f"{redacted_url(url)}: {error}", advice)]
    found = [checks.queue(view, clock), checks.failed_jobs(view.failures)]
    return [*found, checks.unwritable(view.archive_trouble)] if view.archive_trouble else found


async def _archive(client: Redis, settings: Settings, markets: Mapping[str, Market]) -> list[Finding]:
    """Whether it has what was confirmed; nothing without one."""
    if settings.archive_url is None:
        return []
    archived = [market for symbol, market in markets.items() if await _is_archived(client, symbol)]
    if not archived:
        return [checks.damaged({})]
    # Here, as they load Polars.
    from common.archive.archive import Archive
    from infra.doctor.audit import find_faults

    archive = Archive.open(settings.archive_url, settings.archive_s3_endpoint)
    try:
        return [checks.damaged({market.symbol: await find_faults(client, market, archive) for market in archived})]
    except ArchiveUnavailable as error:
        advice = "What is older than the store keeps is answered with 503 until it is there again."
        return [Finding(Level.FAIL, "archive", str(error), advice)]


async def _is_archived(client: Redis, symbol: str) -> bool:
    """Whether the archive is to have anything of it."""
    keys = SymbolKeys(symbol)
    return bool(await client.exists(*(keys.archived(series) for series in (*MINUTE_SERIES, TRADES))))


async def _months(client: Redis, markets: Mapping[str, Market]) -> Finding:
    # Here, as it loads numpy.
    from infra.doctor import months

    return months.judged(await months.look_at_months(client, markets))


async def _wanted(client: Redis) -> dict[str, Market]:
    """What workers are to serve now."""
    return {symbol: market for symbol, market in (await WantedFleet(client).symbols()).items() if market.is_fed}


def _leftovers(markets: Mapping[str, Market], upkeep: Mapping[str, Upkeep], leases: Sequence[Lease]) -> list[str]:
    """Of replays and imports that were killed before they wrote anything."""
    held = {lease.symbol for lease in leases if lease.held}
    return [
        symbol
        for symbol, market in markets.items()
        if not market.is_fed and upkeep[symbol].watermark_ms < 0 and symbol not in held
    ]


async def _leases(client: Redis, ttl_s: float) -> list[Lease]:
    """Those whose holder has just beaten; the others are watched until they have, for one lease at most.

    So is one that should have a holder: it may just have been added.
    """
    wanted = await _wanted(client)
    names = sorted(_text(name) for name in await client.hkeys(SYMBOLS))
    first = now = await _owners(client, names)
    seconds, micros = await client.time()
    since_ms = seconds * 1_000 + micros // 1_000 - ttl_s * 1_000 * RECENT_SHARE
    beaten = {name for name, owner in first.items() if int(owner.get("beat_ms", 0)) >= since_ms}
    watched = [name for name in names if (_held(first[name]) or name in wanted) and name not in beaten]
    deadline_s = time.monotonic() + ttl_s
    while time.monotonic() < deadline_s and any(now[name] == first[name] for name in watched):
        await asyncio.sleep(BEAT_POLL_S)
        now = await _owners(client, names)
    beaten |= {name for name in names if now[name] != first[name]}
    return [_lease(name, now[name], is_beating=name in beaten, is_wanted=name in wanted) for name in names]


async def _owners(client: Redis, names: list[str]) -> Owners:
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.hgetall(SymbolKeys(name).owner)
    return {
        name: {_text(field): _text(value) for field, value in owner.items()}
        for name, owner in zip(names, await pipeline.execute(), strict=True)
    }


def _held(owner: Mapping[str, str]) -> bool:
    # A release leaves an empty token behind.
    return bool(owner.get("token"))


def _lease(symbol: str, now: Mapping[str, str], *, is_beating: bool, is_wanted: bool) -> Lease:
    return Lease(
        symbol=symbol,
        holder=now.get("holder", ""),
        epoch=now.get("epoch", ""),
        beats=now.get("beats", ""),
        held=_held(now),
        beating=is_beating,
        wanted=is_wanted,
    )


def print_finding(console: Console, finding: Finding) -> None:
    width = console.width - INDENT
    first, *more = folded(redacted(finding.found), width) + (folded(finding.advice, width) if finding.advice else [])
    label = Text().append(f"{finding.level.value:<5}", _COLOURS[finding.level]).append(f" {finding.what:<12} ")
    console.print(label.append(first))
    for line in more:
        console.print(Text(" " * INDENT + line))


def lease_row(lease: Lease) -> Row:
    colour = "yellow" if lease.is_troubled else "green"
    return lease.symbol, Cell(lease.state, colour), lease.holder, lease.epoch, lease.beats


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
