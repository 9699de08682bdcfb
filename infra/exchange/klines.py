"""The venue's own candles, trade by trade: on purpose not made by our builder, which is tested against them."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace

from common.market.timeframes.timeframe import MINUTE_MS, Timeframe
from common.market.trade import BUY, Trade

INTERVALS = {
    name: Timeframe.parse(name)
    for name in ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
}
# The ids of a span without trades.
NO_ID = -1


@dataclass(slots=True)
class Kline:
    """One span that begins at `open_ms`. Without trades (`trades` 0) all prices are the last one before it."""

    open_ms: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int = 0
    turnover: int = 0
    buy_lots: int = 0
    buy_turnover: int = 0
    trades: int = 0
    first_id: int = NO_ID
    last_id: int = NO_ID

    def add(self, trade: Trade) -> None:
        """Add a trade later than all before."""
        price, lots = trade.price_ticks, trade.size_lots
        if not self.trades:
            self.open_ticks = self.high_ticks = self.low_ticks = price
            self.first_id = trade.id
        self.high_ticks = max(self.high_ticks, price)
        self.low_ticks = min(self.low_ticks, price)
        self.close_ticks, self.last_id = price, trade.id
        self.volume_lots += lots
        self.turnover += price * lots
        self.trades += 1
        if trade.side == BUY:
            self.buy_lots += lots
            self.buy_turnover += price * lots

    def scale_prices(self, factor: int) -> None:
        for name in ("open_ticks", "high_ticks", "low_ticks", "close_ticks", "turnover", "buy_turnover"):
            setattr(self, name, getattr(self, name) * factor)

    def join(self, later: "Kline") -> None:
        """Add a later span that has trades."""
        if not self.trades:
            self.open_ticks, self.high_ticks, self.low_ticks = later.open_ticks, later.high_ticks, later.low_ticks
            self.first_id = later.first_id
        self.high_ticks = max(self.high_ticks, later.high_ticks)
        self.low_ticks = min(self.low_ticks, later.low_ticks)
        self.close_ticks, self.last_id = later.close_ticks, later.last_id
        self.volume_lots += later.volume_lots
        self.turnover += later.turnover
        self.buy_lots += later.buy_lots
        self.buy_turnover += later.buy_turnover
        self.trades += later.trades


def flat(open_ms: int, price_ticks: int) -> Kline:
    return Kline(open_ms, price_ticks, price_ticks, price_ticks, price_ticks)


def kline_of(open_ms: int, trades: Iterable[Trade], before_ticks: int) -> Kline:
    """The kline of trades in ascending order; flat at the price before where there is none."""
    kline = flat(open_ms, before_ticks)
    for trade in trades:
        kline.add(trade)
    return kline


class KlineMinutes:
    """The minutes that have trades, ascending; every longer interval is made of them. `keep`: how many are kept."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.opens: list[int] = []
        self._klines: dict[int, Kline] = {}

    def __len__(self) -> int:
        return len(self.opens)

    def add(self, trade: Trade) -> None:
        open_ms = trade.ts_ms - trade.ts_ms % MINUTE_MS
        kline = self._klines.get(open_ms)
        if kline is None:
            kline = self._klines[open_ms] = flat(open_ms, trade.price_ticks)
            self.opens.append(open_ms)
            self._drop()
        kline.add(trade)

    def scale_prices(self, factor: int) -> None:
        for kline in self._klines.values():
            kline.scale_prices(factor)

    def span(self, open_ms: int, end_ms: int, hidden: Iterable[int] = ()) -> Kline | None:
        """The kline of `[open_ms, end_ms)`, flat without trades; None before the first trade kept."""
        first, end = bisect_left(self.opens, open_ms), bisect_left(self.opens, end_ms)
        minutes = [self._klines[at] for at in self.opens[first:end] if at not in hidden]
        if first == 0 and not minutes:
            return None
        before = self._klines[self.opens[first - 1]].close_ticks if first else minutes[0].open_ticks
        kline = flat(open_ms, before)
        for minute in minutes:
            kline.join(minute)
        return kline

    def minute(self, open_ms: int) -> Kline | None:
        """A copy of one minute that has trades."""
        found = self._klines.get(open_ms)
        return replace(found) if found else None

    def _drop(self) -> None:
        if len(self.opens) > self.keep + self.keep // 8:
            gone = len(self.opens) - self.keep
            for open_ms in self.opens[:gone]:
                del self._klines[open_ms]
            del self.opens[:gone]
