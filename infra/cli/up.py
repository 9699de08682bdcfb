"""`fleet up`"""

from typing import Annotated

import typer

from common.settings import load
from infra import launcher, markets
from infra.cli.options import DataOption


def up(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="Port the feed listens on. Default: 8700, or PORT.", show_default=False),
    ] = None,
    data: DataOption = None,
    symbols: Annotated[
        str | None,
        typer.Option(
            metavar="none|A,B",
            help="Simulated symbols to run. Default: three of them, if the data holds no symbol yet.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the whole fleet on this machine: store, feed, and one worker per symbol.

    Every commit is on disk under the data folder, and the next run goes on from there. With REDIS_URL set,
    that server is used instead. Ctrl-C stops everything in order.

    Examples:

    - `fleet up`
    - `fleet up --port 9000 --data /tmp/second` beside the first
    - `fleet up --symbols BTCUSD,XRPUSD`
    """
    chosen = markets.parse_choice(symbols)
    wanted = {name: value for name, value in (("port", port), ("data_dir", data)) if value is not None}
    launcher.run(load().model_copy(update=wanted), chosen)
