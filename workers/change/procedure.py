"""A change of a symbol, step by step.

    look        what is there, and what it is to be; what can't be is refused
    lay down    the series in the new scale, beside the old ones, while the symbol is served as before
    claim       by force: the worker finds itself fenced, and comes back when we are done
    follow      what has come since is laid down as well
    swap        one script: the data is of the new instrument
    register    the registry says so
    release     the worker takes the symbol up again, and fetches what it missed

Killed before the swap, nothing has changed, and the worker takes the symbol back a lease later. Killed after it, the
data says what it was before, so that the next holder of the symbol puts the registry in order. Run again, it goes on.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson
from redis.asyncio import Redis

from common.clock import Clock, SystemClock
from common.errors import BadInput, Fenced, OperatorError, Stale, StoreUnavailable
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.rescaling import Rescaling, Unfit
from common.market.scale import Scales
from common.market.timeframes.periods import DAY
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.market.trade import Trades
from common.market.walk import rescaled
from common.retry import always_changing
from common.series import CANDLES, MINUTE_SERIES
from common.store.change import Change, ChangeStart, ChangeStore
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.format import CHUNKED_COVERAGE, store_format
from common.store.instrument import DataInstrument
from common.store.lease import new_token
from common.store.messages import NEWEST, WHOLE, CommitMessage
from common.store.reads import SymbolReader
from common.store.registry import Market, Registry
from common.store.symbol import SymbolStore
from workers.change.claim import Claimant
from workers.change.ids import given_up, made_unique
from workers.change.request import Request, check_ids
from workers.change.shadows import Shadows

if TYPE_CHECKING:
    # It takes Polars, which a worker has no need of.
    from common.archive.archive import Archive

log = logging.getLogger(__name__)

# What changes under it is read once more. The last attempt does all of it while no other writes.
ATTEMPTS = 5
# No roll-up is taken in for so long: far more than what is left to do takes.
HOLD_MS = 5_000


@dataclass(frozen=True, slots=True)
class Changed:
    """What was done. `before` and `now`: of the data; `ms`: how long the symbol could not be written."""

    before: Market
    now: Market
    days: int = 0
    held_ms: int = 0


@dataclass(slots=True)
class Changer:
    """`archive`: None if there is none. `say` is told what is being done."""

    url: str
    symbol: str
    request: Request
    holder: str
    lease_ttl_ms: int
    events_kept: int
    archive: "Archive | None" = None
    say: Callable[[str], None] = lambda text: None
    clock: Clock = field(default_factory=SystemClock)

    @property
    def claimant(self) -> Claimant:
        return Claimant(self.holder, self.lease_ttl_ms, self.say, self.clock)

    async def run(self) -> Changed:
        """BadInput where it can't be, and then nothing has changed."""
        async with commit_client(self.url) as client:
            return await _Run(self, client).change()


