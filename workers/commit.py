"""From what a step changed to what one commit writes and publishes."""

from collections.abc import Iterable
from dataclasses import dataclass

from common.market import codec
from common.market.bar_json import bar_json
from common.market.builder import Builder, Changes, Minute, pack_minute
from common.market.coverage import covers
from common.market.instrument import Instrument
from common.market.timeframe import DAY_MS, MINUTE_MS
from common.market.trade import SIDE_NAMES, Trades
from common.store.keys import SymbolKeys
from common.store.messages import CommitMessage
from common.store.symbol import Commit


@dataclass(frozen=True, slots=True)
class Retention:
    """Days of minutes kept, counted back from the newest closed one."""

    candle_days: int
    footprint_days: int


@dataclass(frozen=True, slots=True)
class Head:
    """What a commit says of its writer: token, where it stands, where its source goes on, and its health if new."""

    token: str
    seq: int
    position: str
    health: dict[str, str]


def make_commit(
    head: Head, builder: Builder, changes: Changes, retention: Retention, *, trades_wanted: bool = False
) -> Commit:
    """`trades_wanted`: whether anybody listens to the trades channel; their JSON is not written for nobody."""
    keys = SymbolKeys(builder.instrument.symbol)
    packed = {open_ms: pack_minute(minute) for open_ms, minute in (changes.closed | changes.amended).items()}
    trades = codec.pack_trades(changes.trades)
    text = _Text(builder, head)
    events = [*text.events("candle", changes.closed), *text.events("amend", changes.amended)]
    messages = [
        (keys.commits, _packed_message(head, builder, changes, trades)),
        *([(keys.candles, text.bars("amend", changes.amended.values()))] if changes.amended else []),
        (keys.candles, text.bars("candle", [*changes.closed.values(), *([changes.open] if changes.open else [])])),
        *((keys.events, event) for event in events),
        *([(keys.trades, text.trades(changes.trades))] if trades_wanted and changes.trades else []),
    ]
    return Commit(
        token=head.token,
        seq=head.seq,
        trade_count=len(changes.trades),
        trades=trades,
        position=head.position,
        checkpoint=builder.checkpoint(),
        minutes=packed,
        events=events,
        messages=messages,
        health=head.health,
        candle_floor_ms=_floor(changes, retention.candle_days),
        footprint_floor_ms=_floor(changes, retention.footprint_days),
    )


@dataclass(frozen=True, slots=True)
class _Text:
    """The JSON of a commit's facts (docs/protocol.md, "Pub/sub")."""

    builder: Builder
    head: Head

    def events(self, kind: str, minutes: dict[int, Minute]) -> Iterable[bytes]:
        for minute in minutes.values():
            yield self._message(kind, f'"timeframe":"1m","bar":{self._bar(minute)}')

    def bars(self, kind: str, minutes: Iterable[Minute]) -> bytes:
        return self._message(kind, f'"timeframe":"1m","bars":[{",".join(map(self._bar, minutes))}]')

    def trades(self, trades: Trades) -> bytes:
        rows = ",".join(_trade(self.builder.instrument, *row) for row in trades.rows())
        return self._message("trade", f'"trades":[{rows}]')

    def _message(self, kind: str, body: str) -> bytes:
        symbol, head = self.builder.instrument.symbol, self.head
        text = f'{{"type":"{kind}","symbol":"{symbol}","seq":{head.seq + 1},"token":"{head.token}",{body}}}'
        return text.encode()

    def _bar(self, minute: Minute) -> str:
        candle, builder = minute.candle, self.builder
        end_ms = candle.open_ms + MINUTE_MS
        return bar_json(
            candle,
            builder.instrument,
            is_final=end_ms <= builder.watermark_ms,
            partial=not covers(builder.coverage, candle.open_ms, end_ms),
        )


def _packed_message(head: Head, builder: Builder, changes: Changes, trades: bytes) -> bytes:
    return CommitMessage(
        seq=head.seq + 1,
        token=head.token,
        watermark_ms=builder.watermark_ms,
        closed=[minute.candle for minute in changes.closed.values()],
        amended=[minute.candle for minute in changes.amended.values()],
        open=changes.open.candle if changes.open else None,
        trades=trades,
    ).pack()


def _trade(instrument: Instrument, ts_ms: int, trade_id: int, ticks: int, lots: int, side: int) -> str:
    price, size = instrument.price_text(ticks), instrument.size_text(lots)
    return f'{{"t":{ts_ms},"id":{trade_id},"p":{price},"q":{size},"side":"{SIDE_NAMES[side]}"}}'


def _floor(changes: Changes, days: int) -> int | None:
    """Where retention ends, asked only when a minute closes: that is when a series grows."""
    return max(changes.closed) - days * DAY_MS if changes.closed else None
