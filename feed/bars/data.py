"""All that is read of one symbol, in one value."""

from dataclasses import dataclass

from common.market.instrument import Instrument
from common.store.reads import SymbolReader
from feed.bars.forms import NATIVE, BarForm
from feed.bars.tail import Tails
from feed.reading.budget import QueryBudget
from feed.reading.history import History
from feed.reading.tape import Tapes, TapeView
from feed.reading.trade_archive import TradeHistory


@dataclass(frozen=True, slots=True)
class SymbolData:
    """Cheap to make: for one query, or for as long as a symbol has listeners."""

    instrument: Instrument
    # Its minutes, wherever they lie.
    history: History
    # Its newest bars as JSON, with those of other symbols.
    tails: Tails
    # The trades of its stream, with those of other symbols.
    tapes: Tapes
    # The trades before those.
    trade_archive: TradeHistory
    # How its bars are written.
    form: BarForm = NATIVE

    @property
    def budget(self) -> QueryBudget:
        return self.history.budget

    @property
    def store(self) -> SymbolReader:
        """Reads what the store alone has of it."""
        return self.history.store

    async def tape(self, since_seq: int | None = None) -> TapeView:
        """Its tape as of a view of its history that also has the entries since `since_seq`."""
        return await self.tapes.read(self.store, self.history.view, since_seq)
