"""Clients that fold what a channel tells them, as every client of the protocol does."""

from typing import Any

from tests.kit.folding import Folding
from tests.kit.served import Served


class ChannelFolding(Folding):
    """`asked`: what it subscribes with besides symbol, timeframe and limit."""

    def __init__(self, feed: Served, channel: str, symbol: str, timeframe: str, limit: int, **asked: Any) -> None:
        super().__init__(feed, symbol, timeframe, limit)
        self.channel, self.asked = channel, asked

    def request(self) -> dict[str, Any]:
        return super().request() | {"channel": self.channel} | self.asked

    def hear(self, message: dict[str, Any]) -> None:
        named = {"channel": self.channel, "symbol": self.symbol, "params": self.asked or None}
        assert message["type"] == "error" or {name: message.get(name) for name in named} == named, message
        super().hear(message)


class RowsFolding(ChannelFolding):
    """`bars`: with `rows` by their prices."""

    async def expected(self) -> dict[int, dict[str, Any]]:
        path = f"/v1/{self.channel}/{self.symbol}"
        answer = await self.feed.json(path, timeframe=self.timeframe, limit=5_000, **self.asked)
        return {bar["t"]: _by_price(bar) for bar in answer["bars"]}

    def hear(self, message: dict[str, Any]) -> None:
        if message["type"] == self.channel:
            self._merge(_by_price(message["bar"]))
        super().hear(message)

    def _merge(self, bar: dict[str, Any]) -> None:
        """A bar from before the snapshot is not held: what is told of it may be a part."""
        if bar["t"] >= self.from_ms and "rows" in bar:
            held = self.bars.get(bar["t"], {"rows": {}})
            self.bars[bar["t"]] = bar | {"rows": held["rows"] | bar["rows"]}
        elif bar["t"] >= self.from_ms:
            self.bars[bar["t"]] = bar

    def _replace(self, message: dict[str, Any]) -> None:
        super()._replace(message)
        self.bars = {open_ms: _by_price(bar) for open_ms, bar in self.bars.items()}


def _by_price(bar: dict[str, Any]) -> dict[str, Any]:
    return bar | {"rows": {row["p"]: row for row in bar["rows"]}} if "rows" in bar else bar


class TradesFolding(ChannelFolding):
    """`bars`: trades by their ids, complete from the oldest of the snapshot on."""

    def __init__(self, feed: Served, symbol: str, limit: int) -> None:
        super().__init__(feed, "trades", symbol, "", limit)
        self.oldest = 0, 0

    def request(self) -> dict[str, Any]:
        request = super().request()
        del request["timeframe"]
        return request

    async def expected(self) -> dict[int, dict[str, Any]]:
        answer = await self.feed.json(f"/v1/trades/{self.symbol}", limit=10_000)
        return {trade["id"]: trade for trade in answer["trades"]}

    def differences(self, expected: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
        """Older trades than those of the snapshot it may hold, and need not."""
        wanted = {at for at, trade in expected.items() if (trade["t"], at) >= self.oldest}
        return super().differences({at: expected[at] for at in expected if at in wanted or at in self.bars})

    def hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "trades":
            for trade in message["trades"]:
                # Each is told once, but what was told before its cursor was.
                assert trade["id"] not in self.bars, trade
                self.bars[trade["id"]] = trade
        super().hear(message)

    def _replace(self, message: dict[str, Any]) -> None:
        self.bars = {trade["id"]: trade for trade in message["trades"]}
        self.oldest = min(((trade["t"], at) for at, trade in self.bars.items()), default=(0, 0))
        self.from_ms = 0
        self.cursor = message["cursor"]


class BookFolding(ChannelFolding):
    """`bars`: the levels of a book by side and price, and what is said of the book, by name."""

    bars: dict[Any, Any]

    def __init__(self, feed: Served, symbol: str, depth: int) -> None:
        super().__init__(feed, "book", symbol, "", 0, depth=depth)

    def request(self) -> dict[str, Any]:
        request = super().request()
        del request["timeframe"], request["limit"]
        return request

    async def expected(self) -> dict[Any, Any]:
        return _book(await self.feed.json(f"/v1/book/{self.symbol}", **self.asked))

    def differences(self, expected: dict[Any, Any]) -> dict[Any, Any]:
        """A book of the same levels is not told again only because it was written again."""
        if self._task and self._task.done():
            self._task.result()
        names = {name for name in expected.keys() | self.bars.keys() if name not in ("t", "updateId")}
        return {name: self.bars.get(name) for name in names if self.bars.get(name) != expected.get(name)}

    def hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "book":
            levels = (self.bars | _book(message)).items()
            self.bars = {name: value for name, value in levels if isinstance(name, str) or value}
        super().hear(message)

    def _replace(self, message: dict[str, Any]) -> None:
        self.bars, self.cursor = _book(message), message["cursor"]


def _book(message: dict[str, Any]) -> dict[Any, Any]:
    sides = {(side, price): size for side in ("bids", "asks") for price, size in message[side]}
    return {name: message[name] for name in ("t", "updateId", "live")} | sides
