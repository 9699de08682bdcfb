"""Cutting the beginning of a symbol's history off: minutes, days and coverage before a day are none any more.

For what a wrong time has left behind: a trade of 1970, from which on coverage is said to begin; or a clock that was far
ahead, by which an earlier release dropped minutes, and closed those to come. It is done under a claim of its own, as a
worker would write: the one that serves the symbol finds itself fenced, and goes on from what is here then. Whoever is
killed in the middle may do it again.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from redis.asyncio import Redis

from common.errors import BadInput, StoreUnavailable
from common.market import codec
from common.market.builder import MAX_AHEAD_MS, Builder, Checkpoint
from common.market.coverage import IdCoverage, RecentCoverage
from common.market.cutting import cut_coverage, cut_gaps
from common.market.timeframe import MINUTE_MS, day_of, minute_of
from common.market.trade import MIN_TS_MS, Trades
from common.store.client import translated
from common.store.keys import LATE, ROLLED, SymbolKeys
from common.store.lease import NOTHING_SEEN, Sighting, new_token
from common.store.messages import NEWEST, WHOLE, CommitMessage
from common.store.reads import State
from common.store.registry import Market
from common.store.script import Script
from common.store.symbol import Bounds, Claim, Commit, SymbolStore, check


class Wrong(NamedTuple):
    """What a wrong time has left behind; None where it has not."""

    # Coverage begins then, when there were no trades yet.
    from_ms: int | None
    # Minutes up to then were dropped, and nothing has been traded so late.
    dropped_ms: int | None


def wrong_times(market: Market, state: State) -> Wrong | None:
    """None if there is nothing to be cut."""
    spans = state.coverage(market.instrument.ids).spans()
    if not spans:
        return None
    first_ms, newest_ms = spans[0].from_ms, max(span.to_ms for span in spans)
    dropped_ms = max(state.candle_floor_ms, state.footprint_floor_ms)
    found = Wrong(first_ms if first_ms < MIN_TS_MS else None, dropped_ms if dropped_ms > newest_ms else None)
    return found if found != (None, None) else None


async def cut_history(client: Redis, market: Market, from_ms: int, bounds: Bounds, holder: str) -> int:
    """Cut what lies before the day of `from_ms`, and return where coverage begins then, ms UTC.

    `bounds`: of the symbol's streams, as its worker has them.
    """
    symbol, token = market.symbol, new_token()
    store = SymbolStore(client, symbol, replace(bounds, archived=frozenset()))
    claim = await store.claim(token, NOTHING_SEEN, holder, force=True)
    if isinstance(claim, Sighting):
        raise BadInput(f"symbol {symbol} is being imported or changed: try again when that is done")
    try:
        return await _cut(client, store, market, claim, token, day_of(from_ms))
    finally:
        await _release(store, token)


async def _cut(client: Redis, store: SymbolStore, market: Market, claim: Claim, token: str, day_ms: int) -> int:
    if claim.checkpoint is None:
        raise BadInput(f"symbol {market.symbol} has no trades: there is nothing to cut")
    builder = Builder.restore(market.instrument, claim.checkpoint, Trades(), 0, 0)
    assert isinstance(builder.coverage, IdCoverage | RecentCoverage), "there are no other kinds"
    if builder.newest_ms < day_ms:
        newest, day = (datetime.fromtimestamp(ms / 1_000, UTC).date() for ms in (builder.newest_ms, day_ms))
        raise BadInput(f"the newest trade of {market.symbol} is of {newest}: nothing would be left from {day} on")
    # What was dropped by a clock that was ahead is gone: what is there begins with the minute that grows, or after it.
    is_dropped = claim.candle_floor_ms > builder.newest_ms
    floor_ms = minute_of(builder.newest_ms) + (0 if builder.open else MINUTE_MS) if is_dropped else day_ms
    builder.coverage = cut_coverage(builder.coverage, min(floor_ms, builder.newest_ms) if is_dropped else day_ms)
    await _drop(client, market.symbol, token, claim.seq, day_ms, floor_ms)
    forgotten = cut_gaps((await store.gaps()).gaps.values(), builder.coverage, day_ms)
    builder.watermark_ms = await _watermark_ms(client, builder)
    await store.commit(_commit(store.keys, claim, token, _checkpoint(builder, claim.checkpoint), builder, forgotten))
    return max(day_ms, floor_ms)


def _checkpoint(builder: Builder, before: Checkpoint) -> Checkpoint:
    """In the form in which the symbol is; of coverage by chunks all of it is written, and nothing else is left."""
    builder.keep_coverage(is_chunked=before.is_chunked)
    made = builder.checkpoint()
    gone = dict.fromkeys(before.chunks, b"")
    return replace(made, chunks=gone | dict(made.chunks), is_reshaped=made.is_chunked)


async def _drop(client: Redis, symbol: str, token: str, seq: int, day_ms: int, floor_ms: int) -> None:
    k = SymbolKeys(symbol)
    keys = [k.owner, k.state, k.candles, k.footprints, k.seals, k.sealed_candles, k.sealed_footprints, k.dirty]
    keys += [k.rollup, k.unarchived, k.archive, *map(k.late, LATE), k.outside, *map(k.rolled, ROLLED)]
    with translated(f"cut of {symbol}"):
        result = await Script(client, "cut")(keys, token, seq, day_ms, floor_ms)
    check(result, symbol, seq)


async def _watermark_ms(client: Redis, builder: Builder) -> int:
    """The builder's; one that a clock has set further ahead than any trade may be goes back to the newest trade."""
    with translated("time of the store"):
        seconds, micros = await client.time()
    now_ms = int(seconds) * 1_000 + int(micros) // 1_000
    is_ahead = builder.watermark_ms > max(now_ms, builder.newest_ms) + MAX_AHEAD_MS
    return builder.newest_ms if is_ahead else builder.watermark_ms


def _commit(
    keys: SymbolKeys, claim: Claim, token: str, checkpoint: Checkpoint, builder: Builder, forgotten: list[str]
) -> Commit:
    nothing = codec.pack_trades(Trades())
    message = CommitMessage(
        seq=claim.seq + 1,
        token=token,
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
        token=token,
        seq=claim.seq,
        trade_count=0,
        trades=nothing,
        position=claim.position,
        checkpoint=checkpoint,
        minutes={},
        events=[],
        messages=[(keys.commits, message.pack())],
        forgotten=forgotten,
        format=claim.format,
    )


async def _release(store: SymbolStore, token: str) -> None:
    try:
        await store.release(token)
    except StoreUnavailable:
        pass  # the worker waits for a lease
