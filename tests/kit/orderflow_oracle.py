"""Order flow row by row and trade by trade: what the columns must equal. As docs/orderflow.md tells it, and slow."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from common.market.footprint import Level
from common.market.orderflow.vwap import NO_VOLUME, Moments
from common.market.timeframes.timeframe import MINUTE_MS, Timeframe, minute_of
from common.market.trade import Trade
from tests.kit.delta_oracle import brute_delta
from tests.kit.writer import Applied

Totals = Mapping[int, int]
Range = tuple[int, int]


def poc(totals: Totals) -> int | None:
    if not any(totals.values()):
        return None
    middle = min(totals) + max(totals)
    return min(totals, key=lambda row: (-totals[row], abs(2 * row - middle), row))


def value_area(totals: Totals, share_bp: int, rule: str, height: int = 1) -> Range | None:
    """Grow it row by row, every empty row included."""
    center = poc(totals)
    lowest, highest, whole = min(totals), max(totals), sum(totals.values())
    if center is None or (rule == "tradingview" and (highest - lowest) // height + 1 > 2_000):
        return None
    step, low, high, held = (2 if rule == "two" else 1), center, center, totals[center]
    while low > lowest or high < highest:
        if rule != "tradingview" and 10_000 * held >= share_bp * whole:
            break
        above = [row for row in range(high + height, high + (step + 1) * height, height) if row <= highest]
        below = [row for row in range(low - height, low - (step + 1) * height, -height) if row >= lowest]
        up, down = (sum(totals.get(row, 0) for row in rows) for rows in (above, below))
        is_up = bool(above) and (not below or up > down or (up == down and high - center <= center - low))
        more = up if is_up else down
        if rule == "tradingview" and 10_000 * (held + more) > share_bp * whole:
            break
        held += more
        low, high = (low, above[-1]) if is_up else (below[-1], high)
    if rule == "tradingview":
        return low, high
    inside = [row for row, lots in totals.items() if low <= row <= high and lots]
    return min(inside), max(inside)


def imbalances(
    levels: Mapping[int, Level], percent: int, min_lots: int, zeros: Literal["count", "ignore"], height: int = 1
) -> tuple[set[int], set[int]]:
    bought, sold, nothing = set(), set(), [0] * 6
    lowest, highest = min(levels), max(levels)
    for row in levels:
        buy, sell = levels[row][:2]
        below, above = levels.get(row - height, nothing)[1], levels.get(row + height, nothing)[0]
        counts = zeros == "count"
        if row > lowest and buy > 0 and 100 * buy >= percent * below and buy >= min_lots and (counts or below > 0):
            bought.add(row)
        if row < highest and sell > 0 and 100 * sell >= percent * above and sell >= min_lots and (counts or above > 0):
            sold.add(row)
    return bought, sold


def stacks(flagged: set[int], least: int, height: int = 1) -> list[tuple[int, int, int]]:
    """Lowest row, highest row and how many, of runs of flagged rows."""
    found: list[list[int]] = []
    for row in sorted(flagged):
        if found and row - found[-1][-1] == height:
            found[-1].append(row)
        else:
            found.append([row])
    return [(run[0], run[-1], len(run)) for run in found if len(run) >= least]


def nodes(totals: Totals, sensitivity: int) -> tuple[list[int], list[int]]:
    lowest, highest = min(totals), max(totals)
    rows = list(range(lowest, highest + 1))
    peaks, troughs, at = [], [], 0
    while at < len(rows):
        end, lots = at, totals.get(rows[at], 0)
        while end + 1 < len(rows) and totals.get(rows[end + 1], 0) == lots:
            end += 1
        beside = [rows[at] - away for away in range(1, sensitivity + 1)]
        beside += [rows[end] + away for away in range(1, sensitivity + 1)]
        middle = rows[at] + (end - at) // 2
        if lots and all(totals.get(row, 0) < lots for row in beside):
            peaks.append(middle)
        if all(lowest <= row <= highest and totals.get(row, 0) > lots for row in beside):
            troughs.append(middle)
        at = end + 1
    return peaks, troughs


def first_touch(ranges: list[Range], since: int, bottom: int, top: int) -> int:
    """The first of candles, each its low and high, that traded between bottom and top; -1: none."""
    return next((at for at in range(since, len(ranges)) if ranges[at][0] <= top and ranges[at][1] >= bottom), -1)


Rows = dict[int, Level]


def bars_of(applied: Sequence[Applied], timeframe: Timeframe) -> dict[int, list[Trade]]:
    """The trades of each bar in order of time, then id."""
    bars: dict[int, list[Trade]] = defaultdict(list)
    for trade in sorted((one.trade for one in applied), key=lambda trade: (trade.ts_ms, trade.id)):
        bars[timeframe.open_of(trade.ts_ms)].append(trade)
    return dict(sorted(bars.items()))


def delta_ranges(applied: Sequence[Applied], timeframe: Timeframe) -> dict[int, tuple[int, int] | tuple[None, None]]:
    """Of each bar; None, both, of one with a minute that a late trade came into, for it does not tell its range."""
    late = {minute_of(one.trade.ts_ms) for one in applied if minute_of(one.trade.ts_ms) + MINUTE_MS <= one.before_ms}
    unknown = {timeframe.open_of(open_ms) for open_ms in late} if timeframe.of_minutes else set[int]()
    bars = bars_of(applied, timeframe)
    return {ms: (None, None) if ms in unknown else brute_delta(trades)[1:] for ms, trades in bars.items()}


def rows_of(trades: Sequence[Trade], height: int = 1, lowest_offset: int = 0) -> Rows:
    rows: Rows = defaultdict(lambda: [0] * 6)
    for trade in trades:
        level = rows[(trade.price_ticks - lowest_offset) // height * height]
        level[trade.side] += trade.size_lots
        level[trade.side + 3] += 1
    return dict(sorted(rows.items()))


def totals_of(rows: Rows) -> dict[int, int]:
    return {row: sum(level[:3]) for row, level in rows.items()}


def zero_prints(rows: Rows, side: int) -> set[int]:
    """Rows inside the bar that this side did not trade at."""
    return {row for row, level in rows.items() if min(rows) < row < max(rows) and any(level[:3]) and not level[side]}


def state_of(
    minutes: Mapping[int, list[Trade]], after_ms: int, bottom: int, top: int, *, from_above: bool
) -> dict[str, Any]:
    """As an answer tells it: the first minutes from then on that traded in the range, and at its far end or beyond."""
    told: dict[str, Any] = {"state": "open"}
    for open_ms, trades in minutes.items():
        low, high = (pick(trade.price_ticks for trade in trades) for pick in (min, max))
        if open_ms < after_ms:
            continue
        if "touched" not in told and low <= top and high >= bottom:
            told |= {"state": told["state"].replace("open", "touched"), "touched": open_ms}
        if "filled" not in told and (low <= bottom if from_above else high >= top):
            told |= {"state": "filled", "filled": open_ms}
    return told


def moments_of(levels: Iterable[tuple[int, int]], about_ticks: int = 0) -> Moments:
    """Of pairs of price and volume."""
    total = NO_VOLUME
    for price_ticks, lots in levels:
        away = price_ticks - about_ticks
        total = total.plus(Moments(lots, away * lots, away * away * lots))
    return total
