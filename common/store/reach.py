"""How far back what is kept of many symbols reaches, in one look."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from common.series import FOOTPRINTS
from common.store import scripts
from common.store.bulk import BulkExchange
from common.store.client import translated
from common.store.keys import SymbolKeys

_DOING = "look at how far back symbols reach"
_SCRIPT = scripts.reach.compiled()
_TIME = struct.Struct("<q")


class KeptReach(NamedTuple):
    """The oldest of each kind that is kept, in ms UTC; None: nothing is."""

    candles_ms: int | None = None
    footprints_ms: int | None = None
    trades_ms: int | None = None
    depth_ms: int | None = None


async def read_reach(client: Redis, symbols: Sequence[str], *, archiving: bool) -> list[KeptReach]:
    """`archiving`: what the archive alone has counts, too. Of a symbol that can't be read nothing is known."""
    with translated(_DOING):
        await client.script_load(_SCRIPT.text)
    found = await BulkExchange(client, _DOING).send(_command(SymbolKeys(symbol)) for symbol in symbols)
    return [KeptReach() if isinstance(reply, ResponseError) else _reach(reply, archiving=archiving) for reply in found]


def _command(keys: SymbolKeys) -> tuple[str | int, ...]:
    named = [getattr(keys, name) for name in scripts.reach.keys]
    return ("EVALSHA", _SCRIPT.digest, len(named) + 1, *named, keys.minutes(FOOTPRINTS))


def _reach(reply: Sequence[bytes], *, archiving: bool) -> KeptReach:
    *times, trade, candles_from, footprints_from, trades_from = reply
    candles, footprints, candle_floor, footprint_floor, sealed, depth = map(_ms, times)
    trades = _TIME.unpack(trade)[0] if trade else None
    candles, footprints = (
        _least(candles, _above(sealed, candle_floor)),
        _least(footprints, _above(sealed, footprint_floor)),
    )
    if archiving:
        candles, footprints = _least(candles, _ms(candles_from)), _least(footprints, _ms(footprints_from))
        if trades_from:
            # -1: it has all trades that there ever were.
            trades = _least(trades, int(trades_from)) if int(trades_from) >= 0 else candles
    return KeptReach(candles, footprints, trades, depth)


def _ms(text: bytes) -> int | None:
    return int(float(text)) if text else None


def _least(*found: int | None) -> int | None:
    return min((ms for ms in found if ms is not None and ms >= 0), default=None)


def _above(sealed_ms: int | None, floor_ms: int | None) -> int | None:
    return None if sealed_ms is None else max(sealed_ms, floor_ms or 0)
