"""`fleet up`"""

from typing import Annotated

import typer

from common.settings import load
from infra.cli.options import DataOption
from infra.local import launcher, markets, venues
from workers.venues.names import VENUE_NAMES


def up(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SYMBOL",
            help="Symbols of the venue, by its own names: BTCUSDT at Binance, BTC-USD at Coinbase, XBT-USD at Kraken.",
            show_default=False,
        ),
    ] = None,
    venue: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Where the symbols are traded: {', '.join(VENUE_NAMES).lower()}. "
            "local is a simulated exchange on this machine, with BTCUSDT and ETHUSDT unless others are named.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="Port the feed listens on. Default: 8700, or PORT.", show_default=False),
    ] = None,
    data: DataOption = None,
    symbols: Annotated[
        str | None,
        typer.Option(
            metavar="none|A,B",
            help="Simulated symbols to run. Default: three of them, if the data holds none yet; none with --venue.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the whole fleet on this machine: store, feed, and one worker per symbol.

    Every commit is on disk under the data folder, and the next run goes on from there. With REDIS_URL set,
    that server is used instead. Ctrl-C stops everything in order.

    A venue is asked for a symbol's decimals once, when the symbol is new; from then on `fleet up` runs it.

    Examples:

    - `fleet up`
    - `fleet up --port 9000 --data /tmp/second` beside the first
    - `fleet up --symbols BTCUSD,XRPUSD`
    - `fleet up --venue binance BTCUSDT ETHUSDT`
    - `fleet up --venue local`
    """
    of_venues = venues.parse_choice(venue, names or ())
    simulated = markets.parse_choice("none" if symbols is None and of_venues else symbols)
    wanted = {name: value for name, value in (("port", port), ("data_dir", data)) if value is not None}
    launcher.run(load().model_copy(update=wanted), launcher.WantedMarkets(simulated, of_venues))
