"""`fleet settings`"""

from collections.abc import Iterator
from typing import Annotated

import typer

from common.settings import Settings, explain, load
from infra.cli import tables
from infra.cli.options import DataOption
from infra.cli.tables import Column, Row

COLUMNS = (
    Column("variable"),
    Column(""),
    Column("value", folds=True),
    Column("default", folds=True),
    Column("meaning", folds=True),
)


def show(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print all settings as docs/configuration.md has them, and no value.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Show every setting: its environment variable, value, default and meaning.

    A changed value is marked with `*`: the environment or fleet.env in the data folder says so. Any other variable that
    begins with FLEET_ stops the start.

    Example:

    - `FLEET_LEASE_TTL_MS=3000 fleet settings`
    """
    if markdown:
        for line in _markdown():
            print(line)
        return
    rows = list[Row]()
    for variable, value, default, meaning in explain(load()):
        rows.append((variable, "*" if value != default else "", value, default, meaning))
    tables.print_table(tables.console(), COLUMNS, rows)


def _markdown() -> Iterator[str]:
    yield from ("| variable | default | meaning |", "|---|---|---|")
    # As if nothing were set.
    for variable, _, default, meaning in explain(Settings.model_construct()):
        shown = "" if default in ("", "(unset)") else f"`{default}`"
        yield f"| `{variable}` | {shown} | {meaning.replace('|', chr(92) + '|')} |"
