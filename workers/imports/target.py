"""The symbol an import writes to: one of its own, or one that a venue or an inbox feeds.

A symbol that is fed has trades with ids of its source's, and a worker. Imported history finds its place beside them by
the ids, so these must be contiguous, and of the same kind: Binance numbers trades and aggregate trades each for
themselves.
"""

import asyncio
from collections.abc import Sequence

from common.errors import BadInput
from common.store.instrument import exists_otherwise
from common.store.registry import Market, Registry
from workers.imports.files import TRADES_DUMP, Readable
from workers.replay import KIND

# Venues that number trades as Binance's dumps of trades do.
BINANCES = frozenset(("BINANCE", "BINANCE_USDM", "LOCAL"))


def is_fed(market: Market) -> bool:
    """Whether a worker serves the symbol."""
    return market.kind != KIND


async def target(registry: Registry, wanted: Market, files: Sequence[Readable]) -> tuple[Market, bool]:
    """Register the market, or return the one of this symbol if the files may be imported into it. Else BadInput.

    Also return whether it was registered.
    """
    found = await registry.market(wanted.symbol)
    if found:
        _check_known(found, wanted, files)
    # Before anything is registered: a file that is refused leaves no symbol behind.
    for file in files:
        await asyncio.to_thread(file.check)
    if found:
        return await registry.keep_as_long(found, wanted), False
    # Another import may have been quicker.
    return (wanted, True) if await registry.add_symbol(wanted) else await target(registry, wanted, files)


def _check_known(found: Market, wanted: Market, files: Sequence[Readable]) -> None:
    asked, has = wanted.instrument, found.instrument
    if (asked.price_decimals, asked.size_decimals, asked.ids) != (has.price_decimals, has.size_decimals, has.ids):
        raise BadInput(exists_otherwise(has, asked))
    if is_fed(found):
        _check_fed(found, is_simulated(wanted))
        for file in files:
            _check_file(found, file)


def is_simulated(market: Market) -> bool:
    return market.kind == "simulator" or bool(market.source.get("simulated"))


def _check_fed(market: Market, simulated: bool) -> None:
    symbol = market.symbol
    if is_simulated(market) != simulated:
        fed = "simulated" if is_simulated(market) else "real"
        raise BadInput(f"symbol {symbol} has {fed} trades, and simulated and real ones are never mixed")
    if market.instrument.ids != "contiguous":
        raise BadInput(f"symbol {symbol} is fed by {market.kind} without contiguous ids: its history can't be imported")


def _check_file(market: Market, file: Readable) -> None:
    symbol, dump, venue = market.symbol, file.dump(), market.source.get("venue")
    if file.of_minutes:
        raise BadInput(
            f"{file.path} has candles, without ids: beside the trades that {symbol} is fed they'd count twice"
        )
    if market.kind != "venue" or not dump:
        return
    if venue not in BINANCES:
        raise BadInput(f"{file.path} is a dump of Binance's, and symbol {symbol} is fed by {venue}")
    if dump != TRADES_DUMP:
        raise BadInput(f"{file.path} is a dump of {dump}, and symbol {symbol} goes by the ids of {TRADES_DUMP}")
