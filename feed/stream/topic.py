"""What is listened to of a symbol: a channel, and what it was asked with."""

from dataclasses import dataclass

import orjson

from common.store.registry import Market
from feed.wire import answers

# The channel where none is named. Its messages and lists don't name it either.
CANDLES = "candles"

Part = str | int


@dataclass(frozen=True, slots=True)
class Topic:
    """`parts`: the timeframe, if the channel has one, and the parameters that were given, as they were given.

    Of two spellings of a parameter each is a topic: a client finds in what it is told just what it said.
    """

    channel: str
    parts: tuple[tuple[str, Part], ...]

    def __str__(self) -> str:
        return " ".join(map(str, (self._channel | dict(self.parts)).values()))

    def told(self, symbol: str) -> dict[str, Part]:
        """As `list`, `unsubscribed` and errors name it."""
        return {"symbol": symbol} | self._channel | dict(self.parts)

    def names(self, market: Market) -> str:
        """As its messages name it: members of a JSON object. Parameters are apart: a snapshot says what came of them,
        such as the number that `row` was understood as."""
        parts = dict(self.parts)
        timeframe = parts.pop("timeframe", None)
        named: dict[str, object] = {"symbol": market.symbol}
        named |= {"timeframe": timeframe} if timeframe else {}
        named |= {"simulated": True} if answers.simulated(market) else {}
        named |= self._channel
        named |= {"params": parts} if parts else {}
        return orjson.dumps(named).decode()[1:-1]

    @property
    def _channel(self) -> dict[str, Part]:
        return {} if self.channel == CANDLES else {"channel": self.channel}
