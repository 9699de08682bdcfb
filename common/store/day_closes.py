"""What many symbols closed at, step by step of a day: of minutes that are open, sealed, or in a daily candle."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from common.errors import FleetError, StoreUnavailable
from common.market.timeframes.timeframe import day_of
from common.series import CANDLES
from common.store import scripts
from common.store.bulk import BulkExchange, Command
from common.store.client import translated
from common.store.keys import SymbolKeys

_DOING = "read of what symbols closed at"
_SCRIPT = scripts.closes.compiled()
# Of each symbol.
_COMMANDS = 3


@dataclass(frozen=True, slots=True)
class Steps:
    """`count` steps of `step_ms` from `from_ms` on."""

    from_ms: int
    step_ms: int
    count: int

    @property
    def end_ms(self) -> int:
        return self.from_ms + self.count * self.step_ms


class DayCloses(NamedTuple):
    """Of one symbol. `opens`, `closes`: of the newest unsealed minute before the first step, and of each step, as they
    are packed (closes.lua).

    `blocks`: the sealed days that the steps and what comes before them lie in. `daily`: packed, the newest daily candle
    that opens before the first step.
    """

    opens: bytes
    closes: bytes
    blocks: list[bytes]
    daily: bytes | None


async def read_closes(client: Redis, symbols: Sequence[str], steps: Steps) -> list[DayCloses | FleetError]:
    """At once, however many symbols there are."""
    with translated(_DOING):
        # Harmless where it is there: a look of hundreds of symbols that finds it gone would be made for nothing.
        await client.script_load(_SCRIPT.text)
    commands = [command for symbol in symbols for command in _commands(SymbolKeys(symbol), steps)]
    replies = await BulkExchange(client, _DOING).send(commands)
    groups = zip(*(replies[at::_COMMANDS] for at in range(_COMMANDS)), strict=True)
    return [_closes(symbol, *group) for symbol, group in zip(symbols, groups, strict=True)]


def _commands(keys: SymbolKeys, steps: Steps) -> Iterator[Command]:
    arguments = scripts.closes.pack(
        minutes=keys.candles, from_ms=steps.from_ms, step_ms=steps.step_ms, count=steps.count
    )
    yield ("EVALSHA", _SCRIPT.digest, 1, keys.candles, *arguments)
    yield ("HMGET", keys.sealed(CANDLES.name), *sorted({day_of(steps.from_ms), day_of(steps.end_ms - 1)}))
    yield ("ZREVRANGEBYSCORE", keys.daily, f"({steps.from_ms}", "-inf", "LIMIT", 0, 1)


def _closes(symbol: str, unsealed: Any, blocks: Any, daily: Any) -> DayCloses | FleetError:
    for reply in (unsealed, blocks, daily):
        if isinstance(reply, ResponseError):
            return StoreUnavailable(f"{_DOING} failed for {symbol}: {reply}")
    opens, closes = unsealed
    return DayCloses(opens, closes, [block for block in blocks if block], daily[0] if daily else None)
