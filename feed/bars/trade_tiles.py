"""What was traded below a minute, out of the tiles made of it, and for all other times of the trades themselves.

Tiles are read in the transaction that the tape is brought up to: what amends a minute drops those it is in, so all of
an answer is as of one commit, and the same as without tiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

import polars as pl

from common.frames.minutes import within
from common.frames.schema import LEVELS
from common.market.coding import traded_tiles
from common.market.timeframes.timeframe import Timeframe
from common.store.parts import Part
from common.store.reads import View
from common.store.tiles import Tiles
from common.tiles import TRADE_LEVELS, TileLevel
from feed.bars.by_trade import read_bars
from feed.bars.data import SymbolData
from feed.bars.recipe import BarRecipe
from feed.reading.bounds import Bounds, Span, united, without
from feed.reading.coverage import KnownCoverage

# More than there are between any two times.
_ALL = 1 << 40


class TiledTrades(NamedTuple):
    """Levels of a span, ascending: of the trades by ticks, of tiles by rows of these heights.

    `lacks`: whether trades are missing that are neither kept nor in tiles. `more_ms`: as of a TradeBars.
    """

    levels: pl.DataFrame
    heights: frozenset[int]
    view: View
    cover: KnownCoverage
    lacks: bool
    more_ms: int | None


def levels_for(bucket_ms: int) -> list[TileLevel]:
    """Whose tiles have whole columns of the bucket, the coarsest first."""
    fitting = (level for level in TRADE_LEVELS if bucket_ms % level.bucket_ms == 0 and level.span_ms % bucket_ms == 0)
    return list(fitting)[::-1]


@dataclass(frozen=True, slots=True)
class TradeTiles:
    data: SymbolData

    async def read(self, bucket: Timeframe, span: Span, levels: Sequence[TileLevel]) -> TiledTrades | None:
        """Read by the first of the levels that has a time, and the trades where none has. None: none has any.

        Raises Overtaken.
        """
        planned = await self._planned(span, levels)
        if not planned:
            return None

        async def read_view(*parts: Part) -> View:
            return await self.data.history.view(*parts, Tiles([(level, opens) for level, opens in planned.items()]))

        taped = await self.data.tapes.read(self.data.store, read_view)
        view = taped.view
        scales, pieces, heights = self.data.history.scales(view), list[tuple[int, pl.DataFrame]](), set[int]()
        covered = list[Span]()
        for level, tiles in view.tiles.items():
            heads = {open_ms: traded_tiles.head_of(packed, scales) for open_ms, packed in tiles.items()}
            known = {open_ms: head for open_ms, head in heads.items() if head}
            await self.data.budget.read(sum(head.cells for head in known.values()))
            heights |= {head.row_ticks for head in known.values()}
            packed = [tiles[open_ms] for open_ms in sorted(known)]
            count = sum(head.cells for head in known.values())
            cells = await self.data.budget.run(count, traded_tiles.cells_of, packed, level.bucket_ms, scales)
            frame = within(pl.DataFrame(cells, schema=LEVELS), *span)
            spans = united([(open_ms, open_ms + level.span_ms) for open_ms in sorted(known)])
            pieces += [(each[0], within(frame, *each)) for each in spans]
            covered += spans
        rest = without(span, sorted(covered))
        retention, more_ms = self.data.trade_archive.retention(view, taped.from_ms), None
        recipe = BarRecipe.footprints(bucket, 1, "floor")
        for from_ms, to_ms in rest:
            found = await read_bars(
                self.data.trade_archive, taped, recipe, Bounds(from_ms, to_ms, _ALL, oldest_first=True)
            )
            pieces.append((from_ms, found.bars))
            retention, more_ms = found.retention, more_ms or found.more_ms
        cover = retention.cover(view, self.data.instrument)
        levels_read = pl.concat([frame for _, frame in sorted(pieces, key=itemgetter(0))])
        lacks = any(max(from_ms, cover.from_ms) < min(to_ms, cover.start_ms) for from_ms, to_ms in rest)
        return TiledTrades(levels_read, frozenset(heights), view, _with_tiles(cover, span, rest), lacks, more_ms)

    async def _planned(self, span: Span, levels: Sequence[TileLevel]) -> dict[TileLevel, list[int]]:
        """The tiles there are of each level, of times that a coarser one has not."""
        rest, found = [span], dict[TileLevel, list[int]]()
        for level in levels:
            opens = chain.from_iterable(level.opens(*each) for each in rest)
            asked = set(opens) & await self.data.store.tile_opens(level)
            # A tile that a coarser one has a part of would be counted twice.
            taken = sorted(open_ms for open_ms in asked if not _is_cut(open_ms, level, rest, span))
            if taken:
                found[level] = taken
                spans = united([(open_ms, open_ms + level.span_ms) for open_ms in taken])
                rest = [part for each in rest for part in without(each, spans)]
        return found


def _is_cut(open_ms: int, level: TileLevel, rest: Sequence[Span], span: Span) -> bool:
    first, end = max(open_ms, span[0]), min(open_ms + level.span_ms, span[1])
    return not any(from_ms <= first and end <= to_ms for from_ms, to_ms in rest)


def _with_tiles(cover: KnownCoverage, span: Span, rest: Sequence[Span]) -> KnownCoverage:
    """Of the span all is there that is not lost in the rest."""
    lost = tuple(each for each in cover.lost if any(each[0] < to_ms and each[1] >= from_ms for from_ms, to_ms in rest))
    start_ms = max(cover.from_ms, min(cover.start_ms, span[0]))
    return replace(cover, start_ms=start_ms, lost=lost)
