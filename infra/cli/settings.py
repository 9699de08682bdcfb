"""`fleet settings`"""

from rich.console import Console
from rich.table import Table

from common.settings import explain, load


def show() -> None:
    """Show every setting: its environment variable, value, default and meaning.

    A changed value is marked with `*`. Any other variable that begins with FLEET_ stops the start.

    Example:

    - `FLEET_LEASE_TTL_MS=3000 fleet settings`
    """
    table = Table("variable", "", "value", "default", "meaning", box=None, pad_edge=False)
    for variable, value, default, meaning in explain(load()):
        table.add_row(variable, "*" if value != default else "", value, default, meaning)
    Console().print(table)
