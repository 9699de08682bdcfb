"""Rows of ccxt to values, and the reason why one is no good."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from common.market.builder.validity import BAD_TIME
from common.market.candle import Candle
from common.market.instrument import Instrument
from common.market.trade import MAX_LOTS, MAX_TS_MS, SIDE_CODES, UNKNOWN, Trade
from workers.venues.ccxt.ids import Ids
from workers.venues.shared.answers import (
    candle_of,
    decimals_of,
)
from workers.venues.shared.base import (
    DepthEvent,
    Listing,
    Refused,
)
from workers.venues.shared.fields import MISSHAPEN, BadField, FieldScales, refused

# A stream may begin with the last trades, of which none that counts is older; ccxt reads a time out of anything.
OLDEST_MS = 86_400_000
# The step where an exchange states none, or one that moves with the price (significant digits); also the finest size:
# of 18 decimals no size above 0.01 would fit.
USUAL_STEP, MAX_SIZE_DECIMALS = "1e-8", 8
# Ways ccxt states a precision: decimals, and steps.
_DECIMAL_PLACES, _TICK_SIZE = 2, 4


def fleet_name(name: str) -> str:
    """ccxt's name of a market as a symbol of the fleet says it."""
    return name.upper().replace("/", "-")


def listing_of(venue: str, found: dict[str, Any], mode: int) -> Listing:
    price_step, size_step = (_step(found["precision"].get(kind), mode) for kind in ("price", "amount"))
    max_size = (found.get("limits") or {}).get("amount", {}).get("max")
    decimals = decimals_of(price_step), _size_decimals(min(decimals_of(size_step), MAX_SIZE_DECIMALS), max_size)
    instrument = Instrument(f"{venue}:{fleet_name(found['symbol'])}", *decimals, "unique")
    size_step_lots = int(Decimal(size_step).scaleb(instrument.size_decimals))
    return Listing(found["symbol"], instrument, instrument.price_ticks(price_step), max(1, size_step_lots))


def _step(precision: float | None, mode: int) -> str:
    if precision is None or mode not in (_DECIMAL_PLACES, _TICK_SIZE):
        return USUAL_STEP
    return repr(precision) if mode == _TICK_SIZE else str(Decimal(1).scaleb(-int(precision)))


def _size_decimals(min_places: int, max_size: float | None) -> int:
    """More than the step's, as far as the greatest order fits: orders older than a coarser step keep their size."""
    if not max_size:
        return min_places
    fitting = (places for places in range(MAX_SIZE_DECIMALS, min_places, -1) if max_size * 10**places < MAX_LOTS)
    return next(fitting, min_places)


def trades_of(
    market: FieldScales, rows: list[dict[str, Any]], ids: Ids, oldest_ms: int = 0
) -> tuple[list[Trade], list[Refused]]:
    """Trades out of ccxt's, in their order; and those that are no good."""
    trades, left_out = list[Trade](), list[Refused]()
    for row in rows:
        try:
            trade = _trade(market, row, ids)
            if trade.ts_ms < oldest_ms:
                raise BadField(BAD_TIME, f"trade of {trade.ts_ms} ms, expected none before {oldest_ms}")
            trades.append(trade)
        except (BadField, *MISSHAPEN) as error:
            left_out.append(refused(error)._replace(ts_ms=_time(row)))
    return trades, left_out


def _time(row: Any) -> int:
    """When a trade that is no good was made; -1: who knows."""
    ts_ms = row.get("timestamp") if isinstance(row, dict) else None
    return ts_ms if type(ts_ms) is int and 0 <= ts_ms < MAX_TS_MS else -1


def _trade(market: FieldScales, row: dict[str, Any], ids: Ids) -> Trade:
    ts_ms = row["timestamp"]
    price, size = _text(row["price"]), _text(row["amount"])
    side = SIDE_CODES.get(row.get("side") or "", UNKNOWN)
    return market.trade(ts_ms, ids.of(row.get("id"), ts_ms, price, size, side), price, size, side)


def _text(number: Any) -> str:
    """The shortest that reads as the same float, in plain digits: of up to 15 it is what the exchange wrote."""
    text = repr(number)
    return format(Decimal(text), "f") if type(number) is float and "e" in text else text


def candle_from(market: FieldScales, row: list[Any]) -> Candle | None:
    # An empty minute may be there as a flat candle.
    if not row[5]:
        return None
    opened, high, low, closed, volume = map(_text, row[1:6])
    return candle_of(market, row[0], (opened, high, low, closed), volume)


def changed(before: dict[int, int], after: dict[int, int]) -> dict[int, int]:
    gone = dict.fromkeys(before.keys() - after.keys(), 0)
    return gone | {price: size for price, size in after.items() if before.get(price) != size}


def depth_event(
    name: str, book: Mapping[str, Any], bids: dict[int, int], asks: dict[int, int], *, snapshot: bool
) -> DepthEvent:
    # Not ccxt's nonce: what an exchange counts in it is its own affair, and diffs of diffs skip some.
    ts_ms = book.get("timestamp") or -1
    # Of how many levels its best ones are it does not say.
    whole = (False, False) if snapshot else (True, True)
    return DepthEvent(name, ts_ms, -1, -1, -1, [*bids.items()], [*asks.items()], snapshot, whole=whole)
