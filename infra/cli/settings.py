"""`fleet settings`"""

from common.settings import explain, load
from infra.cli import tables
from infra.cli.tables import Column, Row

COLUMNS = (
    Column("variable"),
    Column(""),
    Column("value", folds=True),
    Column("default", folds=True),
    Column("meaning", folds=True),
)


def show() -> None:
    """Show every setting: its environment variable, value, default and meaning.

    A changed value is marked with `*`. Any other variable that begins with FLEET_ stops the start.

    Example:

    - `FLEET_LEASE_TTL_MS=3000 fleet settings`
    """
    rows = list[Row]()
    for variable, value, default, meaning in explain(load()):
        rows.append((variable, "*" if value != default else "", value, default, meaning))
    tables.print_table(tables.console(), COLUMNS, rows)
