"""The same look at many symbols, again and again: one writing, and as many replies as there are commands.

A view of each by itself costs half a millisecond, most of it to write the same commands once more. What one symbol's
replies say is not of one moment, as those of a SymbolReader are: a commit may come in between. That is enough for what
people look at, and for nothing that goes on from there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from common.errors import FleetError, StoreUnavailable
from common.market.trade import MAX_TS_MS
from common.store.bulk import Bulk, Command
from common.store.keys import SymbolKeys
from common.store.older import UNKNOWN_OLDER, OlderCache
from common.store.parts import Minutes, Part, Range
from common.store.reads import ALWAYS, SymbolReader, View
from common.store.state import StatePart


class FleetReads:
    """Views with the newest closed minute of each symbol. `older`: of coverage, kept for all readers of a process."""

    def __init__(self, client: Redis, older: OlderCache) -> None:
        self._client, self._older = client, older
        self._bulk = Bulk(client, "look at all symbols")
        # Symbols, and whether their coverage is read whole: it rarely changes, and is kept from then on.
        self._asked: list[tuple[str, bool]] = []
        self._parts: list[tuple[list[Part], int]] = []

    async def look(self, symbols: Sequence[str]) -> list[View | FleetError]:
        """In their order; in place of a view that can't be read, what is wrong with it."""
        asked = [(symbol, not self._older.has(symbol)) for symbol in symbols]
        if self._asked != asked:
            self._prepare(asked)
        replies, found = iter(await self._bulk.ask()), list[View | FleetError]()
        for symbol, (parts, count) in zip(symbols, self._parts, strict=True):
            answers = [next(replies) for _ in range(count)]
            found.append(await self._view(symbol, parts, answers))
        return found

    def _prepare(self, asked: list[tuple[str, bool]]) -> None:
        newest = Minutes(Range(0, MAX_TS_MS, newest=1))
        parts: list[list[Part]] = [[StatePart(symbol, older=older), *ALWAYS, newest] for symbol, older in asked]
        commands = [
            _commands(self._client, SymbolKeys(symbol), each) for (symbol, _), each in zip(asked, parts, strict=True)
        ]
        self._bulk.prepare(command for each in commands for command in each)
        self._parts = [(each, len(some)) for each, some in zip(parts, commands, strict=True)]
        self._asked = asked

    async def _view(self, symbol: str, parts: Sequence[Part], answers: list[Any]) -> View | FleetError:
        for answer in answers:
            if isinstance(answer, ResponseError):
                return StoreUnavailable(f"read of {symbol} failed: {answer}")
        try:
            left = iter(answers)
            view = View(**{part.field: part.read(left) for part in parts})
            return await self._with_older(symbol, view)
        except FleetError as error:
            return error

    async def _with_older(self, symbol: str, view: View) -> View:
        """With the spans of coverage that are stored apart, and rarely change."""
        state = view.state
        if state is None or not state.is_chunked:
            return view
        if state.older is not UNKNOWN_OLDER:
            self._older.keep(symbol, state.token, state.reshaped_seq, state.older)
            return view
        kept = self._older.get(symbol, state.token, state.reshaped_seq)
        if kept is None:
            whole = await SymbolReader(self._client, symbol, older=self._older).view()
            return replace(whole, minutes=view.minutes)
        return replace(view, state=replace(state, older=kept))


def _commands(client: Redis, keys: SymbolKeys, parts: Iterable[Part]) -> list[Command]:
    """What the parts ask, as it is sent."""
    pipe = client.pipeline(transaction=False)
    for part in parts:
        part.ask(pipe, keys)
    return [cast(Command, arguments) for arguments, _ in pipe.command_stack]
