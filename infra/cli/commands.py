"""All commands of `fleet`, and what its exit codes mean."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from common.errors import BadInput, FleetError
from common.release import RELEASE
from infra.cli.interrupts import begin
from infra.cli.lazy import LazyCommand, lazy_group

COMMANDS = {
    "up": LazyCommand(
        "infra.cli.up:up", "Run the whole fleet on this machine: store, feed, and one worker per symbol."
    ),
    "replay": LazyCommand(
        "infra.cli.replay:replay", "Replay recorded trades through the same worker, lease and commit as live ones."
    ),
    "push": LazyCommand(
        "infra.cli.push:push", "Push a trade into a symbol's inbox; without a price, those of standard input."
    ),
    "watch": LazyCommand(
        "infra.cli.watch:watch",
        "Show live candles of a symbol. On a terminal as a table, else one JSON object a line. Ctrl-C ends it.",
    ),
    "status": LazyCommand("infra.cli.status:status", "Show what runs on this machine: where, and since when."),
    "down": LazyCommand(
        "infra.cli.down:down", "Stop the fleet of a data folder, also what a killed launcher has left behind."
    ),
    "backup": LazyCommand("infra.cli.backup:backup", "Copy the data folder while the fleet runs, as of one moment."),
    "move": LazyCommand(
        "infra.cli.move:move", "Move the whole store to another place: from a data folder to a Redis, or back."
    ),
    "rebuild": LazyCommand(
        "infra.cli.rebuild:rebuild", "Have days of a symbol rolled up, sealed and archived anew, out of their minutes."
    ),
    "settings": LazyCommand(
        "infra.cli.settings:show", "Show every setting: its environment variable, value, default and meaning."
    ),
    "upgrade": LazyCommand(
        "infra.cli.upgrade:upgrade",
        "Let the store be written in this release's form, the last step of an upgrade of a running fleet.",
    ),
    "doctor": LazyCommand(
        "infra.cli.doctor:doctor", "Check the store and the leases, and say what to do. Exit code 1 if a check fails."
    ),
    "quote": LazyCommand(
        "infra.cli.prices:quote", "Show the last price of symbols, and the best bid and ask of those that have a book."
    ),
    "candles": LazyCommand("infra.cli.prices:candles", "Show the newest candles of a symbol, as they are now."),
    "footprint": LazyCommand(
        "infra.cli.flow:footprint", "Show the newest bars of a symbol with what was sold and bought at each price."
    ),
    "profile": LazyCommand(
        "infra.cli.flow:profile", "Show how much was traded at each price in the newest session of a symbol."
    ),
    "indicators": LazyCommand("infra.cli.flow:indicators", "Show indicators of the newest bars of a symbol."),
    "import": LazyCommand("infra.cli.imports:app", "Import files in bulk: history by the day, faster than a replay."),
    "export": LazyCommand("infra.cli.export:app", "Export candles or kept trades to a file."),
    "symbols": LazyCommand("infra.cli.symbols:app", "The symbols the fleet is to run: list, add, remove."),
    "calendars": LazyCommand(
        "infra.cli.calendars:app", "When markets trade otherwise than the calendar library knows: list, add, drop."
    ),
    "store": LazyCommand("infra.cli.store:app", "The store itself: its address, and any command of Redis on it."),
    "jobs": LazyCommand("infra.cli.jobs:app", "The roll-up queue: what waits, runs or has failed."),
    "archive": LazyCommand(
        "infra.cli.archive:app", "The archive: list what is there, verify that it is what it should be."
    ),
    "bench": LazyCommand(
        "infra.bench.report:bench",
        "Measure every figure the project claims, each row on a store and processes of its own.",
    ),
    "token": LazyCommand("infra.cli.tokens:app", "Tokens for the feed."),
}


def _print_release(is_asked: bool) -> None:
    if is_asked:
        print(f"fleet {RELEASE}")
        raise typer.Exit


def _fleet(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_release, is_eager=True, help="Print which release this is, and end."),
    ] = False,
    env: Annotated[
        Path | None,
        typer.Option(
            "--env",
            metavar="FILE",
            resolve_path=True,
            show_default=False,
            help="Settings, lines of NAME=value; the environment wins. Default: fleet.env in the data folder.",
        ),
    ] = None,
) -> None:
    """The group's own options; `env` is read before the command is (`_begin`)."""


def _begin(options: Mapping[str, Any], arguments: list[str]) -> None:
    """Before any command: its settings are those of the file that was named, or of its data folder."""
    begin()
    # Not above: a help needs no settings.
    from infra.cli import own_settings

    own_settings.take_in(options.get("env"), arguments)


app = lazy_group(
    COMMANDS,
    _fleet,
    _begin,
    help="Market data: trades in, candles and footprints out.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    # A bug shows Python's own traceback: it is what one can search for and paste.
    pretty_exceptions_enable=False,
)


def run() -> None:
    """Exit code 0: done; 1: it failed; 2: the user asked for something that can't be; 130: Ctrl-C.

    3, of a replay and an import: done, but trades were refused because of others under their ids.
    """
    try:
        app()
    except FleetError as error:
        print(f"fleet: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, BadInput) else 1)
