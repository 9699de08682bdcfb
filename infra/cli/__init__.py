"""The `fleet` command. One module per subcommand; a new one is written beside these and registered below."""

import sys

import typer

from common.errors import BadInput, FleetError
from infra.cli import (
    archive,
    calendars,
    change,
    doctor,
    export,
    imports,
    jobs,
    rebuild,
    replay,
    settings,
    symbols,
    tokens,
    up,
    upgrade,
    watch,
)

app = typer.Typer(
    help="Market data: trades in, candles and footprints out.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    # A bug shows Python's own traceback: it is what one can search for and paste.
    pretty_exceptions_enable=False,
)
app.command("up")(up.up)
app.command("replay")(replay.replay)
app.add_typer(imports.app, name="import")
app.add_typer(export.app, name="export")
app.command("watch")(watch.watch)
app.add_typer(symbols.app, name="symbols")
symbols.app.command("change")(change.change)
app.add_typer(calendars.app, name="calendars")
app.add_typer(jobs.app, name="jobs")
app.add_typer(archive.app, name="archive")
app.command("rebuild")(rebuild.rebuild)
app.add_typer(tokens.app, name="token")
app.command("settings")(settings.show)
app.command("upgrade")(upgrade.upgrade)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Exit code 0: done; 1: it failed; 2: the user asked for something that can't be; 130: Ctrl-C.

    3, of a replay and an import: done, but trades were refused because of others under their ids.
    """
    try:
        app()
    except FleetError as error:
        print(f"fleet: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, BadInput) else 1)
