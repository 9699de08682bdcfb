"""One piece of work for the queue, and the job id that it always has."""

from dataclasses import dataclass

# RQ takes letters, digits, `_` and `-`. A symbol has no small letters, so these can't be mistaken.
_ESCAPES = str.maketrans({":": "c", ".": "d"})


@dataclass(frozen=True, slots=True)
class Work:
    """A call of the queue's function `function`. Its first argument is the symbol."""

    function: str
    symbol: str
    rest: tuple[str | int, ...] = ()

    @property
    def job(self) -> str:
        """The same for the same work, another for any other: whatever enqueues it, it is there once."""
        return "_".join([self.function, self.symbol.translate(_ESCAPES), *map(str, self.rest)])

    @property
    def arguments(self) -> tuple[str | int, ...]:
        return (self.symbol, *self.rest)
