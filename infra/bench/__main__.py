"""`python -m infra.bench [ROW ...]`: print the table."""

from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from infra.bench import (
    archive,
    candles,
    command,
    crowd,
    fleet,
    frames,
    history,
    holes,
    imports,
    latency,
    memory,
    past,
    replay,
    rollup,
    sparse,
    venue,
    worker,
    year,
)
from infra.bench.base import Figure

ROWS: dict[str, Callable[[], list[Figure]]] = {
    "replay": replay.measure,
    "holes": holes.measure,
    "import": imports.measure,
    "sparse": sparse.measure,
    "rollup": rollup.measure,
    "latency": latency.measure,
    "candles": candles.measure,
    "history": history.measure,
    "worker": worker.measure,
    "fleet": fleet.measure,
    "frames": frames.measure,
    "venue": venue.measure,
    "archive": archive.measure,
    "year": year.measure,
    "past": past.measure,
    "memory": memory.measure,
    "crowd": crowd.measure,
    "command": command.measure,
}


def bench(
    rows: Annotated[
        list[str] | None, typer.Argument(metavar="[ROW...]", help=f"Of {', '.join(ROWS)}. Default: all.")
    ] = None,
) -> None:
    """Measure, each row on a store and processes of its own, and print what was asked for and what was found."""
    unknown = [name for name in rows or [] if name not in ROWS]
    if unknown:
        raise typer.BadParameter(f"no row {unknown[0]!r}, expected {', '.join(ROWS)}")
    table = Table("what", "target", "measured", "", title="python -m infra.bench")
    with Console(stderr=True).status("measuring") as status:
        for name in rows or ROWS:
            status.update(f"measuring {name}")
            for figure in ROWS[name]():
                verdict = "" if figure.met is None else "ok" if figure.met else "MISSED"
                table.add_row(figure.what, figure.target, figure.measured, verdict)
    Console().print(table)


if __name__ == "__main__":
    typer.run(bench)
