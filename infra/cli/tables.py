"""Tables as lines of text, of which nothing is ever cut: a symbol or a price that lacks its end is another one.

Where there is no room, headings go on below, then what may be folded is, then columns that are wanted least are left
out, and at last the first column gets lines of its own. Into a pipe or a file all goes unfolded.
"""

import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

GAP = 2
# What is folded is no narrower than this.
MIN_FOLDED = 18
INDENT = 2
# Of a pipe or a file: wider than any line.
UNFOLDED = 100_000


@dataclass(frozen=True, slots=True)
class Column:
    """`folds`: words that may go on below. `rank`: left out where there is no room, the highest first; 0: never."""

    name: str
    is_right: bool = False
    folds: bool = False
    rank: int = 0


class Cell(NamedTuple):
    text: str
    style: str = ""


Row = Sequence[str | Cell]
T = TypeVar("T")


def console() -> Console:
    """The terminal, or what stands in its place. Text is printed as it is, brackets and all."""
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit() else UNFOLDED
    return Console(width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_table(to: Console, columns: Sequence[Column], rows: Iterable[Row]) -> None:
    for line in table_lines(columns, rows, to.width):
        to.print(line)


def print_sentence(to: Console, text: str, indent: int) -> None:
    """What goes on below is indented."""
    first, *more = folded(text, to.width)
    to.print(first)
    for line in folded(" ".join(more), to.width - indent) if more else ():
        to.print(" " * indent + line)


def folded(text: str, width: int) -> list[str]:
    """Its lines. A word that is too long goes on below, too."""
    if cell_len(text) <= width:
        return [text]
    return textwrap.wrap(text, max(1, width), break_on_hyphens=False) or [""]


def table_lines(columns: Sequence[Column], rows: Iterable[Row], width: int) -> list[Text]:
    """The heading and the rows, no line wider than `width`. A column in which nothing stands is left out."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    said = [at for at in range(len(columns)) if any(row[at].text for row in cells)]
    if not said:
        return []
    picked = [[row[at] for at in said] for row in cells]
    return list(chain.from_iterable(_blocks([columns[at] for at in said], picked, width)))


def _blocks(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[list[Text]]:
    """The lines of the heading, and of each row."""
    while not (widths := _widths(columns, rows, width)):
        least = max(range(len(columns)), key=lambda at: columns[at].rank)
        if not columns[least].rank:
            return _lifted(columns, rows, width)
        columns, rows = _without(columns, least), [_without(row, least) for row in rows]
    heading = [Cell(column.name, "bold") for column in columns]
    return [list(_row_lines(columns, row, widths)) for row in (heading, *rows)]


def _without(items: Sequence[T], at: int) -> Sequence[T]:
    return [*items[:at], *items[at + 1 :]]


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[int] | None:
    """Those of the columns; None if there is no room."""
    wanted = [max([0, *(cell_len(row[at].text) for row in rows)]) for at in range(len(columns))]
    room = width - GAP * (len(columns) - 1)
    whole = [max(cell_len(column.name), needed) for column, needed in zip(columns, wanted, strict=True)]
    if sum(whole) <= room:
        return whole
    tight = [max(_longest_word(column.name), needed) for column, needed in zip(columns, wanted, strict=True)]
    folding = [at for at, column in enumerate(columns) if column.folds]
    for at in sorted(folding, key=lambda at: -tight[at]):
        over = sum(tight) - room
        least = max(_longest_word(columns[at].name), MIN_FOLDED)
        if over > 0 and tight[at] > least:
            tight[at] = max(least, tight[at] - over)
    return tight if sum(tight) <= room else None


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def _row_lines(columns: Sequence[Column], row: Sequence[Cell], widths: Sequence[int]) -> Iterable[Text]:
    parts = [folded(cell.text, width) for cell, width in zip(row, widths, strict=True)]
    for number in range(max(map(len, parts))):
        line = Text()
        for column, cell, part, width in zip(columns, row, parts, widths, strict=True):
            text = part[number] if number < len(part) else ""
            blank = " " * (width - cell_len(text))
            line.append(blank + text if column.is_right else text + blank, cell.style)
            line.append(" " * GAP)
        line.rstrip()
        yield line


def _lifted(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[list[Text]]:
    """The first column on lines of its own, once for rows in a row that share it, and the others below."""
    if len(columns) == 1:
        heading_row = [Cell(columns[0].name, "bold")]
        return [[Text(line, cell.style) for line in folded(cell.text, width)] for (cell,) in (heading_row, *rows)]
    heading, *below = [
        [Text(" " * INDENT).append_text(line) for line in block]
        for block in _blocks(columns[1:], [row[1:] for row in rows], width - INDENT)
    ]
    found, before = [heading], None
    for row, block in zip(rows, below, strict=True):
        first = [] if row[0] == before else [Text(line, row[0].style) for line in folded(row[0].text, width)]
        found.append(first + block)
        before = row[0]
    return found
