"""Coverage where trade ids do not count on by one: by time, and by the last ids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from common.market.builder.coverage import DUPLICATE, TOO_LATE, Reshaped, StoredCoverage, some
from common.market.builder.spans import Hole, IdSpan, Spans
from common.market.trade import Trades

# Ids remembered where they are not contiguous. The trade stream keeps at least as many (store.commit).
RECENT_IDS = 50_000


@dataclass(slots=True)
class RecentCoverage:
    """`seen` maps the last `window` ids, oldest first, to their time. `from_ms..to_ms`: the time seen so far.

    `gone`: holes from when the ids were contiguous. Nothing fills them any more, and what they are in stays partial.
    """

    window: int = RECENT_IDS
    floor_ms: int = -1
    from_ms: int = -1
    to_ms: int = -1
    seen: dict[int, int] = field(default_factory=dict)
    gone: tuple[Hole, ...] = ()
    _stored_from_ms: int = field(init=False, compare=False)
    _is_gone_stored: bool = field(default=False, init=False, compare=False)
    # No hole has a later trade.
    _latest_gone_ms: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        self._stored_from_ms = self.from_ms
        self._latest_gone_ms = max((hole.to_ms for hole in self.gone), default=-1)

    def refuse(self, ts_ms: int, trade_id: int) -> str | None:
        if trade_id in self.seen:
            return DUPLICATE
        if ts_ms <= self.floor_ms:
            return TOO_LATE
        self._remember([ts_ms], [trade_id])
        return None

    def extend(self, trades: Trades) -> bool:
        ids = set(trades.ids)
        if len(ids) != len(trades) or len(ids) > self.window or not ids.isdisjoint(self.seen):
            return False
        # What the batch pushes out of the window raises the floor midway: it may refuse none of the batch.
        pushed_out = islice(self.seen.values(), max(0, len(self.seen) + len(ids) - self.window))
        if min(trades.ts_ms) <= max(self.floor_ms, max(pushed_out, default=-1)):
            return False
        self._remember(trades.ts_ms, trades.ids)
        return True

    def cover(self, spans: Iterable[IdSpan]) -> None:
        """Of ids that are not contiguous none is missing."""

    def has(self, trade_id: int) -> bool:
        return trade_id in self.seen

    def has_any(self, ids: Sequence[int]) -> bool:
        return not self.seen.keys().isdisjoint(ids)

    def spans(self) -> list[IdSpan]:
        """One span of time: nothing is known of the ids."""
        return list(some(self.newest()))

    def oldest(self) -> IdSpan | None:
        return self.newest()

    def newest(self) -> IdSpan | None:
        return IdSpan(0, 0, self.from_ms, self.to_ms) if self.to_ms >= 0 else None

    def latest_ms(self) -> int:
        return self.to_ms

    def holes(self) -> list[Hole]:
        return list(self.gone)

    def holes_at(self, first: int, last: int) -> list[Hole]:
        return [hole for hole in self.gone if hole.first <= last and hole.last >= first]

    def covers(self, start_ms: int, end_ms: int) -> bool:
        if self.to_ms < 0 or start_ms < self.from_ms:
            return False
        is_later = start_ms > self._latest_gone_ms
        return is_later or not any(hole.from_ms < end_ms and hole.to_ms >= start_ms for hole in self.gone)

    def take_reshaped(self) -> Reshaped:
        return Reshaped()

    def dump(self) -> list[list[int]]:
        """Without `seen`: the trade stream has it, and the checkpoint is written with every commit."""
        return [*map(list, self.gone), [self.window, self.floor_ms, self.from_ms, self.to_ms]]

    def take_stored(self) -> StoredCoverage:
        """The holes are stored by chunks, as the spans of ids are."""
        chunks = {} if self._is_gone_stored else Spans.of(IdSpan(*hole) for hole in self.gone).take_changed()
        self._is_gone_stored = True
        reshaped, self._stored_from_ms = self.from_ms != self._stored_from_ms, self.from_ms
        return StoredCoverage(self.dump()[-1:], chunks, reshaped)

    @classmethod
    def load(
        cls, rows: Sequence[Sequence[int]], recent: Trades | None, chunks: Mapping[int, bytes] | None = None
    ) -> "RecentCoverage":
        """`recent`: the last trades applied, at least `window` of them if there were so many; None if that is lost."""
        *holes, (window, floor_ms, from_ms, to_ms) = rows
        gone = tuple(Hole(*row) for row in (Spans.load(chunks) if chunks else holes))
        # Of ids that are lost only what comes after all others is surely no duplicate.
        newest = Trades() if recent is None else recent[-window:]
        seen = dict(zip(newest.ids, newest.ts_ms, strict=True))
        found = cls(window, to_ms if recent is None else floor_ms, from_ms, to_ms, seen, gone)
        found._is_gone_stored = bool(chunks)
        return found

    def _remember(self, ts_ms: list[int], ids: list[int]) -> None:
        self.seen.update(zip(ids, ts_ms, strict=True))
        self.from_ms = min(ts_ms) if self.to_ms < 0 else min(self.from_ms, min(ts_ms))
        self.to_ms = max(self.to_ms, max(ts_ms))
        # All in one pass: each look for the oldest one passes the places of those that are gone.
        for oldest in list(islice(self.seen, max(0, len(self.seen) - self.window))):
            self.floor_ms = max(self.floor_ms, self.seen.pop(oldest))
