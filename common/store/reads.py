"""What readers see of a symbol: its state and a range of its series, from one transaction, so that they agree."""

from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis

from common.market.coverage import Coverage, load_coverage
from common.market.instrument import Ids
from common.market.trade import Trades
from common.store.client import translated
from common.store.keys import SymbolKeys

_STATE_FIELDS = ("seq", "token", "watermark_ms", "updated_ms", "candle", "footprint", "coverage", "refused", "position")


@dataclass(frozen=True, slots=True)
class Range:
    """Minutes that open in `[start_ms, end_ms)`; with `newest`, only the last that many of them."""

    start_ms: int
    end_ms: int
    newest: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """The last commit. `candle` and `footprint` are the packed open minute, empty while there is none."""

    seq: int
    token: str
    watermark_ms: int
    updated_ms: int
    candle: bytes
    footprint: bytes
    coverage_json: bytes
    refused: dict[str, int]
    position: str

    @property
    def cursor(self) -> str:
        """Names this commit among all that ever were: a rewound store may use a `seq` twice, a token never."""
        return f"{self.seq}-{self.token}"

    def coverage(self, ids: Ids) -> Coverage:
        """For its spans and holes only: without the ids a `RecentCoverage` remembers."""
        return load_coverage(ids, orjson.loads(self.coverage_json), Trades())


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit in the trade stream; `trades` is packed."""

    seq: int
    token: str
    watermark_ms: int
    trades: bytes


@dataclass(frozen=True, slots=True)
class Owner:
    """`token` is empty while nobody holds the symbol; `beat_ms` is the server's time of the last sign of life."""

    token: str
    holder: str
    epoch: int
    beat_ms: int


@dataclass(frozen=True, slots=True)
class View:
    """One consistent look. `state` is None before the first commit. `server_ms`: Redis' clock, for ages."""

    state: State | None
    owner: Owner
    health: dict[str, str]
    server_ms: int
    candles: list[bytes]
    footprints: list[bytes]
    entries: list[Entry]


class SymbolReader:
    """Reads of one symbol. Cheap to make; the client is shared."""

    def __init__(self, client: Redis, symbol: str) -> None:
        self.keys = SymbolKeys(symbol)
        self._client = client

    async def view(
        self, candles: Range | None = None, footprints: Range | None = None, since_seq: int | None = None
    ) -> View:
        """Read the state and what is asked for. `since_seq`: trade stream entries from that one on, itself included."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hmget(self.keys.state, _STATE_FIELDS)
        pipe.hmget(self.keys.owner, ("token", "holder", "epoch", "beat_ms"))
        pipe.hgetall(self.keys.health)
        pipe.time()
        _ask(pipe, self.keys.candles, candles)
        _ask(pipe, self.keys.footprints, footprints)
        if since_seq is not None:
            pipe.xrange(self.keys.trades, f"{since_seq}-0", "+")
        with translated(f"read of {self.keys.symbol}"):
            state, owner, health, (seconds, micros), *rest = await pipe.execute()
        entries = rest.pop() if since_seq is not None else []
        footprint_members = rest.pop() if footprints else []
        candle_members = rest.pop() if candles else []
        return View(
            _state(state),
            _owner(owner),
            {key.decode(): value.decode() for key, value in health.items()},
            int(seconds) * 1000 + int(micros) // 1000,
            _ascending(candle_members, candles),
            _ascending(footprint_members, footprints),
            [_entry(entry_id, fields) for entry_id, fields in entries],
        )


def _ask(pipe: Any, key: str, wanted: Range | None) -> None:
    if wanted is None:
        return
    before_end = f"({wanted.end_ms}"
    if wanted.newest is None:
        pipe.zrangebyscore(key, wanted.start_ms, before_end)
    else:
        pipe.zrevrangebyscore(key, before_end, wanted.start_ms, start=0, num=wanted.newest)


def _ascending(members: list[bytes], wanted: Range | None) -> list[bytes]:
    return members[::-1] if wanted and wanted.newest is not None else members


def _state(values: list[bytes | None]) -> State | None:
    if values[0] is None:
        return None
    seq, token, watermark_ms, updated_ms, candle, footprint, coverage, refused, position = (v or b"" for v in values)
    return State(
        int(seq),
        token.decode(),
        int(watermark_ms),
        int(updated_ms or 0),
        candle,
        footprint,
        coverage,
        orjson.loads(refused),
        position.decode(),
    )


def _owner(values: list[bytes | None]) -> Owner:
    token, holder, epoch, beat_ms = (v or b"" for v in values)
    return Owner(token.decode(), holder.decode(), int(epoch or 0), int(beat_ms or 0))


def _entry(entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    return Entry(
        int(entry_id.partition(b"-")[0]),
        fields[b"token"].decode(),
        int(fields[b"watermark_ms"]),
        fields[b"trades"],
    )
