"""The `fleet` command. One module per subcommand; a new one is written beside these and listed in `commands.py`."""

from infra.cli.interrupts import ending_at_once


def main() -> None:
    with ending_at_once():
        # Not above: it takes a fifth of a second and more, and a Ctrl-C meanwhile would show a traceback.
        from infra.cli.commands import run

        run()
