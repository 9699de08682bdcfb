"""What a book's history is read from: the coarsest tiles that suit the grid asked for, and the minutes between them.

Tiles suit a grid whose buckets and rows are multiples of theirs. Where nothing that suits it is kept any more, the
question is to be asked again, as coarse as what is kept (`DepthPlan.coarser`): never an empty picture of what is known.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from redis.asyncio import Redis

from common.byte_lru import ByteLru
from common.errors import BadInput
from common.frames.depth_minute import DepthMinute
from common.frames.depth_tile import DepthTile
from common.frames.depth_tile_codec import TileLabel, unpack_tile
from common.frames.folded import Source, folded
from common.frames.liquidity import CellGrid, CellKind, Liquidity, liquidity
from common.market.rescaling import Unfit
from common.market.scale import Scale, Scales
from common.market.timeframes.timeframe import MINUTE_MS
from common.store.depth_tiles import DepthTileStore
from common.tiles import DEPTH_LEVELS, TileLevel
from feed.reading.bounds import without
from feed.reading.budget import QueryBudget
from feed.reading.depth_minutes import DepthMinutes

# Two weeks of a busy book by five minutes take some 45 MB.
MAX_BYTES = 96 << 20
# Of one question, before any is opened: a day of a busy book by 30 s, and what belongs to it.
MAX_TILE_CELLS = 16_000_000

Labels = Mapping[TileLevel, Mapping[int, TileLabel]]


class LabelledTile(NamedTuple):
    level: TileLevel
    open_ms: int
    label: TileLabel

    @property
    def end_ms(self) -> int:
        return self.open_ms + self.level.span_ms


class Coarser(NamedTuple):
    """What a grid is to be a multiple of, to show what is kept."""

    bucket_ms: int
    row_ticks: int


class Untiled(NamedTuple):
    """A time that no tile has, and the minutes of it."""

    from_ms: int
    until_ms: int
    minutes: Sequence[DepthMinute] = ()

    def has_minutes(self, from_ms: int, until_ms: int) -> bool:
        return any(from_ms - MINUTE_MS < minute.open_ms < until_ms for minute in self.minutes)


@dataclass(frozen=True, slots=True)
class DepthPlan:
    """`tiles` and `gaps`: each ascending, neither has a time of another."""

    tiles: Sequence[LabelledTile]
    gaps: Sequence[Untiled]
    labels: Labels

    @property
    def prices(self) -> tuple[int | None, int | None]:
        """The lowest and the highest of which anything is known."""
        lows = [tile.label.low_ticks for tile in self.tiles]
        highs = [tile.label.high_ticks for tile in self.tiles]
        spans = [span for gap in self.gaps for minute in gap.minutes for span in minute.spans]
        lows += [span[2] for span in spans]
        highs += [span[3] for span in spans]
        return min(lows, default=None), max(highs, default=None)

    def coarser(self) -> Coarser | None:
        """The finest tile of a gap that has no minutes; None: all that is kept is in the plan."""
        found = [
            (level.bucket_ms, tile.row_ticks)
            for level, tiles in self.labels.items()
            for open_ms, tile in tiles.items()
            if any(self._lacks(gap, level, open_ms) for gap in self.gaps)
        ]
        return Coarser(*min(found)) if found else None

    @staticmethod
    def _lacks(gap: Untiled, level: TileLevel, open_ms: int) -> bool:
        from_ms, until_ms = max(gap.from_ms, open_ms), min(gap.until_ms, open_ms + level.span_ms)
        return from_ms < until_ms and not gap.has_minutes(from_ms, until_ms)


def suiting(labels: Labels, times: CellGrid, row_ticks: int | None) -> tuple[list[LabelledTile], list[Untiled]]:
    """The coarsest tiles whose columns, and rows where their height is known, nest in those of the grid; and the rest.

    A span is a whole number of those of finer levels, so a tile fits into a gap or has nothing of it.
    """
    gaps, found = [(times.t0_ms, times.end_ms)], list[LabelledTile]()
    for level in sorted(labels, key=lambda level: -level.bucket_ms):
        if times.bucket_ms % level.bucket_ms:
            continue
        for open_ms, label in labels[level].items():
            if row_ticks is not None and row_ticks % label.row_ticks:
                continue
            tile = LabelledTile(level, open_ms, label)
            left = [piece for gap in gaps for piece in without(gap, [(tile.open_ms, tile.end_ms)])]
            if left != gaps:
                gaps, found = left, [*found, tile]
    return sorted(found, key=lambda tile: tile.open_ms), [Untiled(*gap) for gap in gaps]


@dataclass(slots=True)
class DepthHistory:
    """Of a process, of all symbols: tiles that are opened, kept while they are asked for."""

    minutes: DepthMinutes
    max_bytes: int = MAX_BYTES
    _found: ByteLru[tuple[str, Scale, TileLevel, int, bytes], DepthTile] = field(init=False)

    def __post_init__(self) -> None:
        self._found = ByteLru(self.max_bytes, lambda tile: tile.nbytes)

    async def labels(self, client: Redis, symbol: str, scale: Scale, times: CellGrid) -> Labels:
        """Of all tiles that have a time of the grid, ascending; without those that have no place in the scale."""
        heads = await DepthTileStore(client, symbol).heads(DEPTH_LEVELS, times.t0_ms, times.end_ms)
        told = {
            level: {open_ms: TileLabel.unpack(head).at(scale.price_decimals) for open_ms, head in some.items()}
            for level, some in heads.items()
        }
        return {level: {open_ms: label for open_ms, label in some.items() if label} for level, some in told.items()}

    async def plan(
        self,
        client: Redis,
        symbol: str,
        scale: Scale,
        labels: Labels,
        times: CellGrid,
        row_ticks: int | None,
        budget: QueryBudget,
    ) -> DepthPlan:
        tiles, gaps = suiting(labels, times, row_ticks)
        read = [
            gap._replace(minutes=await self.minutes.read(client, symbol, scale, gap.from_ms, gap.until_ms, budget))
            for gap in gaps
        ]
        return DepthPlan(tiles, read, labels)

    async def cells(
        self,
        client: Redis,
        symbol: str,
        scale: Scale,
        plan: DepthPlan,
        grid: CellGrid,
        kind: CellKind,
        budget: QueryBudget,
    ) -> Liquidity:
        """Of a plan of this grid. What has gone since it was made is not known."""
        keys = {tile: (symbol, scale, tile.level, tile.open_ms, tile.label.digest) for tile in plan.tiles}
        new = [tile for tile, key in keys.items() if key not in self._found]
        count = sum(tile.label.cells for tile in plan.tiles)
        if count > MAX_TILE_CELLS:
            raise BadInput(f"that is {count} stored cells, expected at most {MAX_TILE_CELLS}: a shorter time")
        stored = await DepthTileStore(client, symbol).tiles([(tile.level, tile.open_ms) for tile in new])
        packed = dict(zip(new, stored, strict=True))

        def opened(tile: LabelledTile) -> DepthTile | None:
            known = self._found.get(keys[tile])
            if known is None and (found := packed.get(tile)) and tile.label.is_of(found):
                try:
                    known = unpack_tile(found, Scales.unchanged(scale))
                except Unfit:
                    return None
                self._found.put(keys[tile], known)
            return known

        def sources() -> Iterator[Source]:
            """One at a time: they need not be in memory together."""
            parts: list[LabelledTile | Untiled] = [*plan.tiles, *plan.gaps]
            for part in sorted(parts, key=_begin):
                source = opened(part) if isinstance(part, LabelledTile) else part.minutes
                if source:
                    yield source

        if not plan.tiles and len(plan.gaps) == 1:
            return await budget.run(grid.cols * grid.rows, liquidity, plan.gaps[0].minutes, grid, kind)
        return await budget.run(count + grid.cols * grid.rows, folded, sources(), grid, kind)


def _begin(part: LabelledTile | Untiled) -> int:
    return part.open_ms if isinstance(part, LabelledTile) else part.from_ms
