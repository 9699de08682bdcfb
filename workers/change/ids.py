"""From ids that count on by one to ids that only name their trade: what is known of the past, said in the other way.

The last 50,000 ids are known, as of any symbol with such ids; of the time before them nothing is taken any more. What
was missing stays missing, and whether it comes can't be told any more.
"""

from collections.abc import Mapping
from dataclasses import replace

from redis.asyncio import Redis

from common.market.builder.gaps import UNFILLABLE, Gap, Ledger
from common.market.builder.recent_coverage import RECENT_IDS, RecentCoverage
from common.market.coding import codec
from common.market.trade import Trades
from common.store.parts import TradeEntry
from common.store.reads import SymbolReader
from common.store.state import SymbolState

# Entries of the stream read at once.
_PAGE = 1_000


async def made_unique(client: Redis, symbol: str, state: SymbolState) -> RecentCoverage:
    """The coverage of a symbol whose ids were contiguous."""
    reader = SymbolReader(client, symbol)
    known = state.coverage("contiguous")
    spans = known.spans()
    if not spans:
        return RecentCoverage()
    entries, floor_ms = await _recent(reader, state)
    trades = Trades()
    for entry in entries:
        trades += codec.unpack_trades(entry.trades)
    newest = trades[-RECENT_IDS:]
    floor_ms = max([floor_ms, *trades.ts_ms[: len(trades) - len(newest)]])
    from_ms, to_ms = min(span.from_ms for span in spans), max(span.to_ms for span in spans)
    seen = dict(zip(newest.ids, newest.ts_ms, strict=True))
    return RecentCoverage(RECENT_IDS, floor_ms, from_ms, to_ms, seen, tuple(known.holes()))


async def _recent(reader: SymbolReader, state: SymbolState) -> tuple[list[TradeEntry], int]:
    """The newest entries with all the ids that are to be known, oldest first; and up to when others were traded."""
    found: list[TradeEntry] = []
    count, from_seq = 0, state.seq
    while count < RECENT_IDS and from_seq > 0:
        page, oldest = await reader.entries_back(from_seq, _PAGE)
        found += page
        count += sum(codec.TRADES_HEAD.unpack_from(entry.trades)[0] for entry in page)
        if not page or (oldest and page[-1].seq == oldest.seq):
            break
        from_seq = page[-1].seq - 1
    if not found:
        return [], state.watermark_ms
    first = found[-1]
    # What came before had no trades later than the first one's watermark.
    return found[::-1], -1 if first.seq == 1 else first.watermark_ms


def given_up(ledger: Ledger, now_ms: int) -> Mapping[str, Gap]:
    """The gaps that go on, as they end."""
    left = (gap for gap in ledger.gaps.values() if not gap.over)
    return {gap.id: replace(gap, state=UNFILLABLE, ended_ms=now_ms) for gap in left}
