"""The journal: simulated markets on disk, so that an exchange that is started again goes on with them.

A folder with one file per market and time, `BTCUSDT.1722513600000.json`: everything that the rest follows from. What
happened after it happens again, the same trades with the same ids, and then what would have happened meanwhile. So
nothing is lost with the process, however it ended: who missed trades asks for them as ever.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from common.errors import OperatorError
from common.market.timeframes.timeframe import MINUTE_MS
from infra import private
from infra.exchange.market import ExchangeMarket

# Market time between two states: the most that happens a second time before the history that is wanted begins.
SPAN_MS = 10 * MINUTE_MS


class Journal:
    """`history_ms`: how far back of its last moment an exchange is to begin again."""

    def __init__(self, folder: Path, history_ms: int) -> None:
        self.history_ms = history_ms
        self._folder = folder
        with self._told():
            # The market it keeps is a simulated one, but who can write to it makes our trades.
            private.narrow(private.adopt(folder, _is_ours))

    def start_ms(self, markets: list[ExchangeMarket], now_ms: int) -> int:
        """When market time begins: a whole minute, not before any market that is known, else `history_ms` ago."""
        kept = [times for market in markets if (times := self._times(market.symbol))]
        # Market time may be ahead of the clock: it has been moved, or the clock has been set.
        end_ms = max([now_ms, *(times[-1] for times in kept)])
        start_ms = end_ms - self.history_ms
        return max([start_ms - start_ms % MINUTE_MS, *(times[0] for times in kept)])

    def begin(self, market: ExchangeMarket, at_ms: int) -> None:
        """Have the market go on at `at_ms` where it was left, or begin there.

        One that was left long ago has been halted since: days of trades that were never seen are not waited for.
        """
        times = [known_ms for known_ms in self._times(market.symbol) if known_ms <= at_ms]
        if not times:
            market.begin(at_ms, 0)
        else:
            self._resume(market, times[-1])
            # All that anybody can have seen is before the next state would have been written.
            seen_ms = min(at_ms, times[-1] + SPAN_MS)
            market.happen_until(seen_ms)
            if seen_ms < at_ms:
                market.halt(seen_ms, at_ms - seen_ms, announced=False)
                return self.turn(market, at_ms)
        self.save(market, at_ms)

    def save(self, market: ExchangeMarket, at_ms: int) -> None:
        """Write down the market as it is at `at_ms`. A crash leaves the whole file or none."""
        path = self._path(market.symbol, at_ms)
        draft = path.with_suffix(".draft")
        with self._told(), open(draft, "wb", opener=private.opener) as file:
            file.write(orjson.dumps(market.state()))
            file.flush()
            os.fsync(file.fileno())
            draft.replace(path)
        self._forget(market.symbol, at_ms - self.history_ms - 2 * SPAN_MS)

    def turn(self, market: ExchangeMarket, at_ms: int) -> None:
        """Something came from outside, such as a halt: the rest does not follow from any state before."""
        self.save(market, at_ms)
        self._forget(market.symbol, at_ms)

    def _resume(self, market: ExchangeMarket, at_ms: int) -> None:
        path = self._path(market.symbol, at_ms)
        try:
            with self._told():
                market.resume(orjson.loads(path.read_bytes()))
        except (KeyError, TypeError, ValueError) as error:
            raise OperatorError(f"{path} is not a market's state, remove it: {error!r}") from error

    def _times(self, symbol: str) -> list[int]:
        with self._told():
            return sorted(int(path.name.split(".")[1]) for path in self._folder.glob(f"{symbol}.*.json"))

    def _forget(self, symbol: str, before_ms: int) -> None:
        with self._told():
            for at_ms in self._times(symbol):
                if at_ms < before_ms:
                    self._path(symbol, at_ms).unlink(missing_ok=True)

    def _path(self, symbol: str, at_ms: int) -> Path:
        return self._folder / f"{symbol}.{at_ms}.json"

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OperatorError(f"{self._folder} can't be used as the exchange's journal: {error.strerror}") from None


def _is_ours(name: str) -> bool:
    return name.endswith((".json", ".draft"))
