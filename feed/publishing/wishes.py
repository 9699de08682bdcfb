"""What a subscriber of Redis asks for, by the name of its channel: text in, values out."""

import re
from dataclasses import dataclass

from common.errors import BadInput
from common.market.instrument import check_symbol
from common.market.timeframes.timeframe import MINUTE, Timeframe
from common.store.keys import ROLLED
from feed.stream.topic import CANDLES, Topic

# Candles that the commit and the roll-up jobs publish themselves. Of these a feed keeps the newest value only.
TOLD_BY_OTHERS = frozenset((MINUTE.text, *ROLLED))

_NAME = re.compile(r"\{([^{}]*)\}:(?:(trades)|candles:(.*))", re.DOTALL)
_EXPECTED = "expected {SYMBOL}:candles:<timeframe>, the timeframe written as 15m, 4h, 1d"


@dataclass(frozen=True, slots=True)
class Wish:
    """A channel that somebody listens to. `topic`: the live series it is made of; None: its symbol is only asked for.

    `is_told`: whether a feed is to publish it; else it keeps the newest value of the series.
    """

    channel: str
    symbol: str
    topic: Topic | None = None
    is_told: bool = False


def wish_of(channel: str) -> Wish:
    """Raises BadInput where nothing is ever published under that name."""
    found = _NAME.fullmatch(channel)
    if not found:
        raise BadInput(f"channel {channel[:80]!r} is none that is published, {_EXPECTED}")
    symbol, trades, text = found.groups()
    try:
        check_symbol(symbol)
        if trades:
            return Wish(channel, symbol)
        timeframe = Timeframe.parse(text)
    except BadInput as error:
        raise BadInput(f"channel {channel[:80]!r} is none that is published: {error}") from error
    if timeframe.text != text:
        raise BadInput(f"channel {channel[:80]!r} is none that is published, expected candles:{timeframe.text}")
    topic = Topic(CANDLES, (("timeframe", text),))
    return Wish(channel, symbol, topic, text not in TOLD_BY_OTHERS)
