"""Which trades are no trades, by reason."""

from common.market.trade import MAX_ID, MAX_LOTS, MAX_TICKS, MAX_TS_MS, MIN_TS_MS, TradeBounds, Trades

# A venue's clock may run ahead of ours; a trade further ahead would close minutes that are still trading.
MAX_AHEAD_MS = 60_000
# Why a trade is refused, besides coverage's DUPLICATE and TOO_LATE.
BAD_TIME, BAD_ID, BAD_PRICE, BAD_SIZE, BAD_SIDE = "bad_time", "bad_id", "bad_price", "bad_size", "bad_side"
FUTURE, OVERFLOW, BELOW_FLOOR = "future", "volume_overflow", "below_floor"
# A good number with more decimals than its symbol has. Of venues' frames and the inbox: a trade has whole ticks.
TOO_FINE = "too_fine"
_KNOWN_SIDES = b"\x00\x01\x02"


def all_valid(trades: Trades, oldest_ms: int, newest_ms: int, now_ms: int) -> bool:
    """`newest_ms`: theirs, or of an earlier one, which then leaves it to `invalid` to say."""
    return (
        oldest_ms >= MIN_TS_MS
        and newest_ms < min(MAX_TS_MS, now_ms + MAX_AHEAD_MS)
        and _are_valid(trades.bounds())
        and not trades.sides.translate(None, _KNOWN_SIDES)
    )


def _are_valid(bounds: TradeBounds) -> bool:
    return (
        bounds.min_id >= 0
        and bounds.max_id <= MAX_ID
        and bounds.min_ticks > 0
        and bounds.max_ticks < MAX_TICKS
        and bounds.min_lots >= 0
        and bounds.max_lots < MAX_LOTS
    )


def invalid(ts_ms: int, trade_id: int, ticks: int, lots: int, side: int, now_ms: int) -> str | None:
    """The same rules for one trade, with the reason. A size of 0 is valid: exchanges print such trades."""
    if not MIN_TS_MS <= ts_ms < MAX_TS_MS:
        return BAD_TIME
    if ts_ms >= now_ms + MAX_AHEAD_MS:
        return FUTURE
    if not 0 <= trade_id <= MAX_ID:
        return BAD_ID
    if not 0 < ticks < MAX_TICKS:
        return BAD_PRICE
    if not 0 <= lots < MAX_LOTS:
        return BAD_SIZE
    return None if side in _KNOWN_SIDES else BAD_SIDE
