"""The series of a symbol in another scale, laid down beside them: all of it first, then what has come meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from common.market.rescaling import Rescaling
from common.market.timeframes.timeframe import minute_of
from common.market.trade import MAX_TS_MS
from common.series import CANDLES, MINUTE_SERIES, MinuteSeries
from common.store.change import PAGE, ChangeStart, ChangeStore, ScoredMember, ShadowMark, StoredEntry
from common.store.keys import ROLLED
from common.store.state import AMENDED_KEPT

# Later than any minute there is.
FOREVER_MS = 2 * MAX_TS_MS


@dataclass(slots=True)
class Shadows:
    """Of one change, by its token. Unfit where a number has no place in the new scale."""

    store: ChangeStore
    token: str
    rescaling: Rescaling
    # What was there when the laying down began: what changes from then on is laid down again.
    _mark: ShadowMark | None = None
    _watermark_ms: int = -1
    _last_id: str = ""
    _packing: dict[str, Callable[[bytes], bytes]] = field(init=False)

    def __post_init__(self) -> None:
        keys = self.store.keys
        self._packing = {keys.minutes(series): self._rescaling_of(series) for series in MINUTE_SERIES.values()}
        self._packing |= {keys.rolled(rolled): self._rescaling_of(CANDLES) for rolled in ROLLED}

    async def lay(self, look: ChangeStart) -> None:
        """Lay all of it down, as it is by the time it is read; `look` was before that."""
        await self.store.begin(self.token)
        self._mark, self._watermark_ms, self._last_id = look.mark, look.state.watermark_ms, ""
        for key in self._packing:
            await self._put(key)
        await self.lay_trades()

    async def lay_trades(self) -> None:
        """Go on to the end of the stream."""
        while True:
            found = await self.store.entries(self._last_id)
            await self.store.add(self.token, list(map(self._rescaled, found)))
            self._last_id = found[-1].id if found else self._last_id
            if len(found) < PAGE:
                return

    async def follow(self, look: ChangeStart) -> bool:
        """Lay down what has changed since, of a symbol that is held. False if it can't be told what has."""
        spans = self._changed(look)
        if spans is None:
            return False
        for series in MINUTE_SERIES.values():
            key = self.store.keys.minutes(series)
            await self.store.cut(self.token, key, [*spans, (-1, look.state.floor_ms(series) - 1)])
            for span in spans:
                await self._put(key, *span)
            await self._put_late(series)
        await self.lay_trades()
        return True

    def _changed(self, look: ChangeStart) -> list[tuple[int, int]] | None:
        """The opens, both included, of minutes that may have been written since."""
        assert self._mark, "after lay"
        amended = look.state.amended
        is_same = look.mark.token == self._mark.token and look.mark.version == self._mark.version
        if not is_same or (len(amended) == AMENDED_KEPT and amended[-1].seq > self._mark.seq):
            return None
        late = [(one.from_ms, one.to_ms) for one in amended if one.seq > self._mark.seq]
        return [*late, (max(0, minute_of(self._watermark_ms)), FOREVER_MS)]

    async def _put(self, key: str, from_ms: int | None = None, to_ms: int | None = None) -> None:
        pack = self._packing[key]
        async for page in self.store.rows(key, from_ms, to_ms):
            await self.store.put(self.token, key, [ScoredMember(row.score, pack(row.member)) for row in page])

    def _rescaling_of(self, series: MinuteSeries) -> Callable[[bytes], bytes]:
        return partial(series.codec.rescale, self.rescaling)

    async def _put_late(self, series: MinuteSeries) -> None:
        key, pack = self.store.keys.late(series.name), self._rescaling_of(series)
        await self.store.cut(self.token, key, [(0, FOREVER_MS)])
        async for page in self.store.rows(key):
            rows = []
            for row in page:
                # As common.market.builder.late.Part has it.
                token, seq, packed = row.member.split(b":", 2)
                rows.append(ScoredMember(row.score, b":".join((token, seq, pack(packed)))))
            await self.store.put(self.token, key, rows)

    def _rescaled(self, entry: StoredEntry) -> StoredEntry:
        return entry._replace(trades=self.rescaling.trades(entry.trades))
