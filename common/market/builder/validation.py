"""What is wrong with closed minutes: with one in itself, with their order, and against another source's.

The faults of one minute:

    high, low                   a price of it is beyond them
    volume                      bought and sold are more than all, or less than nothing
    no_trades                   a candle is made of trades; only a venue's own may not say of how many
    keys                        the last trade is before the first, or one of them is not of this minute
    footprint_volume            its levels add up to another volume, bought, sold or unknown
    footprint_trades, footprint_turnover, footprint_prices       the same for those; its levels end at high and low

and of a minute among others: `duplicate`, `not_ascending`.
"""

from collections.abc import Collection, Iterable

from common.market.candle import Candle
from common.market.footprint import Footprint
from common.market.timeframes.timeframe import MINUTE_MS

HIGH, LOW, VOLUME, NO_TRADES, KEYS = "high", "low", "volume", "no_trades", "keys"
FOOTPRINT_VOLUME, FOOTPRINT_TRADES = "footprint_volume", "footprint_trades"
FOOTPRINT_TURNOVER, FOOTPRINT_PRICES = "footprint_turnover", "footprint_prices"
DUPLICATE, NOT_ASCENDING = "duplicate", "not_ascending"

# Fields of Candle that two sources may agree on, in the order they are told.
COMPARABLE = (
    *("open_ticks", "high_ticks", "low_ticks", "close_ticks"),
    *("volume_lots", "buy_lots", "sell_lots", "turnover", "trades"),
)

# By field: ours and theirs; None where there is no such candle.
Differences = dict[str, tuple[int | None, int | None]]


def faults(candle: Candle, footprint: Footprint | None = None) -> list[str]:
    """Names of what is wrong with one closed minute. `footprint`: None if absent, or not of all trades."""
    first, last = (candle.first_ts_ms, candle.first_id), (candle.last_ts_ms, candle.last_id)
    in_minute = candle.open_ms <= candle.first_ts_ms and candle.last_ts_ms < candle.open_ms + MINUTE_MS
    holds = {
        HIGH: candle.high_ticks >= max(candle.open_ticks, candle.close_ticks),
        LOW: candle.low_ticks <= min(candle.open_ticks, candle.close_ticks),
        VOLUME: min(candle.buy_lots, candle.sell_lots, candle.unknown_lots) >= 0,
        NO_TRADES: candle.trades > 0 or _is_of_venue(candle),
        KEYS: candle.open_ms % MINUTE_MS == 0 and first <= last and in_minute,
    }
    found = [name for name, is_right in holds.items() if not is_right]
    return found if footprint is None else found + footprint_faults(candle, footprint)


def footprint_faults(candle: Candle, footprint: Footprint) -> list[str]:
    """Names of the sums that are not the candle's. About 0.3 us a level."""
    levels = footprint.levels
    if not levels:
        # Of a venue's own candle it may not be known how many they were.
        return [FOOTPRINT_TRADES] if candle.trades or candle.volume_lots else []
    bought, sold, unknown, *trades = map(sum, zip(*levels.values(), strict=True))
    turnover = sum(price * (buy + sell + other) for price, (buy, sell, other, *_) in levels.items())
    holds = {
        FOOTPRINT_VOLUME: (bought, sold, unknown) == (candle.buy_lots, candle.sell_lots, candle.unknown_lots),
        FOOTPRINT_TRADES: sum(trades) == candle.trades,
        FOOTPRINT_TURNOVER: turnover == candle.turnover,
        FOOTPRINT_PRICES: (min(levels), max(levels)) == (candle.low_ticks, candle.high_ticks),
    }
    return [name for name, is_right in holds.items() if not is_right]


def order_faults(opens: Iterable[int], after_ms: int = -1) -> list[tuple[int, str]]:
    """The opens that are out of order in a series, each with what is wrong. All are to be after `after_ms`."""
    seen, newest_ms = set[int](), after_ms
    found = []
    for open_ms in opens:
        if open_ms in seen:
            found.append((open_ms, DUPLICATE))
        elif open_ms <= newest_ms:
            found.append((open_ms, NOT_ASCENDING))
        seen.add(open_ms)
        newest_ms = max(newest_ms, open_ms)
    return found


def differences(
    ours: Candle | None, theirs: Candle | None, fields: Collection[str], turnover_slack: int = 0
) -> Differences:
    """The fields that differ, each with both values. `fields`: those that both state.

    A source may have no candle of a minute without volume, or an empty one: that is no difference. `turnover_slack`:
    how far turnovers may be apart for each trade, where one is rounded.
    """
    if ours is None or theirs is None:
        one = ours or theirs
        if one is None or one.volume_lots == 0:
            return {}
    pairs = {name: (_value(ours, name), _value(theirs, name)) for name in COMPARABLE if name in fields}
    found = {name: values for name, values in pairs.items() if values[0] != values[1]}
    if ours and theirs and abs(ours.turnover - theirs.turnover) <= turnover_slack * ours.trades:
        found.pop("turnover", None)
    return found


def _value(candle: Candle | None, name: str) -> int | None:
    if candle is None:
        return None
    value: int = getattr(candle, name)
    return value


def _is_of_venue(candle: Candle) -> bool:
    """A venue's own candle names no first trade: it has the least key of its minute."""
    return (candle.first_ts_ms, candle.first_id) == (candle.open_ms, 0)
