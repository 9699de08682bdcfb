"""Trade ids of ccxt, which are texts, as the whole numbers of the fleet.

    a plain number below 2**62    that number
    any other text                2**62 + 62 bits of its BLAKE2b hash: an UUID, say
    no id at all                  the same of time, price, size, side, and which of the equal trades of its
                                  millisecond it is

The three never meet. Equal texts give equal ids in every process and at every time; for two different texts of one
market to give the same one is as likely as 1 in 10**18. Such ids name trades, and say nothing of their order: of trades
that share a millisecond the one with the smaller id counts as the earlier.
"""

import re
from dataclasses import dataclass, field
from hashlib import blake2b

from common.market.builder.validity import BAD_ID
from workers.venues.shared.fields import BadField, shown

# Ids from here on are hashes.
HASHED = 1 << 62

# Only as it would be printed: 007 and 7 are two ids.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
# Equal trades of one millisecond come close together: so many of the last ones are remembered.
_REMEMBERED = 10_000
# So many numbers in a row are no hexadecimal texts that happen to have no letter.
_SURE = 20


def trade_id(text: str) -> int:
    if _NUMBER.fullmatch(text) and (number := int(text)) < HASHED:
        return number
    return _hashed(text, b"id")


@dataclass(slots=True)
class Ids:
    """Ids of the trades of one stream, or of one page: either begins with a millisecond's first trade.

    An exchange names its trades or does not, and numbers them or does not: a trade unlike those before is no good.
    """

    _counts: dict[str, int] = field(default_factory=dict)
    _numbers: int = 0
    _texts: int = 0

    def of(self, named: object, ts_ms: object, price: str, size: str, side: int) -> int:
        """`named`: what ccxt gives as the id."""
        if named in (None, ""):
            return self._nameless(f"{ts_ms} {price} {size} {side}")
        text = str(named)
        if _NUMBER.fullmatch(text):
            self._numbers += 1
        elif self._numbers >= _SURE and not self._texts:
            raise BadField(BAD_ID, f"id {shown(text)} follows {self._numbers} that are numbers")
        else:
            self._texts += 1
        return trade_id(text)

    def _nameless(self, text: str) -> int:
        if self._numbers or self._texts:
            raise BadField(BAD_ID, "no id, where other trades have one")
        count = self._counts.pop(text, 0)
        self._counts[text] = count + 1
        if len(self._counts) > _REMEMBERED:
            del self._counts[next(iter(self._counts))]
        return _hashed(f"{text} {count}", b"nameless")


def _hashed(text: str, kind: bytes) -> int:
    digest = blake2b(text.encode(errors="surrogatepass"), digest_size=8, person=kind).digest()
    return HASHED | int.from_bytes(digest) >> 2
