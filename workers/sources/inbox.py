"""The inbox: a Redis stream anybody may XADD trades to, in any language. Its fields are in docs/protocol.md.

Two conventions, told apart by their fields, entry by entry:

    ours         ts_ms, price, size, side (buy|sell|unknown), id
    cryptofeed   timestamp (seconds), price, amount, side, id       stream trades-EXCHANGE-SYMBOL

The position is the id of the last entry taken: it is committed with its trades, so each entry is applied once, also
across a crash. An id that is a whole number is the trade's id. Any other id (text, or none) can't be an order key:
then the place in the stream is, and a text that was seen among the last entries marks a duplicate.
"""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from common.clock import Clock
from common.errors import BadInput, OperatorError
from common.market.candle import LIVE
from common.market.coverage import DUPLICATE
from common.market.instrument import Instrument
from common.market.trade import SIDE_CODES, UNKNOWN, Trade, Trades
from common.market.units import parse
from common.store.client import COMMAND_TIMEOUT_S, translated
from common.store.keys import SymbolKeys
from common.store.registry import Market
from workers.sources.base import Applied, Batch

# Entries left in the stream behind the worker: they tell which text ids were there already.
KEPT_BEHIND = 10_000
# Trimming costs about 1 ms; consumed entries wait this long for it.
TRIM_EVERY_MS = 5_000
# A stream id is <ms>-<n>; as one number it leaves room for a million entries in one ms.
_SEQUENCE_BITS = 20

BAD_FIELDS = "bad_fields"
Fields = dict[bytes, bytes]


@dataclass(slots=True)
class Inbox:
    """`trim`: whether the stream is ours to cut behind us."""

    instrument: Instrument
    stream: str
    commands: Redis
    blocking: Redis
    clock: Clock
    trim: bool
    name: str = "inbox"
    sources: int = LIVE
    _position: str = "0-0"
    _behind: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=KEPT_BEHIND))
    _texts: Counter[str] = field(default_factory=Counter)
    _trimmed_at_ms: int = 0

    @classmethod
    def of(cls, market: Market, commands: Redis, blocking: Redis, clock: Clock) -> "Inbox":
        stream = str(market.source.get("stream") or SymbolKeys(market.symbol).inbox)
        trim = bool(market.source.get("trim", True))
        return cls(market.instrument, stream, commands, blocking, clock, trim)

    async def open(self, position: str, applied: Applied) -> None:
        await self._check_type()
        self._position = position or "0-0"
        with translated(f"read of {self.stream}"):
            behind: Any = await self.commands.xrevrange(self.stream, self._position, "-", count=KEPT_BEHIND)
        for entry_id, fields in reversed(behind):
            self._remember(entry_id.decode(), _text_id(fields))

    async def read(self, limit: int, wait_ms: int) -> Batch:
        with translated(f"read of {self.stream}"):
            # The client has no time-out of its own; a server that hangs must not hold the worker.
            async with asyncio.timeout(wait_ms / 1_000 + COMMAND_TIMEOUT_S):
                # Never "$": a read that is tried again would start from a new "now" and skip what came between.
                answer: Any = await self.blocking.xread({self.stream: self._position}, count=limit, block=wait_ms)
        entries = _entries(answer)
        trades, refused = self._parse(entries)
        if entries:
            self._position = entries[-1][0].decode()
        backlog = len(entries) == limit
        return Batch(trades, self._position, 0 if backlog else self.clock.now_ms(), backlog, refused=refused)

    async def committed(self, position: str) -> None:
        now_ms = self.clock.monotonic_ms()
        if not self.trim or len(self._behind) < KEPT_BEHIND or now_ms - self._trimmed_at_ms < TRIM_EVERY_MS:
            return
        self._trimmed_at_ms = now_ms
        with translated(f"trim of {self.stream}"):
            await self.commands.xtrim(self.stream, minid=self._behind[0][0], approximate=True)

    async def close(self) -> None:
        """The clients belong to the process."""

    async def _check_type(self) -> None:
        """cryptofeed's other writers use the same key names for sorted sets and strings."""
        with translated(f"type of {self.stream}"):
            found: Any = await self.commands.type(self.stream)
        if found not in (b"stream", b"none"):
            raise OperatorError(f"key {self.stream!r} is a {found.decode()}, expected a stream of trades")

    def _parse(self, entries: list[tuple[bytes, Fields]]) -> tuple[Trades, Counter[str]]:
        rows, refused = [], Counter[str]()
        for raw_id, fields in entries:
            entry_id, text = raw_id.decode(), _text_id(fields)
            duplicate = bool(text) and self._texts[text] > 0
            self._remember(entry_id, text)
            try:
                trade = trade_of(entry_id, fields, self.instrument)
            except (BadInput, ValueError, KeyError, OverflowError):
                refused[BAD_FIELDS] += 1
                continue
            if duplicate:
                refused[DUPLICATE] += 1
            else:
                rows.append(trade)
        return Trades.of(rows), refused

    def _remember(self, entry_id: str, text: str) -> None:
        if len(self._behind) == KEPT_BEHIND:
            _, forgotten = self._behind[0]
            self._texts[forgotten] -= 1
            if self._texts[forgotten] <= 0:
                del self._texts[forgotten]
        self._behind.append((entry_id, text))
        self._texts[text] += 1


def trade_of(entry_id: str, fields: Fields, instrument: Instrument) -> Trade:
    """Read one entry. BadInput, ValueError, KeyError or OverflowError (an infinite time) where it is no trade."""
    texts = {name.decode(): value.decode() for name, value in fields.items()}
    if "ts_ms" in texts:
        ts_ms, size = int(texts["ts_ms"]), texts["size"]
    else:
        # Floating seconds: the milliseconds are whole ones written with noise behind them.
        ts_ms, size = round(float(texts["timestamp"]) * 1_000), texts["amount"]
    return Trade(
        ts_ms,
        _trade_id(texts.get("id", ""), entry_id),
        instrument.price_ticks(texts["price"]),
        parse(size, instrument.size_decimals),
        SIDE_CODES.get(texts.get("side", "").lower(), UNKNOWN),
    )


def _trade_id(text: str, entry_id: str) -> int:
    if _is_number(text):
        return int(text)
    ms, _, sequence = entry_id.partition("-")
    return (int(ms) << _SEQUENCE_BITS) + int(sequence)


def _text_id(fields: Fields) -> str:
    """The id, if it is one that only tells duplicates: neither a number nor missing (cryptofeed writes `None`)."""
    text = fields.get(b"id", b"").decode(errors="replace")
    return "" if _is_number(text) or text in ("", "None") else text


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def _entries(answer: Any) -> list[tuple[bytes, Fields]]:
    """The entries of one stream, in whichever shape the protocol version gives them."""
    if not answer:
        return []
    found = next(iter(answer.values())) if isinstance(answer, dict) else answer[0][1]
    # RESP3 nests the entries one list deeper.
    return found[0] if found and isinstance(found[0], list) and not isinstance(found[0][0], bytes) else found
