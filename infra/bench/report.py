"""`fleet bench`: rows measured, beside those of another release if asked for, as a table or as JSON."""

import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from common.errors import BadInput
from infra.bench.comparison import FigurePair, compare
from infra.bench.release import HERE, Release, release
from infra.bench.rows import ROWS

RowsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[ROW...]", help=f"Of {', '.join(ROWS)}. Default: all.")
]
AgainstOption = Annotated[
    str | None,
    typer.Option(metavar="REV", help="Measure that commit as well, in turns with this one, and print the ratios."),
]
RoundsOption = Annotated[int, typer.Option(min=1, help="How often each row is measured; medians count.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object a figure instead of a table.")]


def bench(
    rows: RowsArgument = None, against: AgainstOption = None, rounds: RoundsOption = 1, as_json: JsonOption = False
) -> None:
    """Measure every figure the project claims, each row on a store and processes of its own.

    Machines are noisy: trust the ratios of `--against`, not the times.

    Example: `fleet bench replay latency --against main~5 --rounds 3`
    """
    unknown = [name for name in rows or [] if name not in ROWS]
    if unknown:
        raise BadInput(f"no row {unknown[0]!r}, expected {', '.join(ROWS)}")
    measured: list[tuple[str, FigurePair]] = []
    with ExitStack() as stack, Console(stderr=True).status("measuring") as status:
        earlier = stack.enter_context(release(against)) if against else None
        for row in rows or ROWS:
            for each in _measure(row, earlier, rounds, status.update):
                measured.append((row, each))
                if as_json:
                    print(json.dumps({"row": row, **asdict(each)}), flush=True)
    if not as_json:
        Console().print(_table(measured, against))


def _measure(row: str, earlier: Release | None, rounds: int, tell: Callable[[str], None]) -> list[FigurePair]:
    """In turns: what else the machine does is then met by both."""
    now, then = [], []
    for number in range(1, rounds + 1):
        if earlier:
            tell(f"measuring {row} of the earlier release, round {number} of {rounds}")
            then.append(earlier.measure(row))
        tell(f"measuring {row}, round {number} of {rounds}")
        now.append(HERE.measure(row) if earlier else ROWS[row]())
    return compare(now, then)


def _table(measured: Iterable[tuple[str, FigurePair]], against: str | None) -> Table:
    columns = ["what", "target", "measured", ""]
    if against:
        columns += [against, "times as good"]
    table = Table(*columns, title="fleet bench")
    for _, each in measured:
        figure = each.now
        verdict = "" if figure.met is None else "ok" if figure.met else "MISSED"
        cells = [figure.what, figure.target, figure.measured, verdict]
        if against:
            cells += [each.then.measured if each.then else "", ", ".join(f"{ratio:.2f}" for ratio in each.ratios)]
        table.add_row(*cells)
    return table
