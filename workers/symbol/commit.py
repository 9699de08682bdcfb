"""From what a step changed to what one commit writes and publishes."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import starmap

import orjson

from common.market.builder.builder import Builder, Changes, Checkpoint, Minute, pack_minute
from common.market.builder.floor import floor_of
from common.market.builder.gaps import Gap
from common.market.builder.recent import Conflict
from common.market.builder.validation import Differences
from common.market.candle import Candle
from common.market.coding.bar_json import bar_json
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS
from common.market.trade import SIDE_NAMES, Trades
from common.series import CANDLES, MINUTE_SERIES, MinuteSeries
from common.store.commit import Commit
from common.store.keys import SymbolKeys
from common.store.messages import NEWEST, WHOLE, CommitMessage
from common.store.registry import Market
from workers.sources.base import Mismatch

# How a mismatch names the fields of a candle, and how it writes them.
_FIELDS: dict[str, tuple[str, Callable[[Instrument, int], str]]] = {
    "open_ticks": ("open", Instrument.price_text),
    "high_ticks": ("high", Instrument.price_text),
    "low_ticks": ("low", Instrument.price_text),
    "close_ticks": ("close", Instrument.price_text),
    "volume_lots": ("volume", Instrument.size_text),
    "buy_lots": ("bought", Instrument.size_text),
    "sell_lots": ("sold", Instrument.size_text),
    "turnover": ("turnover", Instrument.turnover_text),
    "trades": ("trades", lambda instrument, count: str(count)),
}


@dataclass(frozen=True, slots=True)
class Retention:
    """Days of minutes kept, counted back from the newest trade: whole days, as they are sealed."""

    candle_days: int
    footprint_days: int

    def of(self, market: Market) -> "Retention":
        """The same, or what is kept of the market, where its entry says so."""
        return Retention(market.candle_days or self.candle_days, market.footprint_days or self.footprint_days)

    def days(self, series: MinuteSeries) -> int:
        found: int = getattr(self, series.retention)
        return found

    def floors_ms(self, newest_ms: int) -> dict[str, int]:
        """Where it ends, by series."""
        return {name: floor_of(newest_ms, self.days(series)) for name, series in MINUTE_SERIES.items()}


@dataclass(frozen=True, slots=True)
class CommitHead:
    """All that a commit has besides what the builder changed."""

    token: str
    # Where the writer stands, before it.
    seq: int
    # Where the source goes on after it.
    position: str
    # Empty if it is as it was told.
    health: dict[str, str]
    # Those that changed with this step, and the ids of those to be dropped.
    gaps: Sequence[Gap] = ()
    forgotten: Sequence[str] = ()
    # Of its minutes, by their open; and of minutes stored before.
    faults: Mapping[int, Sequence[str]] = field(default_factory=dict)
    mismatches: Sequence[Mismatch] = ()
    # The amended minutes that the store had, as they were, by their opens; and opens of those in whose place the
    # venue's own candle came.
    stored: Mapping[int, Candle] = field(default_factory=dict)
    replaced: Collection[int] = ()
    # Minutes that open before had been dropped when the writer began: retention may have been longer since, or shorter.
    floor_ms: int = -1
    # The form in which the commit is written (common.store.format).
    format: int = 1
    # Trades that were refused because others with their ids had been applied.
    conflicts: Sequence[Conflict] = ()
    # As in a Batch.
    text_ids: Sequence[str] = ()
    note: str | None = None


def make_commit(
    head: CommitHead, builder: Builder, changes: Changes, retention: Retention, *, trades_wanted: bool = False
) -> Commit:
    """`trades_wanted`: whether the trades channel has listeners; without any their JSON is not written."""
    keys = SymbolKeys(builder.instrument.symbol)
    # Asked only when a minute is written: that is when a series grows, also at its old end.
    floors_ms = retention.floors_ms(builder.newest_ms) if changes.closed or changes.amended else {}
    # Of an older minute nothing is left here, unless it is kept until the archive has it. What late trades alone make
    # is no candle to tell of: the store keeps it for the archive, which has the rest.
    amended, parts = dict[int, Minute](), dict[int, Minute]()
    for open_ms, minute in changes.amended.items():
        if open_ms >= max(floors_ms.get(CANDLES.name, 0), head.floor_ms) or open_ms in head.stored:
            amended[open_ms] = minute
        elif open_ms not in head.replaced:
            parts[open_ms] = minute
    bars = [*changes.closed.values(), *([changes.open] if changes.open else [])]
    checkpoint = builder.checkpoint()
    text = Text(builder, head)
    events = [
        *map(text.closed, changes.closed.values()),
        *map(text.amended, amended.values()),
        *map(text.gap, head.gaps),
        *starmap(text.fault, head.faults.items()),
        *starmap(text.mismatch, head.mismatches),
        *map(text.conflict, head.conflicts),
    ]
    messages = [
        *([(keys.candles, text.bars("amend", amended.values()))] if amended else []),
        *([(keys.candles, text.bars("candle", bars))] if bars else []),
        *((keys.events, event) for event in events),
        *([(keys.trades, text.trades(changes.trades))] if trades_wanted and changes.trades else []),
    ]
    return Commit(
        token=head.token,
        seq=head.seq,
        trade_count=len(changes.trades),
        trades=changes.packed,
        position=head.position,
        checkpoint=checkpoint,
        minutes={open_ms: pack_minute(minute) for open_ms, minute in (changes.closed | amended | parts).items()},
        events=events,
        message=_message(head, checkpoint, changes, amended | parts).head(),
        messages=messages,
        health=head.health,
        gaps={gap.id: gap.dump() for gap in head.gaps},
        forgotten=list(head.forgotten),
        floors_ms=floors_ms,
        format=head.format,
        text_ids=head.text_ids,
        note=head.note,
    )


@dataclass(frozen=True, slots=True)
class Text:
    """The JSON of a commit's facts (docs/protocol.md, "Pub/sub")."""

    builder: Builder
    head: CommitHead

    def closed(self, minute: Minute) -> bytes:
        return self._message("candle", f'"timeframe":"1m","bar":{self._bar(minute.candle)}')

    def amended(self, minute: Minute) -> bytes:
        """With the bar as it was, if there was one."""
        before = self.head.stored.get(minute.candle.open_ms)
        was = f',"before":{self._bar(before)}' if before else ""
        return self._message("amend", f'"timeframe":"1m","bar":{self._bar(minute.candle)}{was}')

    def bars(self, kind: str, minutes: Iterable[Minute]) -> bytes:
        bars = ",".join(self._bar(minute.candle) for minute in minutes)
        return self._message(kind, f'"timeframe":"1m","bars":[{bars}]')

    def gap(self, gap: Gap) -> bytes:
        return self._message("gap", f'"gap":{orjson.dumps(gap.json()).decode()}')

    def fault(self, open_ms: int, names: Sequence[str]) -> bytes:
        return self._message("fault", f'"timeframe":"1m","t":{open_ms},"faults":{orjson.dumps(names).decode()}')

    def mismatch(self, open_ms: int, fields: Differences) -> bytes:
        body = ",".join(self._difference(name, *values) for name, values in fields.items())
        return self._message("mismatch", f'"timeframe":"1m","t":{open_ms},"fields":{{{body}}}')

    def conflict(self, conflict: Conflict) -> bytes:
        applied, refused = (_trade(self.builder.instrument, *trade) for trade in conflict)
        return self._message("conflict", f'"id":{conflict.applied.id},"applied":{applied},"refused":{refused}')

    def trades(self, trades: Trades) -> bytes:
        rows = ",".join(_trade(self.builder.instrument, *row) for row in trades.rows())
        return self._message("trade", f'"trades":[{rows}]')

    def _message(self, kind: str, body: str) -> bytes:
        symbol, head = self.builder.instrument.symbol, self.head
        text = f'{{"type":"{kind}","symbol":"{symbol}","seq":{head.seq + 1},"token":"{head.token}",{body}}}'
        return text.encode()

    def _difference(self, field_name: str, ours: int | None, theirs: int | None) -> str:
        name, write = _FIELDS[field_name]
        texts = ("null" if value is None else write(self.builder.instrument, value) for value in (ours, theirs))
        return f'"{name}":[{",".join(texts)}]'

    def _bar(self, candle: Candle) -> str:
        builder = self.builder
        end_ms = candle.open_ms + MINUTE_MS
        return bar_json(
            candle,
            builder.instrument,
            is_final=end_ms <= builder.watermark_ms,
            partial=not builder.coverage.covers(candle.open_ms, end_ms),
        )


def _message(
    head: CommitHead, checkpoint: Checkpoint, changes: Changes, amended: Mapping[int, Minute]
) -> CommitMessage:
    return CommitMessage(
        seq=head.seq + 1,
        token=head.token,
        watermark_ms=checkpoint.watermark_ms,
        closed=[minute.candle for minute in changes.closed.values()],
        amended=[minute.candle for minute in amended.values()],
        open=changes.open.candle if changes.open else None,
        coverage_json=checkpoint.coverage,
        trades=changes.packed,
        version=NEWEST if checkpoint.is_chunked else WHOLE,
        is_reshaped=checkpoint.is_reshaped,
    )


def _trade(instrument: Instrument, ts_ms: int, trade_id: int, ticks: int, lots: int, side: int) -> str:
    price, size = instrument.price_text(ticks), instrument.size_text(lots)
    return f'{{"t":{ts_ms},"id":{trade_id},"p":{price},"q":{size},"side":"{SIDE_NAMES[side]}"}}'
