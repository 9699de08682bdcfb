"""What `fleet replay` and `fleet import` say of trades that they did not apply."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import typer

from common.errors import BadInput
from common.market.builder.coverage import DUPLICATE
from common.market.builder.recent import Conflict
from common.market.instrument import Instrument
from workers.recordings.base import TooFineLine

# The exit code where all was read, and trades were refused because others had been applied under their ids.
CONFLICTS = 3


def print_refused(refused: Mapping[str, int]) -> None:
    for reason, count in sorted(refused.items()):
        hint = " (their ids had been applied before)" if reason == DUPLICATE else ""
        print(f"refused so far: {count:,} {reason}{hint}")


def print_conflicts(instrument: Instrument, count: int, told: Collection[Conflict]) -> None:
    """`count`: how many there were in this run, `told`: the first of them."""
    if not count:
        return
    print(f"refused now, as another trade had been applied under the id: {count:,}")
    for conflict in told:
        texts = conflict.texts(instrument)
        print(f"  id {conflict.refused.id}: applied {texts['applied']}, refused {texts['refused']}")
    if count > len(told):
        print(f"  and {count - len(told):,} more")


@contextmanager
def way_out_told(symbol: str, *, is_new: bool) -> Iterator[None]:
    """Where a number has too many decimals for the symbol, say what would have room for it."""
    try:
        yield
    except TooFineLine as error:
        option = f"--{error.of}-decimals {error.decimals}"
        if is_new:
            raise BadInput(f"{error}; {option} has room for it, and {symbol} was not added") from None
        raise BadInput(
            f"{error}; `fleet symbols change {symbol} {option}` makes room for it, "
            f"`fleet symbols remove {symbol} --purge` deletes the symbol with its data"
        ) from None


def exit_by(*, ended: bool, conflicts: int) -> None:
    """`ended`: all was read; else it was stopped."""
    if not ended:
        print("stopped before the end: run the same command again to go on")
        raise typer.Exit(1)
    if conflicts:
        raise typer.Exit(CONFLICTS)
