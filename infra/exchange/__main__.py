"""`python -m infra.exchange`"""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from common import log
from common.clock import SystemClock
from common.errors import BadInput, FleetError
from infra.exchange.exchange import Exchange
from infra.exchange.journal import Journal
from infra.exchange.listing import listing_of
from infra.exchange.market import ExchangeMarket
from infra.exchange.recording import Recording
from infra.exchange.rules import Rules
from infra.exchange.server import serving
from infra.exchange.simulation import Simulation

HOUR_MS = 60 * 60 * 1_000
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def exchange(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on 127.0.0.1. 0: any free one.")] = 8790,
    symbols: Annotated[str, typer.Option(metavar="A,B", help="Simulated markets.")] = "BTCUSDT,ETHUSDT",
    speed: Annotated[
        float, typer.Option(min=0, max=10_000, help="Market time per wall time. 0: only /_admin/time moves it.")
    ] = 1.0,
    history_hours: Annotated[
        float, typer.Option(min=0, max=48, help="What a simulated market has behind it at the start.")
    ] = 1.0,
    orders: Annotated[
        float, typer.Option(min=0.01, max=1_000, help="Taker orders per second and simulated market, in quiet times.")
    ] = 3.0,
    seed: Annotated[int, typer.Option(help="Of the simulation: the same seed and start are the same market.")] = 1,
    recording: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Play recorded trades instead: CSV, Parquet or stream frames. Give it again for the next file.",
            show_default=False,
        ),
    ] = None,
    recorded_symbol: Annotated[str, typer.Option(help="Symbol of the recording.")] = "BTCUSDT",
    price_decimals: Annotated[
        int | None, typer.Option(min=0, max=8, help="Of the recording. Default: as on the venue.", show_default=False)
    ] = None,
    size_decimals: Annotated[
        int | None, typer.Option(min=0, max=8, help="Of the recording. Default: as on the venue.", show_default=False)
    ] = None,
    keep_times: Annotated[
        bool, typer.Option("--keep-times", help="Play the recording at its own time, not from now on.")
    ] = False,
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Keep simulated markets there; started again, they go on with the same trades and ids.",
            show_default=False,
        ),
    ] = None,
    weight_limit: Annotated[int, typer.Option(min=1, help="Request weight per IP and minute.")] = Rules().weight_limit,
    token: Annotated[
        str | None, typer.Option(help="Of the admin surface. Default: a new one each time.", show_default=False)
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
) -> None:
    """Run a local exchange: Binance spot's REST and WebSocket format on one loopback port.

    Prints its addresses, one a line, and serves until SIGINT or SIGTERM; clients get the venue's shutdown notice.
    Faults are injected and the truth is read at the admin address (infra/exchange/admin.py lists its routes).

    Examples:

    - `python -m infra.exchange --symbols BTCUSDT,ETHUSDT`
    - `python -m infra.exchange --speed 60 --history-hours 0.5`
    - `python -m infra.exchange --journal /tmp/exchange`
    - `python -m infra.exchange --recording ethusdt.gz --recorded-symbol ETHUSDT --keep-times`
    """
    log.setup(log_level)
    rules = Rules(weight_limit=weight_limit)
    start_ms, kept = None, None
    if recording and journal:
        raise BadInput("--journal keeps simulated markets: leave it out with --recording")
    if recording:
        listing = listing_of(recorded_symbol, price_decimals, size_decimals)
        markets = [ExchangeMarket(Recording(listing, list(recording), seed), rules)]
        start_ms = None if keep_times else SystemClock().now_ms()
        history_ms = 0
    else:
        names = [name.strip().upper() for name in symbols.split(",")]
        if len(set(names)) < len(names):
            raise BadInput(f"symbols {symbols!r} names one twice")
        markets = [ExchangeMarket(Simulation(listing_of(name), seed, orders), rules) for name in names]
        history_ms = int(history_hours * HOUR_MS)
        kept = Journal(journal, history_ms) if journal else None
    made = Exchange(markets, start_ms=start_ms, history_ms=history_ms, speed=speed, rules=rules, journal=kept)
    asyncio.run(_serve(made, port, token, catches_up=bool(speed and not recording)))


async def _serve(made: Exchange, port: int, token: str | None, *, catches_up: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    async with serving(made, port, token) as address:
        if catches_up:
            # Its history and the start took a while: the market's time is ours when the first client comes.
            made.advance(max(0, made.clock.now_ms() - made.now_ms))
        print(f"rest {address.rest}\nws {address.ws}\nadmin {address.admin}\ntoken {address.token}", flush=True)
        await stop.wait()


def main() -> None:
    """Exit code 0: stopped in order; 1: it failed; 2: the user asked for something that can't be."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(exchange)
    try:
        app(prog_name="python -m infra.exchange")
    except FleetError as error:
        print(f"exchange: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, BadInput) else 1)


if __name__ == "__main__":
    main()
