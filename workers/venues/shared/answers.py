"""REST answers of any venue: pages of trades, listings, candles. One that can't be read is the venue's failure."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from common.errors import BadInput
from common.market import units
from common.market.builder.validity import BAD_PRICE, BAD_SIZE, BAD_TIME
from common.market.candle import BACKFILL, Candle
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS
from common.market.trade import MAX_TS_MS, Trade, Trades
from workers.venues.shared.base import Listing, OnRefused, Refused, VenueUnavailable
from workers.venues.shared.fields import (
    BAD_SHAPE,
    HARMLESS,
    MISSHAPEN,
    BadField,
    FieldScales,
    refused,
    scaled,
    shown,
    whole,
)

# A candle counts as closed so long after its end: our clock and the venue's differ.
CLOSED_AFTER_MS = 2_000
# What the packed candle holds.
_MAX_TRADES, _MAX_VOLUME_LOTS = (1 << 32) - 1, (1 << 63) - 1

Row = TypeVar("Row")
# Gives the trades of a page, ascending, and where the next page begins; None: there is no next one.
Fetch = Callable[[int], Awaitable[tuple[list[Trade], int | None]]]


@contextmanager
def reading(endpoint: str) -> Iterator[None]:
    """Whatever is wrong with the fields of an answer becomes VenueUnavailable."""
    try:
        yield
    except (BadField, BadInput, *MISSHAPEN) as error:
        raise VenueUnavailable(f"{endpoint} answered what can't be read: {refused(error).detail}") from error


def readable(endpoint: str, rows: object, read: Callable[[Any], Row | None], on_refused: OnRefused) -> list[Row]:
    """What can be read of the rows of an answer: one that is no good is told, and costs none of the others.

    `read` gives None for one that says nothing. VenueUnavailable where none can be, for then it may be the answer that
    is no good; not if they are good numbers that we can't hold.
    """
    if type(rows) is not list:
        raise VenueUnavailable(f"{endpoint} answered what can't be read: {shown(rows)} is no list")
    found, left_out = list[Row](), list[Refused]()
    for row in rows:
        try:
            value = read(row)
        except (BadField, BadInput, *MISSHAPEN) as error:
            left_out.append(refused(error))
        else:
            found += [] if value is None else [value]
    if len(left_out) == len(rows) > 0 and not any(each.reason in HARMLESS for each in left_out):
        raise VenueUnavailable(f"{endpoint} answered what can't be read: {left_out[0].detail}")
    for each in left_out:
        on_refused(each)
    return found


def opens_of(rows: list[Any]) -> list[int]:
    """The times that candles say first, as the venue counts them; of those that say one."""
    return [row[0] for row in rows if type(row) is list and row and type(row[0]) is int]


async def whole_millis(fetch: Fetch, cursor: int, from_ms: int, to_ms: int) -> Trades:
    """A page of the trades of `[from_ms, to_ms]`, from `cursor` on, that ends between two milliseconds.

    The last millisecond of a page may go on in the next one: it is left for the next call. Should it be the page's
    only one, then the next page is fetched as well, until there is another.
    """
    rows: list[Trade] = []
    following: int | None = cursor
    while following is not None:
        page, following = await fetch(following)
        rows += (row for row in page if from_ms <= row.ts_ms <= to_ms)
        if page and page[-1].ts_ms > to_ms:
            break
        if following is not None and rows and rows[0].ts_ms < rows[-1].ts_ms:
            last_ms = rows[-1].ts_ms
            rows = [row for row in rows if row.ts_ms < last_ms]
            break
    return in_order(rows)


def in_order(rows: Iterable[Trade]) -> Trades:
    """Trades in the order of their ids, each id once."""
    by_id = {row.id: row for row in rows}
    return Trades.of(by_id[trade_id] for trade_id in sorted(by_id))


def within(candles: Iterable[Candle], from_ms: int, end_ms: int) -> list[Candle]:
    """Those that open in `[from_ms, end_ms)`, ascending, each minute once."""
    by_open = {candle.open_ms: candle for candle in candles if from_ms <= candle.open_ms < end_ms}
    return [by_open[open_ms] for open_ms in sorted(by_open)]


def closed_before(to_ms: int, now_ms: int) -> int:
    """The end of a span of opens whose candles are asked for until `to_ms`: only closed ones, by our clock."""
    return min(to_ms, now_ms - CLOSED_AFTER_MS - MINUTE_MS + 1)


def listing_of(venue: str, symbol: str, name: str, price_step: str, size_step: str, size_decimals: int = 0) -> Listing:
    """A listing with the decimals of its steps, for sizes at least `size_decimals`.

    Its ids are contiguous: all venues here number the trades of a market 1, 2, 3, ...
    """
    sizes = max(size_decimals, decimals_of(size_step))
    instrument = Instrument(f"{venue}:{symbol}", decimals_of(price_step), sizes, "contiguous")
    return Listing(name, instrument, instrument.price_ticks(price_step), instrument.size_lots(size_step))


def decimals_of(step: str) -> int:
    """Decimals of a step such as `0.01000000`, here 2."""
    try:
        exponent = Decimal(step).normalize().as_tuple().exponent
    except (InvalidOperation, TypeError):
        raise BadField(BAD_SHAPE, f"step {shown(step)} is not a decimal number") from None
    if not isinstance(exponent, int) or Decimal(step) <= 0 or -exponent > units.MAX_DECIMALS:
        raise BadField(BAD_SHAPE, f"step {shown(step)} is no step")
    return max(0, -exponent)


def candle_of(
    market: FieldScales,
    open_ms: object,
    prices: tuple[str, str, str, str],
    volume: str,
    *,
    buy_volume: str = "0",
    sell_known: bool = False,
    turnover: str = "",
    average: str = "",
    trades: int = 0,
) -> Candle:
    """A venue's own minute. `prices`: open, high, low, close.

    Without `turnover` it is estimated: volume x the `average` price the venue states, else the mean of the four. The
    keys of its first and last trade are not known: the ids are 0, the times those of the minute.
    """
    start_ms = whole(open_ms, BAD_TIME, 0, MAX_TS_MS - 1)
    if start_ms % MINUTE_MS:
        raise BadField(BAD_TIME, f"candle opens at {start_ms}, expected a whole minute")
    opened, high, low, closed = (market.prices[text] for text in prices)
    if not low <= min(opened, closed) <= max(opened, closed) <= high:
        raise BadField(BAD_PRICE, f"open, high, low, close {shown(prices)} contradict each other")
    decimals = market.listing.instrument
    volume_lots, buy_lots = scaled(volume, decimals.size_decimals), scaled(buy_volume, decimals.size_decimals)
    if not buy_lots <= volume_lots <= _MAX_VOLUME_LOTS:
        raise BadField(BAD_SIZE, f"volume {shown(volume)}, of it bought {shown(buy_volume)}")
    mean_ticks = scaled(average, decimals.price_decimals) if average else (opened + high + low + closed) // 4
    return Candle(
        open_ms=start_ms,
        open_ticks=opened,
        high_ticks=high,
        low_ticks=low,
        close_ticks=closed,
        volume_lots=volume_lots,
        buy_lots=buy_lots,
        sell_lots=volume_lots - buy_lots if sell_known else 0,
        turnover=scaled(turnover, decimals.price_decimals + decimals.size_decimals)
        if turnover
        else volume_lots * mean_ticks,
        trades=whole(trades, BAD_SHAPE, 0, _MAX_TRADES),
        first_ts_ms=start_ms,
        first_id=0,
        last_ts_ms=start_ms + MINUTE_MS - 1,
        last_id=0,
        sources=BACKFILL,
    )
