"""Tables of any width: what does not fit is folded, moved or left out, and never cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.cli.tables import Column, folded, table_lines
from tests.kit.strategies import LAW

COLUMNS = (Column("symbol"), Column("state"), Column("tries", is_right=True), Column("reason", folds=True))
ROWS = (
    ("BINANCE_USDM:1000PEPEUSDT_PERP", "failed", "3", "ArchiveUnavailable: /data/archive is full [Errno 28]"),
    ("BINANCE_USDM:1000PEPEUSDT_PERP", "queued", "", ""),
    ("A:B", "failed", "12", "no"),
)


def text_of(width: int, columns: tuple[Column, ...] = COLUMNS) -> str:
    lines = [line.plain for line in table_lines(columns, ROWS, width)]
    assert all(len(line) <= width for line in lines), lines
    return "\n" + "\n".join(lines) + "\n"


def test_where_there_is_room_a_row_is_a_line() -> None:
    assert (
        text_of(200)
        == """
symbol                          state   tries  reason
BINANCE_USDM:1000PEPEUSDT_PERP  failed      3  ArchiveUnavailable: /data/archive is full [Errno 28]
BINANCE_USDM:1000PEPEUSDT_PERP  queued
A:B                             failed     12  no
"""
    )


def test_sentences_are_folded_first() -> None:
    assert (
        text_of(80)
        == """
symbol                          state   tries  reason
BINANCE_USDM:1000PEPEUSDT_PERP  failed      3  ArchiveUnavailable: /data/archive
                                               is full [Errno 28]
BINANCE_USDM:1000PEPEUSDT_PERP  queued
A:B                             failed     12  no
"""
    )


def test_then_the_first_column_gets_lines_of_its_own_once_for_rows_that_share_it() -> None:
    assert (
        text_of(44)
        == """
  state   tries  reason
BINANCE_USDM:1000PEPEUSDT_PERP
  failed      3  ArchiveUnavailable:
                 /data/archive is full
                 [Errno 28]
  queued
A:B
  failed     12  no
"""
    )


def test_a_last_column_that_has_no_room_is_folded_below_its_heading() -> None:
    lines = table_lines(COLUMNS, [("", "0", "0", "0123456789abcdefg")], 20)
    assert [line.plain for line in lines] == ["    reason", "0", "  0", "    0123456789abcdef", "    g"]


def test_what_is_wanted_least_is_left_out_before_that() -> None:
    ranked = (COLUMNS[0], Column("state", rank=1), Column("tries", is_right=True, rank=2), COLUMNS[3])
    assert text_of(59, ranked).splitlines()[1:3] == [
        "symbol                          state   reason",
        "BINANCE_USDM:1000PEPEUSDT_PERP  failed  ArchiveUnavailable:",
    ]
    assert text_of(52, ranked).splitlines()[1] == "symbol                          reason"


@LAW
@given(st.integers(20, 120), st.lists(st.tuples(*[st.text("ABC:_ .019", max_size=50)] * 4), max_size=4))
def test_no_letter_is_lost_and_no_line_is_too_wide(width: int, rows: list[tuple[str, ...]]) -> None:
    lines = [line.plain for line in table_lines(COLUMNS, rows, width)]
    assert all(len(line) <= width for line in lines)
    said, shown = "".join("".join(row) for row in rows), "".join(lines)
    for letter in "ABC:_.019":
        # Rows in a row that share their symbol say it once.
        assert shown.count(letter) >= said.count(letter) or len({row[0] for row in rows}) < len(rows)


@pytest.mark.parametrize(("text", "lines"), [("", [""]), ("a b", ["a b"]), ("aaaa bb", ["aaa", "a", "bb"])])
def test_a_text_is_folded_between_words_and_within_one_that_is_too_long(text: str, lines: list[str]) -> None:
    assert folded(text, 3) == lines
