"""What is traded for what, as far as the name of a market says it."""

import re
from typing import NamedTuple

# What names without a mark between the two end with; the longer ones first.
_QUOTES = ("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USD", "EUR", "GBP", "JPY", "TRY", "BRL", "BTC", "ETH", "BNB")
_MARKS = re.compile(r"[-/_]")
# What a future or option adds to it: `:USDT`, `_250328`, `-PERP`.
_CONTRACT = re.compile(r"(:.*|[-_](\d{6,8}|PERP|SWAP).*)$")


class Pair(NamedTuple):
    """`base` is priced in `quote`."""

    base: str
    quote: str


def pair_of(name: str) -> Pair | None:
    """Read `BTC-USD`, `XBT/EUR`, `BTC/USDT:USDT` or `BTCUSDT`; None where that is no name of a pair."""
    bare = _CONTRACT.sub("", name.upper())
    parts = _MARKS.split(bare)
    if len(parts) == 2 and all(parts):
        return Pair(*parts)
    quote = next((each for each in _QUOTES if bare.endswith(each) and bare != each), None)
    return Pair(bare.removesuffix(quote), quote) if quote and len(parts) == 1 else None
