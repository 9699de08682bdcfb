"""The JSON everybody sees of a candle, the same in HTTP, WebSocket and pub/sub (docs/protocol.md).

    {"t":1736690400000,"o":8.12,"h":8.18,"l":8.1,"c":8.15,"v":124553,"bv":70110,"q":1014230.55,"n":812,
     "isFinal":false,"rev":0,"source":"live"}

Numbers are the shortest text of the exact decimal: written from integers, never by way of a float.
"""

from collections.abc import Iterable

from common.market.candle import Candle
from common.market.instrument import Instrument


def bar_json(candle: Candle, instrument: Instrument, *, is_final: bool, partial: bool = False) -> str:
    """`uv` (volume of unknown side) and `partial` are there only where they say something."""
    price, size = instrument.price_text, instrument.size_text
    unknown = f',"uv":{size(candle.unknown_lots)}' if candle.unknown_lots else ""
    return (
        f'{{"t":{candle.open_ms},"o":{price(candle.open_ticks)},"h":{price(candle.high_ticks)}'
        f',"l":{price(candle.low_ticks)},"c":{price(candle.close_ticks)},"v":{size(candle.volume_lots)}'
        f',"bv":{size(candle.buy_lots)}{unknown},"q":{instrument.turnover_text(candle.turnover)}'
        f',"n":{candle.trades},"isFinal":{_bool(is_final)},"rev":{candle.rev},"source":"{candle.source}"'
        + (',"partial":true}' if partial else "}")
    )


def open_ended(bar: bytes) -> bytes:
    """Return a bar without its closing brace: whether it is partial is told before that, and may be known far later."""
    return bar[:-1]


def run_of(bars: list[bytes], partial: Iterable[int]) -> bytes:
    """Return open-ended bars, closed, with commas between them. `partial`: the positions of those that are. Changes
    the list."""
    for at in partial:
        bars[at] += b',"partial":true'
    return b"},".join(bars) + b"}" if bars else b""


def _bool(value: bool) -> str:
    return "true" if value else "false"
