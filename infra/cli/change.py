"""`fleet symbols change`"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from common import log
from common.errors import BadInput
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import SECOND_MS
from common.settings import Settings, load
from common.store.lease import holder_name
from common.store.registry import Market
from infra.cli.agreement import with_agreed
from infra.cli.options import DataOption, KindOption, SymbolArgument, TradingHours, day_option, store_session
from workers.change.request import Request

if TYPE_CHECKING:
    from workers.change.procedure import Changed, Changer


class IdsOption(Enum):
    CONTIGUOUS = "contiguous"
    UNIQUE = "unique"


def change(
    symbol: SymbolArgument,
    price_decimals: Annotated[
        int | None, typer.Option(min=0, max=18, help="Decimals of a price.", show_default=False)
    ] = None,
    size_decimals: Annotated[
        int | None, typer.Option(min=0, max=18, help="Decimals of a size.", show_default=False)
    ] = None,
    ids: Annotated[
        IdsOption | None, typer.Option(help="What the trade ids promise from now on.", show_default=False)
    ] = None,
    calendar: Annotated[
        str | None, typer.Option(help="When it trades: 24x7, FOREX, or an exchange such as XNYS.", show_default=False)
    ] = None,
    zone: Annotated[str | None, typer.Option(help="Where the days of 24x7 begin.", show_default=False)] = None,
    hours: Annotated[TradingHours | None, typer.Option(help="Of a stock exchange.", show_default=False)] = None,
    candle_days: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Days of candles kept in Redis.", show_default=False)
    ] = None,
    footprint_days: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Days of footprints kept in Redis.", show_default=False)
    ] = None,
    kind: KindOption = None,
    cut_from: Annotated[
        datetime | None, day_option("--from", "Cut what is older: let the history begin with that day (UTC).")
    ] = None,
    data: DataOption = None,
) -> None:
    """Change what a symbol is, while it is served: what is not named stays.

    Its data is changed with it, in one step; live trades wait for less than a second. Fewer decimals are possible only
    if every number there is fits them. Killed at any moment and run again, it goes on. What is archived is written anew
    by the queue; days of another calendar are made again by it.

    `--from` is for what a wrong time has left behind (`fleet doctor` tells of it): coverage since 1970, or minutes
    dropped by a clock that was ahead. What is older is gone for good: minutes, days, coverage and gaps, and the archive
    is not read for it any more.

    Examples:

    - `fleet symbols change BINANCE:BTCUSDT --price-decimals 3`
    - `fleet symbols change NASDAQ:GOOG --calendar XNAS --hours extended`
    - `fleet symbols change MY:BTCUSD --ids unique`
    - `fleet symbols change MY:BTCUSD --candle-days 3650`
    - `fleet symbols change NSE:NIFTY50 --kind index`
    - `fleet symbols change MY:BTCUSD --from 2026-01-01`
    """
    settings = load()
    log.setup("warning", settings.log_format)
    request = Request(
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        ids=ids.value if ids else None,
        calendar=calendar,
        zone=zone,
        hours=hours.value if hours else None,
        candle_days=candle_days,
        footprint_days=footprint_days,
        kind=kind,
    )
    if cut_from is None and request == Request():
        raise BadInput("nothing is to be changed: fleet symbols change --help")
    if cut_from and request != Request():
        raise BadInput("--from cuts a history and goes alone, expected no other change with it")
    with store_session(settings, data) as url:
        settings = with_agreed(settings, url)
        if cut_from:
            _cut(settings, url, symbol, cut_from)
            return
        _tell(asyncio.run(changer(settings, url, symbol, request).run()))


def _cut(settings: Settings, url: str, symbol: str, day: datetime) -> None:
    # It knows of archived series, which take half a second to load.
    from workers.change.claim import Claimant
    from workers.change.cut import Cutter

    from_ms = int(day.replace(tzinfo=UTC).timestamp()) * SECOND_MS
    claimant = Claimant(holder_name(), settings.lease_ttl_ms, _saying(symbol))
    begins_ms = asyncio.run(Cutter(url, symbol, from_ms, settings.events_kept, claimant).run())
    begins = datetime.fromtimestamp(begins_ms // SECOND_MS, UTC)
    print(f"{symbol}: its history begins at {begins:%Y-%m-%d %H:%M} UTC now")


def _saying(symbol: str) -> Callable[[str], None]:
    return lambda text: print(f"{symbol}: {text}")


def changer(settings: Settings, url: str, symbol: str, request: Request) -> "Changer":
    from workers.change.procedure import Changer

    archive = None
    if settings.archive_url:
        # Half a second to load, and of no use without an archive.
        from common.archive.archive import Archive

        archive = Archive.open(settings.archive_url, settings.archive_s3_endpoint)
    return Changer(
        url,
        symbol,
        request,
        holder_name(),
        settings.lease_ttl_ms,
        settings.events_kept,
        archive,
        say=_saying(symbol),
    )


def _tell(done: "Changed") -> None:
    symbol, before, now = done.now.symbol, _shown(done.before), _shown(done.now)
    changed = [f"{name} {before[name]} -> {value}" for name, value in now.items() if before[name] != value]
    print(f"{symbol}: {', '.join(changed) or 'it is so already'}")
    if done.days:
        print(f"{done.days:,} days are to be rolled up once more, by the queue")


def _shown(market: Market) -> dict[str, object]:
    i: Instrument = market.instrument
    return {
        "price decimals": i.price_decimals,
        "size decimals": i.size_decimals,
        "ids": i.ids,
        "calendar": i.calendar,
        "zone": i.zone,
        "hours": i.hours,
        "kind": market.instrument_kind,
        "days of candles": market.candle_days or "as set",
        "days of footprints": market.footprint_days or "as set",
    }
