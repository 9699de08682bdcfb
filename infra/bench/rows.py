"""Every row of the bench, by its name."""

from collections.abc import Callable

from infra.bench import (
    archive,
    backup,
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
    orderflow,
    past,
    peers,
    replay,
    rollup,
    sparse,
    start,
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
    "orderflow": orderflow.measure,
    "memory": memory.measure,
    "crowd": crowd.measure,
    "command": command.measure,
    "start": start.measure,
    "backup": backup.measure,
    "peers": peers.measure,
}
