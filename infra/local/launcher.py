"""`fleet up`: the store, the markets, then the Procfile's processes under the supervisor."""

import asyncio
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from common import settings as settings_module
from common.errors import OperatorError, StoreUnavailable
from common.redact import redacted_url
from common.settings import Settings
from common.store.agreed import Agreed, agree
from common.store.client import commit_client
from common.store.jobs import Jobs
from common.store.presence import workers_wanted
from common.store.registry import open_store
from common.store.server import StoreWatch, admit
from common.store.upgrading import upgrade
from common.store.wanted import WantedFleet
from feed.access import Access
from infra import private
from infra.local import embedded, local_exchange, markets, preflight, procfile, venues
from infra.local.child import Output, run_to_its_end
from infra.local.local_exchange import LocalExchange
from infra.local.running import LaunchRecord, recorded
from infra.local.supervisor import STOP_SIGNALS, Supervisor, SupervisorHooks, handled
from infra.paths import ROOT, data_folder
from workers.venues.names import LOCAL

# A feed that has not answered by then is asked again.
READY_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class WantedMarkets:
    """`simulated`: the symbols asked for, None for the default. `of_venues`: symbols such as `BINANCE:BTCUSDT`."""

    simulated: Sequence[str] | None = None
    of_venues: Sequence[str] = ()


def run(settings: Settings, wanted: WantedMarkets) -> None:
    """Run the fleet until it is told to stop."""
    # What the feed would refuse to start with stops us before anything is started.
    Access.of(settings)
    check_port_free(settings.host, settings.port)
    commands = procfile.read(ROOT / "Procfile")
    for sentence in preflight.warnings(settings):
        print(f"warning: {sentence}", file=sys.stderr, flush=True)
    # Before and after the supervisor's own handlers every stop signal ends us as Ctrl-C does: through `finally`.
    with handled(STOP_SIGNALS, signal.default_int_handler), _store(settings) as url, _recorded(settings, url) as record:
        asyncio.run(_supervise(settings, url, commands, wanted, record))


def check_port_free(host: str, port: int, way_out: str = "choose another with --port", who: str = "the feed") -> None:
    """Raise OperatorError if it can't be listened on. Asked before anything is started."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: else a port whose last connection has just ended looks taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OperatorError(f"port {port} on {host} is taken: stop what listens there, or {way_out}") from None
        raise OperatorError(f"{who} can't listen on {host} port {port}: {error.strerror}") from None


def child_environ(settings: Settings, url: str, *, text_logs: bool) -> dict[str, str]:
    """What every process of the fleet finds in its environment."""
    variable = settings_module.variable
    found = {
        variable("redis_url"): url,
        variable("host"): settings.host,
        variable("port"): str(settings.port),
        variable("data_dir"): str(data_folder(settings.data_dir)),
        # The commands of a Procfile say `python`: ours.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        # Else what a process prints stays in its buffer until it ends.
        "PYTHONUNBUFFERED": "1",
    }
    if settings.archive_url:
        # A relative folder is of the shell's, and a process has another.
        found[variable("archive_url")] = settings.archive_url
    if text_logs and settings.log_format == "auto":
        # To a process our pipe is no terminal; we know that a person reads along.
        found[variable("log_format")] = "text"
    # The token is the client's, not the fleet's.
    ours = {name: value for name, value in os.environ.items() if name != settings_module.TOKEN}
    return {**ours, **found}


async def feed_is_ready(host: str, port: int) -> bool:
    """Does `GET /readyz` answer 200?"""
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(_local(host), port)
            try:
                writer.write(_look(f"{_local(host)}:{port}").encode())
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return b" 200 " in status


def _look(authority: str) -> str:
    """The request. `/readyz` is open, but what stands before a feed may want the token, too."""
    token = os.environ.get(settings_module.TOKEN)
    headers = [f"Host: {authority}", "Connection: close", *([f"Authorization: Bearer {token}"] if token else [])]
    return "\r\n".join(["GET /readyz HTTP/1.1", *headers, "", ""])


def _store(settings: Settings) -> AbstractContextManager[str]:
    if settings.redis_url:
        return nullcontext(settings.redis_url)
    return embedded.session(data_folder(settings.data_dir), settings.durability)


def _recorded(settings: Settings, url: str) -> AbstractContextManager[LaunchRecord]:
    return recorded(data_folder(settings.data_dir), _address(settings), redacted_url(url))


async def _supervise(
    settings: Settings, url: str, commands: dict[str, str], wanted: WantedMarkets, record: LaunchRecord
) -> None:
    async with commit_client(url) as client:
        await admit(client, unsafe=settings.unsafe_store)
        await _agree(client, settings)
        await _note_archive(settings, url)
        if not settings.redis_url:
            # All that works on this store is started by us; but for a replay or an import, which may be of before.
            with suppress(OperatorError):
                await upgrade(client, settings.lease_ttl_ms)
    folder, environ = data_folder(settings.data_dir), child_environ(settings, url, text_logs=sys.stdout.isatty())
    exchange, helpers = await _local_exchange(url, folder, wanted.of_venues)
    output = Output(sys.stdout.buffer)

    async def prepare() -> None:
        if exchange:
            output.plain(f"{LOCAL}: a simulated exchange at {exchange.rest_url}")
        await _begin_simulated(settings, url, wanted.simulated, environ, output)
        await venues.register(url, wanted.of_venues, folder)

    async def wanted_workers() -> int:
        return workers_wanted(await markets.served(fleet), settings.symbols_per_worker, settings.spares)

    async def ready_line() -> str | None:
        if not await feed_is_ready(settings.host, settings.port):
            return None
        return _announcement(settings, url, await markets.symbols(url))

    async def keep_store() -> None:
        if not settings.redis_url:
            # In a thread: it waits for a server that reads its data.
            last_words = await asyncio.to_thread(embedded.revive, folder, settings.durability)
            if last_words:
                # The first time since it was told: where it ends again and again, its log may be full, too.
                fallen.setdefault("fallen", f"the store had ended and runs again, it said last: {last_words}")

    async def complaints() -> Mapping[str, str]:
        ended = dict(fallen)
        fallen.clear()
        with suppress(StoreUnavailable):
            await watch.look()
        return ended | {trouble.what: trouble.sentence for trouble in watch.troubles}

    async with commit_client(url) as client:
        fleet, watch = WantedFleet(client), StoreWatch(client, time.monotonic)
        fallen: dict[str, str] = {}
        await Supervisor(
            commands=commands,
            environ=environ,
            cwd=ROOT,
            output=output,
            hooks=SupervisorHooks(wanted_workers, ready_line, keep_store, prepare, complaints, record.note),
            helpers=helpers,
            counts={"rollup": settings.rollup_processes},
        ).run()


async def _begin_simulated(
    settings: Settings, url: str, chosen: Sequence[str] | None, environ: Mapping[str, str], output: Output
) -> None:
    """Register the simulated markets that are new, with a past; without one where that can't be made."""
    new, are_begun = await markets.lacking(url, chosen)
    if new and (settings.simulated_days or are_begun):
        output.plain("making the past of simulated markets, this first time")
        code = await run_to_its_end(
            markets.past_command(new), environ=environ, cwd=ROOT, emit=lambda line: output.line("fleet", line)
        )
        if code:
            output.plain(f"the past of simulated markets could not be made (exit code {code}): they begin now")
    await markets.register(url, new)