class _Run:
    def __init__(self, work: Changer, client: Redis) -> None:
        self._work, self._client, self._symbol = work, client, work.symbol
        # Where its trades come from.
        self._kind = ""
        self._registry = Registry(client)
        self._store = ChangeStore(client, work.symbol, work.events_kept)

    async def change(self) -> Changed:
        market = await self._registry.market(self._symbol)
        if market is None:
            raise BadInput(f"symbol {self._symbol} is not there: fleet symbols list")
        self._kind = market.kind
        for attempt in range(1, ATTEMPTS + 1):
            look = await self._store.look()
            data = (look.state.data if look else None) or DataInstrument.begun(market.instrument)
            wanted = self._work.request.instrument(data.instrument)
            if look is None or wanted == data.instrument:
                # Without data, or cut off after the swap.
                return Changed(market, await self._register(wanted))
            await self._check_format()
            with suppress(Stale, Fenced):
                return await self._swap(market, look, data, wanted, is_last=attempt == ATTEMPTS)
        raise always_changing(self._symbol, "change it")

    async def _check_format(self) -> None:
        """Processes of a release that knows no number would take what has been changed for what it was."""
        found = await store_format(self._client)
        if found < CHUNKED_COVERAGE:
            raise OperatorError(
                f"the store is in format {found}, for processes of an older release: fleet upgrade first"
            )

    async def _register(self, instrument: Instrument) -> Market:
        found = await self._registry.change_symbol(
            self._symbol, lambda market: self._work.request.market(market, instrument)
        )
        if found is None:
            raise BadInput(f"symbol {self._symbol} was removed while it was changed")
        return found

    async def _swap(
        self, market: Market, look: ChangeStart, data: DataInstrument, wanted: Instrument, *, is_last: bool
    ) -> Changed:
        check_ids(data.instrument, wanted, has_trades=bool(look.state.coverage(data.instrument.ids).spans()))
        # What the registry is to say is looked at now: after the swap nothing may fail.
        self._work.request.market(replace(market, instrument=data.instrument), wanted)
        token, rescaling = new_token(), Rescaling(data.instrument.scale, wanted.scale)
        await self._store.begin(token)
        try:
            shadows = None if rescaling.is_none else await self._laid(token, rescaling, look, data, wanted)
            holder = SymbolStore(self._client, self._symbol, StreamBounds(0, self._work.events_kept))
            async with self._work.claimant.claimed(holder, token):
                began_ms = self._work.clock.monotonic_ms()
                days = await self._finish(token, shadows, data, wanted, is_last=is_last)
                now = await self._register(wanted)
            return Changed(market, now, days, self._work.clock.monotonic_ms() - began_ms)
        except Unfit as error:
            raise BadInput(f"symbol {self._symbol} can't be changed: {error}") from None
        finally:
            with suppress(StoreUnavailable):
                await self._store.drop(token)

    async def _laid(
        self, token: str, rescaling: Rescaling, look: ChangeStart, data: DataInstrument, wanted: Instrument
    ) -> Shadows:
        """Lay all series down, and look at what stays as it is."""
        # Decoding a day takes numpy and Polars, which a change of ids has no need of.
        from workers.change import fit

        coarser = rescaling.price_shift < 0 or rescaling.size_shift < 0
        scales = Scales(wanted.scale, data.unnamed)
        shadows = Shadows(self._store, token, rescaling)
        self._work.say("laying down what is kept")
        rescaling.candle(look.state.candle)
        await shadows.lay(look)
        # Days that were open until now have been laid down; all others are sealed by now.
        seen = await self._store.look()
        await fit.check_sealed(self._client, self._symbol, seen.sealed if seen else (), scales, coarser=coarser)
        if coarser:
            await fit.check_depth(self._client, self._symbol, scales)
            await self._check_archive(look, wanted)
        await shadows.lay_trades()
        return shadows

    async def _check_archive(self, look: ChangeStart, wanted: Instrument) -> None:
        from workers.change import fit

        if not look.is_archived:
            return
        if self._work.archive is None:
            raise OperatorError(f"set FLEET_ARCHIVE_URL: what {self._symbol} has there must fit fewer decimals, too")
        self._work.say("looking through the archive")
        await fit.check_archive(self._work.archive, wanted, wanted.scale)

    async def _finish(
        self, token: str, shadows: Shadows | None, data: DataInstrument, wanted: Instrument, *, is_last: bool
    ) -> int:
        """Return how many days are to be rolled up once more."""
        await self._store.hold(token, HOLD_MS)
        look = await self._store.look()
        if look is None or (look.state.data and look.state.data != data):
            raise Stale(f"symbol {self._symbol} was changed meanwhile")
        if shadows and not await shadows.follow(look):
            if not is_last:
                raise Stale(f"symbol {self._symbol} has changed too much meanwhile")
            await shadows.lay(look)
            await self._store.hold(token, HOLD_MS)
            await shadows.follow(look)
        change = await self._change(token, look, data, wanted)
        await self._store.finish(change)
        log.info("changed", extra={"symbol": self._symbol, "seq": look.state.seq + 1, "days": len(change.dirty)})
        return len(change.dirty)

    async def _change(self, token: str, look: ChangeStart, data: DataInstrument, wanted: Instrument) -> Change:
        now, state = data.instrument, look.state
        rescaling = Rescaling(now.scale, wanted.scale)
        fields: dict[str, bytes] = {"instrument": DataInstrument(wanted, data.unnamed, now).dump()}
        if not rescaling.is_none:
            fields |= {
                series.member: series.codec.rescale(rescaling, state.open_of(series))
                for series in MINUTE_SERIES.values()
            }
            if self._kind == "simulator":
                # Its position has a price in it.
                fields["position"] = rescaled(state.position, rescaling.price_shift).encode()
        gaps: Mapping[str, Any] = {}
        chunks: Mapping[int, bytes] | None = None
        newest = state.coverage_json
        if wanted.ids != now.ids:
            stored = (await made_unique(self._client, self._symbol, state)).take_stored()
            newest, chunks = orjson.dumps(stored.newest), stored.chunks
            fields["newest_span"] = newest
            if not state.is_chunked:
                fields["format"] = b"%d" % CHUNKED_COVERAGE
            ledger = await SymbolReader(self._client, self._symbol).gaps()
            gaps = given_up(ledger, self._work.clock.now_ms())
        days = await self._days(look) if _trades_otherwise(now, wanted) else []
        message = CommitMessage(
            seq=state.seq + 1,
            token=token,
            watermark_ms=state.watermark_ms,
            closed=[],
            amended=[],
            open=codec.unpack_candle(fields.get(CANDLES.member, state.candle)) if state.candle else None,
            coverage_json=newest,
            trades=codec.pack_trades(Trades()),
            version=NEWEST if state.is_chunked or chunks is not None else WHOLE,
            is_reshaped=True,
        )
        return Change(
            token=token,
            seq=state.seq,
            version=look.mark.version,
            state=fields,
            with_shadows=not rescaling.is_none,
            chunks=chunks,
            rolled_from_ms=_rolled_from(now, days) if days else None,
            dirty=days,
            rescale=look.is_archived and not rescaling.is_none,
            gaps={gap_id: gap.dump() for gap_id, gap in gaps.items()},
            events=[_gap_event(self._symbol, state.seq + 1, token, gap.json()) for gap in gaps.values()],
            messages=[(self._store.keys.commits, message.pack())],
        )

    async def _days(self, look: ChangeStart) -> list[int]:
        """The days with minutes, here or in the archive: what was made of others can't be made again."""
        floor_ms = look.state.candle_floor_ms
        found = {day_ms for day_ms in look.sealed if day_ms >= floor_ms}
        async for page in self._store.rows(self._store.keys.candles):
            found |= {day_of(row.score) for row in page}
        if self._work.archive and 0 <= look.archived_from_ms < floor_ms:
            found |= set(range(look.archived_from_ms, floor_ms, DAY_MS))
        return sorted(found)


def _trades_otherwise(one: Instrument, other: Instrument) -> bool:
    return (one.calendar, one.zone, one.hours) != (other.calendar, other.zone, other.hours)


def _rolled_from(before: Instrument, days: list[int]) -> int:
    """From where on roll-ups of the calendar before are dropped: their minutes are there, to be rolled up again."""
    day = before.anchored(DAY)
    return min(days[0], day.open_of(days[0]))


def _gap_event(symbol: str, seq: int, token: str, gap: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": "gap", "symbol": symbol, "seq": seq, "token": token, "gap": gap})
