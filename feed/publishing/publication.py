"""One channel: how far its subscribers have been told, and the newest value, which is written at most once a second."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from common.market.instrument import Instrument
from common.market.timeframes.timeframe import Timeframe
from common.store.publishing import Latest, ToldTo
from feed.publishing.bars import ToldBars, latest_bar
from feed.publishing.wishes import Wish
from feed.wire.messages import StreamMessage

LATEST_EVERY_S = 1.0
# Of what a channel begins with: the newest closed bar, and the growing one. And of what was missed, where the trade
# stream does not reach back to it any more.
FIRST_BARS, MAX_MISSED_BARS = 2, 1_000


@dataclass(slots=True)
class Publication:
    """`progress`: None before the first word."""

    wish: Wish
    timeframe: Timeframe
    progress: ToldTo | None
    _newest_ms: int
    # The newest value that is not written yet.
    waiting: Latest | None = None
    _is_closed: bool = False
    _written_s: float = field(default=-LATEST_EVERY_S)

    @classmethod
    def of(cls, wish: Wish, instrument: Instrument, progress: ToldTo | None) -> "Publication":
        assert wish.topic
        timeframe = instrument.anchored(Timeframe.parse(str(dict(wish.topic.parts)["timeframe"])))
        # An older bar that is amended now is not the newest one.
        newest_ms = timeframe.open_of(max(progress.watermark_ms, 0)) if progress else -1
        return cls(wish, timeframe, progress, newest_ms)

    def first_bars(self, watermark_ms: int) -> int:
        """How many bars a snapshot is to have, so that none is missing between what was told and the watermark."""
        if self.progress is None:
            return FIRST_BARS
        missed = (watermark_ms - self.progress.watermark_ms) // self.timeframe.longest_ms
        return min(max(missed, 0) + FIRST_BARS, MAX_MISSED_BARS)

    def tell(self, news: Sequence[StreamMessage], to: ToldTo) -> list[bytes]:
        """What is to be published of news that lead up to there. Its newest value waits to be written."""
        bars = ToldBars.of(news, self._is_untold if self.progress and self.progress.token == to.token else None)
        self.progress = to
        newest = bars.newest()
        if newest and int(newest["t"]) >= self._newest_ms:
            self._newest_ms, self._is_closed = int(newest["t"]), bool(newest["isFinal"])
            self.waiting = latest_bar(newest, self.timeframe, to.seq, to.token)
        if not self.wish.is_told:
            return []
        return list(bars.messages(self.wish.symbol, self.timeframe.text, to.seq, to.token))

    def _is_untold(self, open_ms: int) -> bool:
        return self.progress is None or self.timeframe.next_open(open_ms) > self.progress.watermark_ms

    def due_latest(self, now_s: float) -> Latest | None:
        """The newest value, if it is to be written now: of a closed bar at once."""
        if self.waiting is None or (not self._is_closed and self.due_in_s(now_s) > 0):
            return None
        due, self.waiting, self._written_s = self.waiting, None, now_s
        return due

    def due_in_s(self, now_s: float) -> float:
        return self._written_s + LATEST_EVERY_S - now_s
