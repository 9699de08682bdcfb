"""Cutting the beginning of a symbol's history off: minutes, days and coverage before a day are none any more.

For what a wrong time has left behind: a trade of 1970, from which on coverage is said to begin; or a clock that was far
ahead, by which an earlier release dropped minutes, and closed those to come. It is done under a claim of its own, as a
worker would write: the one that serves the symbol finds itself fenced, and goes on from what is here then. Whoever is
killed in the middle may do it again: minutes go first, coverage after them.
"""

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from redis.asyncio import Redis

from common.archive.series import SERIES
from common.errors import BadInput
from common.market.builder.builder import Builder, Checkpoint
from common.market.builder.cutting import cut_coverage, cut_gaps
from common.market.builder.id_coverage import IdCoverage
from common.market.builder.recent_coverage import RecentCoverage
from common.market.builder.validity import MAX_AHEAD_MS
from common.market.coding import codec
from common.market.timeframes.timeframe import MINUTE_MS, day_of, minute_of
from common.market.trade import MIN_TS_MS, Trades
from common.store.client import commit_client, translated
from common.store.commit import Commit, StreamBounds
from common.store.cut import HistoryCut, drop_before
from common.store.lease import new_token
from common.store.messages import NEWEST, WHOLE, CommitMessage
from common.store.registry import Market, Registry
from common.store.symbol import Claim, SymbolStore
from workers.change.claim import Claimant

log = logging.getLogger(__name__)

# The worker that takes the symbol up again drops what is too much.
_ALL = 1 << 53


@dataclass(frozen=True, slots=True)
class Cutter:
    """Cuts what lies before the day of `from_ms`."""

    url: str
    symbol: str
    from_ms: int
    events_kept: int
    claimant: Claimant

    async def run(self) -> int:
        """Return where coverage begins then, ms UTC. BadInput where it can't be, and then nothing has changed."""
        if self.from_ms < MIN_TS_MS:
            raise BadInput(f"--from is {_day(self.from_ms)}, expected a day from {_day(MIN_TS_MS)} on")
        async with commit_client(self.url) as client:
            market = await Registry(client).market(self.symbol)
            if market is None:
                raise BadInput(f"symbol {self.symbol} is not there: fleet symbols list")
            return await self.cut(client, market)

    async def cut(self, client: Redis, market: Market) -> int:
        token, store = new_token(), SymbolStore(client, self.symbol, StreamBounds(_ALL, self.events_kept))
        async with self.claimant.claimed(store, token) as claim:
            return await _CutRun(client, store, market, claim, token).cut(day_of(self.from_ms))


@dataclass(frozen=True, slots=True)
class _CutRun:
    client: Redis
    store: SymbolStore
    market: Market
    claim: Claim
    token: str

    async def cut(self, day_ms: int) -> int:
        symbol, before = self.market.symbol, self.claim.checkpoint
        if before is None:
            raise BadInput(f"symbol {symbol} has no trades: there is nothing to cut")
        builder = self._builder(before)
        newest_ms = builder.newest_ms
        if newest_ms < day_ms:
            raise BadInput(
                f"the newest trade of {symbol} is of {_day(newest_ms)}: nothing would be left from {_day(day_ms)} on"
            )
        cut = HistoryCut(day_ms, _grows_ms(builder), newest_ms, _archived(day_ms))
        # What a clock that was ahead has dropped is gone: what is there begins with the minute that grows.
        begins_ms = cut.grows_ms if self.claim.candle_floor_ms > newest_ms else day_ms
        assert isinstance(builder.coverage, IdCoverage | RecentCoverage), "there are no other kinds"
        builder.coverage = coverage = cut_coverage(builder.coverage, min(begins_ms, newest_ms))
        await drop_before(self.client, symbol, self.token, self.claim.seq, cut)
        forgotten = cut_gaps((await self.store.gaps()).gaps.values(), coverage, day_ms)
        builder.watermark_ms = await self._watermark_ms(builder)
        await self.store.commit(self._commit(builder, _checkpoint(builder, before), forgotten))
        oldest = coverage.oldest()
        log.info("cut", extra={"symbol": symbol, "seq": self.claim.seq + 1, "from_ms": begins_ms})
        return max(begins_ms, oldest.from_ms if oldest else 0)

    def _builder(self, before: Checkpoint) -> Builder:
        data = self.claim.data
        instrument = data.instrument if data else self.market.instrument
        return Builder.restore(instrument, before, Trades(), 0, 0)

    async def _watermark_ms(self, builder: Builder) -> int:
        """The builder's; one that a clock has set further ahead than any trade may be goes back to the newest trade."""
        with translated("time of the store"):
            seconds, micros = await self.client.time()
        now_ms = int(seconds) * 1_000 + int(micros) // 1_000
        is_ahead = builder.watermark_ms > max(now_ms, builder.newest_ms) + MAX_AHEAD_MS
        return builder.newest_ms if is_ahead else builder.watermark_ms

    def _commit(self, builder: Builder, checkpoint: Checkpoint, forgotten: list[str]) -> Commit:
        nothing = codec.pack_trades(Trades())
        message = CommitMessage(
            seq=self.claim.seq + 1,
            token=self.token,
            watermark_ms=checkpoint.watermark_ms,
            closed=[],
            amended=[],
            open=builder.open.candle if builder.open else None,
            coverage_json=checkpoint.coverage,
            trades=nothing,
            version=NEWEST if checkpoint.is_chunked else WHOLE,
            is_reshaped=checkpoint.is_reshaped,
        )
        return Commit(
            token=self.token,
            seq=self.claim.seq,
            trade_count=0,
            trades=nothing,
            position=self.claim.position,
            checkpoint=checkpoint,
            minutes={},
            events=[],
            message=message.head(),
            messages=[],
            forgotten=forgotten,
            format=self.claim.format,
        )


def _grows_ms(builder: Builder) -> int:
    return minute_of(builder.newest_ms) + (0 if builder.open else MINUTE_MS)


def _archived(day_ms: int) -> dict[str, int]:
    """An object that has something of the day, too, is left."""
    return {name: series.period.open_of(day_ms) for name, series in SERIES.items()}


def _checkpoint(builder: Builder, before: Checkpoint) -> Checkpoint:
    """In the form in which the symbol is; of coverage by chunks all of it is written, and nothing else is left."""
    builder.keep_coverage(is_chunked=before.is_chunked)
    made = builder.checkpoint()
    gone = dict.fromkeys(before.chunks, b"")
    return replace(made, chunks=gone | dict(made.chunks), is_reshaped=made.is_chunked)


def _day(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms / 1_000, UTC).date().isoformat()
