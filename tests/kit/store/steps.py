"""Commits to try, and all that a store holds, to be compared."""

from typing import Any

from redis.asyncio import Redis

from common.market.builder.builder import Checkpoint
from common.market.coding import codec
from common.market.trade import BUY, Trade, Trades
from common.store.commit import Commit
from common.store.lease import NOTHING_SEEN
from common.store.symbol import Claim, SymbolStore

SYMBOL = "TEST:A"
MINUTE_MS = 60_000


def trades(*ids: int) -> Trades:
    return Trades.of(Trade(1_000 * number, number, 100 + number, 5, BUY) for number in ids)


def step(token: str, seq: int, *ids: int, **fields: Any) -> Commit:
    """A commit of the trades with these ids, standing at `seq`."""
    batch = trades(*ids)
    plain: dict[str, Any] = {
        "trade_count": len(batch),
        "trades": codec.pack_trades(batch),
        "position": f"after {seq + 1}",
        "checkpoint": Checkpoint(1_000 * (seq + 1), b"", b"", b"[[0]]", b"{}"),
        "minutes": {},
        "events": [],
        "message": b"",
        "messages": [],
    }
    return Commit(token=token, seq=seq, **plain | fields)


async def claim(store: SymbolStore, token: str) -> Claim:
    """Claim a symbol that is free."""
    found = await store.claim(token, NOTHING_SEEN, "tests:1")
    assert isinstance(found, Claim)
    return found


async def everything(client: Redis) -> dict[str, Any]:
    """All keys with all they hold, but for the times of the server's clock."""
    found: dict[str, Any] = {}
    keys: Any = await client.keys("*")
    for key in sorted(keys):
        kind: Any = await client.type(key)
        found[key.decode()] = await _value(client, key, kind)
    return found


async def _value(client: Redis, key: bytes, kind: bytes) -> Any:
    if kind == b"hash":
        fields: Any = await client.hgetall(key)
        return {name: value for name, value in fields.items() if name not in (b"beat_ms", b"updated_ms")}
    if kind == b"string":
        return await client.get(key)
    if kind == b"stream":
        return await client.xrange(key)
    if kind == b"zset":
        pairs: Any = await client.zrange(key, 0, -1, withscores=True)
        return list(map(tuple, pairs))
    raise AssertionError(f"key {key!r} is a {kind!r}")
