"""`fleet calendars`: what calendars have otherwise than the library knows."""

import asyncio
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from common.errors import BadInput
from common.market.timeframes.calendar_exceptions import CalendarExceptions, SessionException
from common.market.timeframes.calendars import unfit
from common.settings import load
from common.store.calendars import CalendarStore, adopt
from common.store.client import commit_client
from common.store.registry import Registry
from infra.cli import tables
from infra.cli.options import DataOption, store_url
from infra.cli.tables import Column, Row

app = typer.Typer(
    help="When markets trade otherwise than the calendar library knows: list, add, drop.", no_args_is_help=True
)

# Of a file, and of the list.
COLUMNS = ("calendar", "date", "open", "close")
TABLE = (Column("calendar"), Column("version", is_right=True), Column("date"), Column("open"), Column("close"))

Changes = dict[str, list[SessionException]]


@app.command("list")
def list_exceptions(
    as_csv: Annotated[bool, typer.Option("--csv", help="As a file that `fleet calendars add --file` reads.")] = False,
    data: DataOption = None,
) -> None:
    """Show every calendar's exceptions, and the version that sessions of it have."""
    url = store_url(load(), data)

    async def look() -> dict[str, CalendarExceptions]:
        async with commit_client(url) as client:
            return await CalendarStore(client).all()

    found = asyncio.run(look())
    if as_csv:
        print(",".join(COLUMNS))
        for name, exceptions in found.items():
            for each in exceptions.days:
                print(",".join([name, each.day, *(text or "" for text in each.times)]))
        return
    rows = list[Row]()
    for name, exceptions in found.items():
        for each in exceptions.days:
            opens, closes = ("none", "none") if each.is_dropped else (text or "as usual" for text in each.times)
            rows.append((name, str(exceptions.version), each.day, opens, closes))
    if found:
        tables.print_table(tables.console(), TABLE, rows)
    else:
        print("every calendar is as the library has it: fleet calendars add")


@app.command()
def add(
    calendar: Annotated[str | None, typer.Argument(metavar="CALENDAR", help="As symbols have it: XNSE, CMES.")] = None,
    date: Annotated[str | None, typer.Argument(metavar="DATE", help="The trading date, such as 2024-03-02.")] = None,
    opens: Annotated[
        str | None, typer.Option("--open", metavar="HH:MM", help="On the clocks there; 17:00-1 is the day before.")
    ] = None,
    closes: Annotated[
        str | None, typer.Option("--close", metavar="HH:MM", help="The same; alone it is another close of a known day.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="CSV `calendar,date,open,close`; without times: no session."),
    ] = None,
    data: DataOption = None,
) -> None:
    """Add a session that the calendar does not know, or give one other hours; or all that a file names.

    What was known of these dates by an earlier `add` or `drop` is replaced. Running fleets follow within a second or
    two, and make the days anew that it changes. docs/sessions.md has more.

    Examples:

    - `fleet calendars add XNSE 2024-03-02 --open 09:15 --close 10:00`
    - `fleet calendars add CMES 2024-06-19 --close 12:00`
    - `fleet calendars add --file exceptions.csv`
    """
    if file:
        if calendar or date or opens or closes:
            raise BadInput("--file does not go with a calendar, a date or times: it has them")
        _change(data, read_file(file))
        return
    if calendar is None or date is None or not (opens or closes):
        raise BadInput("expected CALENDAR, DATE and --open or --close, or --file; a day without session: drop")
    _change(data, {calendar: [SessionException.of(date, opens, closes)]})


@app.command()
def drop(
    calendar: Annotated[str, typer.Argument(metavar="CALENDAR", help="As symbols have it: XHKG.")],
    dates: Annotated[list[str], typer.Argument(metavar="DATE...", help="Trading dates, such as 2023-09-01.")],
    as_library: Annotated[
        bool, typer.Option("--exception", help="Drop what was added or dropped: the day is as the library has it.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Drop days that the calendar has and the exchange had not; or, with --exception, what was said of them here.

    Examples:

    - `fleet calendars drop XHKG 2023-09-01 2023-09-08`
    - `fleet calendars drop XNSE 2024-03-02 --exception`
    """
    days = [SessionException.of(date, None, None) for date in dates]
    if as_library:
        _change(data, {calendar: []}, {calendar: [each.label_ms for each in days]})
    else:
        _change(data, {calendar: days})


def read_file(path: Path) -> Changes:
    """Read a file of exceptions. BadInput names the line."""
    try:
        rows = list(csv.reader(path.read_text("utf-8-sig").splitlines(), skipinitialspace=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} is not text of comma-separated values: {error}") from None
    if not rows or tuple(rows[0]) != COLUMNS:
        raise BadInput(f"{path} begins with {','.join(rows[0])[:80] if rows else ''!r}, expected {','.join(COLUMNS)!r}")
    found: Changes = {}
    for number, row in enumerate(rows[1:], 2):
        if not any(row):
            continue
        if len(row) != len(COLUMNS):
            raise BadInput(f"{path}, line {number}: {len(row)} fields, expected {len(COLUMNS)}")
        calendar, day, *times = (field.strip() for field in row)
        try:
            found.setdefault(calendar, []).append(SessionException.of(day, *(text or None for text in times)))
        except BadInput as error:
            raise BadInput(f"{path}, line {number}: {error}") from None
    return found


def _change(data: DataOption, added: Changes, removed: Mapping[str, Sequence[int]] | None = None) -> None:
    """All of it is checked before any is written."""
    url = store_url(load(), data)

    async def change() -> dict[str, int]:
        async with commit_client(url) as client:
            store = CalendarStore(client)
            before = await store.all()
            for name, days in added.items():
                _check(name, before.get(name, CalendarExceptions()), days, (removed or {}).get(name, ()))
            for name, days in added.items():
                now = await store.change(name, days, (removed or {}).get(name, ()))
                print(f"{name}: {len(now.days)} exceptions, version {now.version}")
            markets = await Registry(client).stored_symbols()
            return await adopt(client, (market.instrument for market in markets.values()))

    for symbol, count in asyncio.run(change()).items():
        print(f"{symbol}: {count} days are made anew" if count else f"{symbol}: no day is made otherwise by it")


def _check(
    calendar: str, before: CalendarExceptions, added: Sequence[SessionException], removed: Sequence[int]
) -> None:
    missing = [label_ms for label_ms in removed if label_ms not in {each.label_ms for each in before.days}]
    if missing:
        day = SessionException(missing[0]).day
        raise BadInput(f"{calendar} has no exception on {day}: fleet calendars list")
    wrong = unfit(calendar, before.changed(added, removed))
    if wrong and added:
        raise BadInput(wrong[0])