async def _agree(client: Redis, settings: Settings) -> None:
    """Leave in the store what its commands must agree on, and say what is another than it was."""
    ours = Agreed.of(settings.model_dump())
    before = await agree(client, ours)
    if before and before.archive_url and before.archive_url != ours.archive_url:
        now = redacted_url(ours.archive_url) if ours.archive_url else "nothing"
        print(f"archive: {now} from now on, {redacted_url(before.archive_url)} is not written any more", flush=True)
    for name in ("candle_days", "footprint_days"):
        days, until_now = getattr(ours, name), getattr(before, name, 0)
        if days < until_now:
            minutes = f"{name.removesuffix('_days')}s"
            print(
                f"{minutes}: kept for {days:,} days from now on, not {until_now:,}: what is older is dropped",
                flush=True,
            )


async def _note_archive(settings: Settings, url: str) -> None:
    """What the first job would find out: health has it from the start, and no process tells it once more."""
    trouble = preflight.archive_trouble(settings)
    with suppress(StoreUnavailable):
        async with commit_client(settings.queue_redis_url or url) as client:
            await (Jobs(client).archive_fails(trouble) if trouble else Jobs(client).archive_works())


async def _local_exchange(
    url: str, folder: Path, of_venues: Sequence[str]
) -> tuple[LocalExchange | None, dict[str, str]]:
    """The exchange of the data folder, if a symbol asked for or registered is traded there, and how it is run."""
    asked = [place.name for symbol in of_venues if (place := venues.place_of(symbol)) and place.venue == LOCAL]
    exchange = local_exchange.placed(folder) if asked else local_exchange.found(folder)
    if exchange is None:
        return None, {}
    private.mend(exchange.folder)
    async with open_store(url) as store:
        names = venues.local_names(await store.symbols(), exchange) + asked
    if not names:
        return None, {}
    command = exchange.command(list(dict.fromkeys(names)))
    check_port_free(
        local_exchange.HOST, exchange.port, f"move the local exchange by removing {exchange.folder} and its symbols"
    )
    return exchange, {"exchange": command}


def _announcement(settings: Settings, url: str, symbols: Sequence[str]) -> str:
    where = redacted_url(url) if settings.redis_url else str(data_folder(settings.data_dir))
    names = ", ".join(symbols) or "no symbols yet"
    return f"Fleet ready: {_address(settings)}  symbols: {names}  data: {where}"


def _address(settings: Settings) -> str:
    host = _local(settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _local(host: str) -> str:
    """An address to reach from this machine a feed that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
