"""What a change asks for."""

from dataclasses import dataclass, replace
from typing import Any

from common.errors import BadInput
from common.market.instrument import Hours, Ids, Instrument
from common.market.kinds import InstrumentKind
from common.market.rescaling import Rescaling, shifted
from common.market.timeframes.calendars import sessions_of
from common.store.registry import Market, Registry

# Of a venue's symbol, in its ticks and lots.
_STEPS = {"price_step_ticks": "price", "size_step_lots": "size"}


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be changed; None: it stays as it is. `steps`: of a venue's prices and sizes, in the new scale."""

    price_decimals: int | None = None
    size_decimals: int | None = None
    ids: Ids | None = None
    calendar: str | None = None
    zone: str | None = None
    hours: Hours | None = None
    candle_days: int | None = None
    footprint_days: int | None = None
    kind: InstrumentKind | None = None
    steps: tuple[int, int] | None = None

    def instrument(self, now: Instrument) -> Instrument:
        """What the instrument is to be. BadInput where that is none."""
        names = ("price_decimals", "size_decimals", "ids", "calendar", "zone", "hours")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.calendar not in (None, now.calendar):
            # Of another calendar neither the zone nor the hours of the one before hold.
            given = {"zone": "UTC", "hours": "regular"} | given
        wanted = replace(now, **given)
        sessions_of(wanted.calendar, wanted.zone, wanted.hours)
        return wanted

    def market(self, market: Market, instrument: Instrument) -> Market:
        """What the entry in the registry is to be, of an instrument that is changed already."""
        days = {name: getattr(self, name) for name in ("candle_days", "footprint_days")}
        entry = days | {"instrument_kind": self.kind}
        given: dict[str, Any] = {name: value for name, value in entry.items() if value is not None}
        rescaling = Rescaling(market.instrument.scale, instrument.scale)
        return replace(market, instrument=instrument, source=self._source(market.source, rescaling), **given)

    def _source(self, source: dict[str, Any], rescaling: Rescaling) -> dict[str, Any]:
        if not all(name in source for name in _STEPS):
            return source
        if self.steps:
            return source | dict(zip(_STEPS, self.steps, strict=True))
        shifts = rescaling.price_shift, rescaling.size_shift
        decimals = tuple(rescaling.old)
        rows = zip(_STEPS.items(), decimals, shifts, strict=True)
        return source | {
            name: shifted(int(source[name]), f"the step of {what}s", places, shift, 1 << 62)
            for (name, what), places, shift in rows
        }


async def registered(registry: Registry, market: Market, instrument: Instrument) -> None:
    """Let the entry of a symbol follow its data; one that has been written since is left as it is."""
    await registry.change_symbol(
        market.symbol, lambda found: Request().market(found, instrument) if found == market else found
    )


def check_ids(now: Instrument, wanted: Instrument, *, has_trades: bool) -> None:
    """Ids that were unique were not looked at for holes: what is missing among them is not known."""
    if (now.ids, wanted.ids) == ("unique", "contiguous") and has_trades:
        raise BadInput(
            f"symbol {now.symbol} has trades whose ids need not be contiguous: they can't become so, for nobody knows "
            "which are missing"
        )
